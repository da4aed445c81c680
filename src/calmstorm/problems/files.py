"""Problems and responses from files that users bring, and problems back into files.

Column names of the published benchmarks are recognised; any other is named by the caller. The text is passed on
verbatim. Not covered: the table of published versions and their own label rules.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from calmstorm.errors import ProblemFileError
from calmstorm.problems.labels import Label, parse_label
from calmstorm.problems.rows import Row, read_rows
from calmstorm.records import LabelStatus, Problem, Record, StopReason

QUESTION_COLUMNS = ("en_question", "question", "problem", "description", "document", "prompt", "query", "text")
"""Recognised without regard to case, in this order."""
ANSWER_COLUMNS = (
    "en_answer",
    "answer",
    "ground_truth",
    "label",
    "result",
    "results",
    "solution",
    "objective",
    "sample",
)
RESPONSE_COLUMNS = ("response", "output", "completion", "prediction", "generation")
STOP_COLUMNS = ("stop_reason", "finish_reason")
ID_COLUMNS = ("id", "problem_id", "task_id", "scenario_id", "index", "dir")

DATA_HEADING = "\n\nData:\n"
"""Between a text and the numbers it leaves to `sample.input`."""
_ABSENT = object()


class Response(Record):
    """A response produced elsewhere, with the problem it answers."""

    problem: Problem
    """Its `question` may be empty: grading needs only the label."""
    sample: int
    """How many rows of the same suite and id came before."""
    response: str
    stop_reason: StopReason | None = None
    """How the response ended, where the row says so in our words; `infrastructure` is never scored as wrong."""


def load_problems(
    path: str | Path, question: str | None = None, answer: str | None = None, limit: int | None = None
) -> Iterator[Problem]:
    """Yields the problems of a JSON Lines, JSON, CSV or parquet file, one by one.

    Ids come from the file, else they are row numbers from 1. The suite is the name of the file, without its ending,
    unless a row says otherwise. A row with neither text nor label is passed on as it is, so that counts agree.

    Args:
        path: the file; its format is told by its content.
        question: column of the problem text, where it is not a usual one; `a.b.0` reaches into nested values.
        answer: column of the label, likewise.
        limit: stop after this many.

    Raises:
        ProblemFileError: one line: file, place, what is wrong, what to do.
        MissingExtraError: the file is parquet and pyarrow is not installed.
    """
    path = Path(path)
    number = 0
    with closing(_Seen()) as ids:
        for number, row in enumerate(islice(read_rows(path), limit), 1):
            problem = _problem(path, row, number, question, answer)
            if ids.count(problem.id):
                raise _bad(path, row, f"the id {problem.id!r} is already taken by a row above", "make the ids unique")
            yield problem
    if not number and limit != 0:
        raise ProblemFileError(f"{path}: holds no rows; it must hold at least one problem")


class _Seen:
    """How often each id occurred so far; kept in a temporary file once they are many, so that memory stays flat."""

    def __init__(self) -> None:
        self._ids = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for statement in (
            "PRAGMA cache_size = -4000",  # KiB
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (id TEXT PRIMARY KEY, times INTEGER) WITHOUT ROWID",
            "BEGIN",
        ):
            self._ids.execute(statement)

    def count(self, id: str) -> int:
        """Counts an id and returns how often it occurred before."""
        if self._ids.execute("INSERT OR IGNORE INTO seen VALUES (?, 1)", (id,)).rowcount:
            return 0
        row = self._ids.execute("UPDATE seen SET times = times + 1 WHERE id = ? RETURNING times", (id,)).fetchone()
        return int(row[0]) - 1

    def close(self) -> None:
        """Lets go of the file."""
        self._ids.close()


def load_responses(path: str | Path, limit: int | None = None) -> Iterator[Response]:
    """Yields the rows of a file of responses: `id, problem, ground_truth, response`.

    Rows with the same id are samples of one problem. A column `stop_reason` may say `length` or `infrastructure`; a
    null response is an empty one.

    Raises:
        ProblemFileError: one line: file, place, what is wrong, what to do.
    """
    path = Path(path)
    number = 0
    with closing(_Seen()) as ids:
        for number, row in enumerate(islice(read_rows(path), limit), 1):
            yield _response(path, row, number, ids)
    if not number and limit != 0:
        raise ProblemFileError(f"{path}: holds no rows; it must hold at least one response")


def _response(path: Path, row: Row, number: int, ids: _Seen) -> Response:
    column, text = _find(row.data, RESPONSE_COLUMNS)
    if column is None:
        raise _bad(path, row, f"no column holds a response (there are: {_names(row)})", "name it 'response'")
    if not isinstance(text, str | None):
        raise _bad(path, row, f"the response is of type {type(text).__name__}", "give a text or null")
    rest = {key: value for key, value in row.data.items() if key != column}
    _, question = _find(rest, QUESTION_COLUMNS)
    label = _label(path, row, rest, None)
    problem = _validated(
        path, row, _id(row, number), question if isinstance(question, str) else "", label, _suite(path, row)
    )
    _require_whole_characters(path, row, text or "")
    stop_reason = _stop_reason(rest)
    sample = ids.count(f"{problem.suite}\n{problem.id}")
    return Response(problem=problem, sample=sample, response=text or "", stop_reason=stop_reason)


def _stop_reason(data: Mapping[str, object]) -> StopReason | None:
    """Reads how a response ended; what other programs say that we have no word for ("tool_calls") is passed over."""
    _, value = _find(data, STOP_COLUMNS)
    word = str(value).strip().lower()
    if word == "stop":
        return StopReason.FINISHED
    return StopReason(word) if word in list(StopReason) else None


def published_label(data: Mapping[str, object], column: str | None = None) -> object:
    """Returns what a row holds as its label, in its own shape; of the column named, else of the first usual one."""
    column = column if column is not None else _find(data, ANSWER_COLUMNS)[0]
    if column == "sample":
        return _sample(data).get("output")
    value = _reach(data, column) if column is not None else None
    return None if value is _ABSENT else value


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Writes problems as JSON Lines that `load_problems` reads back unchanged; returns how many."""
    count = 0
    with Path(path).open("w", encoding="utf-8") as file:
        for problem in problems:
            file.write(problem.model_dump_json() + "\n")
            count += 1
    return count


def _problem(path: Path, row: Row, number: int, question: str | None, answer: str | None) -> Problem:
    if (
        question is None
        and answer is None
        and {"id", "question", "status"} <= row.data.keys() <= Problem.model_fields.keys()
    ):
        return _as_written(path, row)
    text = _question(path, row, question, number)
    if answer is not None and number == 1 and _reach(row.data, answer) is _ABSENT:
        raise _bad(path, row, f"there is no column '{answer}' (there are: {_names(row)})", "correct --answer")
    label = _label(path, row, row.data, answer)
    if not text.strip() and label.status is not LabelStatus.MISSING:
        raise _bad(path, row, "the problem text is empty", "fill it in or remove the row")
    return _validated(path, row, _id(row, number), text, label, _suite(path, row))


def _as_written(path: Path, row: Row) -> Problem:
    """Reads a row that `write_problems` wrote, or that says of itself what its label is."""
    try:
        problem = Problem.model_validate_json(json.dumps(row.data))
    except ValidationError as error:
        first = error.errors()[0]
        raise _bad(path, row, f"{first['loc'][0]}: {first['msg']}", "correct the field") from None
    number = problem.answer is not None and math.isfinite(problem.answer)
    if number != (problem.status is LabelStatus.OPTIMAL) or (problem.answer is not None) != number:
        what = f"the status is {problem.status.value} and the answer is {problem.answer}"
        raise _bad(path, row, what, "give a finite number with the status optimal, and null with any other")
    return problem


def _suite(path: Path, row: Row) -> str:
    suite = row.data.get("suite")
    return suite if isinstance(suite, str) else path.stem


def _validated(path: Path, row: Row, id: str, question: str, label: Label, suite: str) -> Problem:
    _require_whole_characters(path, row, id + question)
    try:
        return Problem(
            id=id,
            question=question,
            answer=label.answer,
            status=label.status,
            suite=suite,
            label_version=path.stem,
        )
    except ValidationError as error:
        raise _bad(path, row, error.errors()[0]["msg"], "correct the row") from None


def _require_whole_characters(path: Path, row: Row, text: str) -> None:
    """Refuses half characters (lone surrogates), which JSON can smuggle in and nothing can write back."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise _bad(path, row, f"the text holds half a character ({code})", "write the row again") from None


def _question(path: Path, row: Row, column: str | None, number: int) -> str:
    if column is None:
        found, value = _find(row.data, QUESTION_COLUMNS)
        if found is None:
            raise _bad(
                path, row, f"no column holds the problem text (there are: {_names(row)})", "name it with --question"
            )
    else:
        value = _reach(row.data, column)
        if value is _ABSENT:
            raise _bad(path, row, f"there is no column '{column}' (there are: {_names(row)})", "correct --question")
    if value is None:
        return ""
    if (
        isinstance(value, list)
        and value
        and isinstance(value[-1], Mapping)
        and isinstance(value[-1].get("content"), str)
    ):
        return str(value[-1]["content"])  # chat messages: the last one asks
    if not isinstance(value, str):
        raise _bad(
            path, row, f"the problem text is of type {type(value).__name__}", "give a text, or name it with --question"
        )
    return value + _data_beside(row.data, value)


def _data_beside(row: Mapping[str, object], text: str) -> str:
    """Returns the numbers of a problem whose text leaves them to `sample.input` (ComplexOR); else nothing.

    In LPWP most texts hold their numbers and `input` holds the solution, which must not get into a prompt: plain
    values are data only where the text has no number at all, tables where it has hardly any.
    """
    given = _sample(row).get("input")
    if not isinstance(given, Mapping) or not given:
        return ""
    numbers = len(re.findall(r"\d+", text))
    holds_tables = any(isinstance(value, list | Mapping) for value in given.values())
    if numbers > (2 if holds_tables else 0):
        return ""
    return DATA_HEADING + json.dumps(given, ensure_ascii=False)


def _label(path: Path, row: Row, data: Mapping[str, object], column: str | None) -> Label:
    try:
        return parse_label(published_label(data, column))
    except ValueError as error:
        raise _bad(
            path, row, str(error), "give a number, null, or a word such as infeasible, or name the column with --answer"
        ) from None


def _sample(row: Mapping[str, object]) -> Mapping[str, object]:
    sample = row.get("sample")
    first = sample[0] if isinstance(sample, list) and sample else sample
    return first if isinstance(first, Mapping) else {}


def _id(row: Row, number: int) -> str:
    if row.id is not None:
        return row.id
    _, value = _find(row.data, ID_COLUMNS)
    return str(value) if isinstance(value, str | int) and str(value).strip() else str(number)


def _find(data: Mapping[str, object], names: tuple[str, ...]) -> tuple[str | None, object]:
    columns = {str(key).strip().lower(): key for key in reversed(list(data))}
    for name in names:
        if name in columns:
            return columns[name], data[columns[name]]
    return None, None


def _reach(data: Mapping[str, object], column: str) -> object:
    """Returns the value of a column, or one inside nested values by a dotted path; `_ABSENT` when there is none."""
    if column in data:
        return data[column]
    value: object = data
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return _ABSENT
    return value


def _names(row: Row) -> str:
    names = ", ".join(str(key) for key in row.data)
    return names if len(names) <= 200 else names[:197] + "..."


def _bad(path: Path, row: Row, what: str, remedy: str) -> ProblemFileError:
    return ProblemFileError(f"{path}, {row.place}: {what}; {remedy}".replace("\n", " "))
