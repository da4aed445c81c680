# ruff: noqa: ANN401 -- numpy and scipy may not be installed here
"""Coefficient matrices of scipy, highspy and cvxpy as rows of (columns, coefficients)."""

from __future__ import annotations

import itertools
import sys
from typing import Any

MAX_COEFFICIENTS = 200_000
"""Models with more are recorded without their constraints."""
Row = tuple[list[int], list[float]]
"""Columns and their coefficients."""


class TooLargeError(Exception):
    """A model has more than `MAX_COEFFICIENTS`."""


def check_size(coefficients: int) -> None:
    """Refuses to read too many coefficients.

    Raises:
        TooLargeError: There are more than `MAX_COEFFICIENTS`.
    """
    if coefficients > MAX_COEFFICIENTS:
        raise TooLargeError


def rows(matrix: Any) -> list[Row]:
    """Returns the rows of a two-dimensional array or sparse matrix.

    Raises:
        TooLargeError: It has too many coefficients.
    """
    if hasattr(matrix, "tocsr"):
        sparse = matrix.tocsr()
        return compressed(sparse.indptr, sparse.indices, sparse.data)
    numpy = sys.modules["numpy"]
    array = numpy.atleast_2d(numpy.asarray(matrix, dtype=float))
    if array.size > MAX_COEFFICIENTS:
        check_size(numpy.count_nonzero(array))
    return [(columns.tolist(), row[columns].tolist()) for row in array for columns in row.nonzero()]


def compressed(starts: Any, indices: Any, values: Any) -> list[Row]:
    """Returns the rows of a matrix in compressed form, or its columns where that is what was compressed.

    Raises:
        TooLargeError: It has too many coefficients.
    """
    check_size(len(values))
    cuts, columns, factors = _listed(starts), _listed(indices), _listed(values)
    return [(columns[a:b], factors[a:b]) for a, b in itertools.pairwise(cuts)]


def transposed(by_column: list[Row], count: int) -> list[Row]:
    """Returns `count` rows of a matrix that is given by its columns."""
    by_row: list[Row] = [([], []) for _ in range(count)]
    for column, (indices, factors) in enumerate(by_column):
        for row, factor in zip(indices, factors, strict=True):
            by_row[row][0].append(column)
            by_row[row][1].append(factor)
    return by_row


def _listed(array: Any) -> list[Any]:
    return list(array.tolist() if hasattr(array, "tolist") else array)
