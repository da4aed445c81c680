"""Non-reflective pairs from files that users bring: a problem, and its model and code without any reasoning.

OR-Instruct and data like it have a column for the problem and one for the answer, or one for the model and one for the
code. Such data are what the paper's table 1 fine-tunes on, to show what they do to a reasoning model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from calmstorm.errors import ProblemFileError
from calmstorm.problems.files import QUESTION_COLUMNS
from calmstorm.problems.rows import SourceRow, read_rows
from calmstorm.records import Record

MODEL_COLUMNS = ("model", "mathematical_model", "formulation", "completion", "response", "output", "solution", "answer")
"""Recognised without regard to case, in this order: the model in words, or the whole answer."""
CODE_COLUMNS = ("code", "program", "script", "python", "solver_code")
ID_COLUMNS = ("id", "problem_id", "task_id", "index")

_WRAPPED = re.compile(r"#\s*Question:\s*(?P<question>.*?)\s*#\s*Response:\s*\Z", re.DOTALL)
"""How OR-Instruct puts a problem into a prompt of its own."""
_FENCED = re.compile(r"^\s*```", re.MULTILINE)


class Pair(Record):
    """A problem and its answer in one turn."""

    id: str
    question: str
    answer: str
    """The model in words and the code between fences."""


def load_pairs(path: str | Path, question: str | None = None) -> tuple[list[Pair], list[str]]:
    """Reads the pairs of a JSON Lines, JSON, CSV or parquet file.

    Args:
        path: The file.
        question: Column of the problem text, where it is not a usual one.

    Returns:
        The pairs, and for each row that is none, one line that says where it stands and what it lacks.

    Raises:
        ProblemFileError: The file cannot be read, or holds no pair at all.
        MissingExtraError: It is parquet and pyarrow is not installed.
    """
    pairs: dict[str, Pair] = {}
    refused: list[str] = []
    for number, row in enumerate(read_rows(path), 1):
        try:
            pair = _pair(row, number, question)
            if pair.id in pairs:
                raise row.refused(f"the id {pair.id!r} is already taken by a row above", "make the ids unique")
        except ProblemFileError as error:
            refused.append(str(error))
        else:
            pairs[pair.id] = pair
    if not pairs:
        first = f" (first: {refused[0]})" if refused else ""
        raise ProblemFileError(f"{path}: none of {len(refused)} rows is a problem with model and code{first}")
    return list(pairs.values()), refused


def _pair(row: SourceRow, number: int, question: str | None) -> Pair:
    names = QUESTION_COLUMNS if question is None else (question.lower(),)
    asked = _text(row, names, "the problem")
    wrapped = _WRAPPED.search(asked)
    code = _text(row, CODE_COLUMNS, "code", required=False)
    answer = _text(row, MODEL_COLUMNS, "the model", required=not code)
    if code:
        fenced = code if _FENCED.search(code) else f"```python\n{code}\n```"
        answer = f"{answer}\n\n{fenced}".strip()
    elif not _FENCED.search(answer):
        raise row.refused("there is no code, neither in a column of its own nor between fences", "name it 'code'")
    value = next((row.data[name] for name in ID_COLUMNS if name in row.data), None)
    name = row.id or (str(value) if isinstance(value, str | int) and str(value).strip() else str(number))
    return Pair(id=name, question=wrapped["question"] if wrapped else asked, answer=answer)


def _text(row: SourceRow, names: tuple[str, ...], what: str, required: bool = True) -> str:
    """Returns the text of the first column with one of these names; "" where there is none and none is needed."""
    columns: Mapping[str, str] = {str(name).strip().lower(): name for name in reversed(list(row.data))}
    found = [row.data[columns[name]] for name in names if name in columns]
    texts = [value.strip("\n") for value in found if isinstance(value, str) and value.strip()]
    if texts:
        return texts[0]
    if required:
        held = ", ".join(map(str, row.data))[:200]
        raise row.refused(f"no column holds {what} as a text (there are: {held})", f"name one of them '{names[0]}'")
    return ""
