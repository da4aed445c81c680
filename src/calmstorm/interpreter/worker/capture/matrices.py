# ruff: noqa: ANN401 -- numpy and scipy may not be installed here
"""Coefficient matrices of scipy, highspy and cvxpy as rows of (column, coefficient)."""

from __future__ import annotations

import itertools
import sys
from typing import Any

from .notation import COEFFICIENTS_WORTH_READING

Row = tuple[list[int], list[float]]
"""Columns and their coefficients."""


class TooLargeError(Exception):
    """The matrix has more coefficients than are worth reading."""


def rows(matrix: Any) -> list[Row]:
    """Returns the rows of a two-dimensional array or sparse matrix.

    Raises:
        TooLargeError: It has more coefficients than are worth reading.
    """
    if hasattr(matrix, "tocsr"):
        sparse = matrix.tocsr()
        return compressed(sparse.indptr, sparse.indices, sparse.data)
    numpy = sys.modules["numpy"]
    array = numpy.atleast_2d(numpy.asarray(matrix, dtype=float))
    if array.size > COEFFICIENTS_WORTH_READING and numpy.count_nonzero(array) > COEFFICIENTS_WORTH_READING:
        raise TooLargeError
    return [(columns.tolist(), row[columns].tolist()) for row in array for columns in row.nonzero()]


def compressed(starts: Any, indices: Any, values: Any) -> list[Row]:
    """Returns the rows of a matrix in compressed form, or its columns where that is what was compressed.

    Raises:
        TooLargeError: It has more coefficients than are worth reading.
    """
    if len(values) > COEFFICIENTS_WORTH_READING:
        raise TooLargeError
    cuts, columns, factors = _listed(starts), _listed(indices), _listed(values)
    return [(columns[a:b], factors[a:b]) for a, b in itertools.pairwise(cuts)]


def transposed(by_column: list[Row], count: int) -> list[Row]:
    """Returns `count` rows of a matrix that is given by its columns."""
    found: list[Row] = [([], []) for _ in range(count)]
    for column, (rows_of_it, factors) in enumerate(by_column):
        for row, factor in zip(rows_of_it, factors, strict=True):
            found[row][0].append(column)
            found[row][1].append(factor)
    return found


def _listed(array: Any) -> list[Any]:
    return list(array.tolist() if hasattr(array, "tolist") else array)
