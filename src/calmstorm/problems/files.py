"""Problems and responses from files that users bring, and problems back into files.

Column names of the published benchmarks are recognised; any other is named by the caller. The text is passed on
verbatim. Not covered: the table of published versions and their own label rules.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from calmstorm.errors import ProblemFileError
from calmstorm.problems.labels import Label, parse_label
from calmstorm.problems.rows import SourceRow, read_rows
from calmstorm.problems.texts import DATA_HEADING
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
        path: The file; its format is told by its content.
        question: Column of the problem text, where it is not a usual one; `a.b.0` reaches into nested values.
        answer: Column of the label, likewise.
        limit: Stop after this many.

    Raises:
        ProblemFileError: One line: file, place, what is wrong, what to do.
        MissingExtraError: The file is parquet and pyarrow is not installed.
    """
    return (problem for problem, _ in problems_with_rows(path, question, answer, limit))


def problems_with_rows(
    path: str | Path, question: str | None = None, answer: str | None = None, limit: int | None = None
) -> Iterator[tuple[Problem, SourceRow]]:
    """Yields what `load_problems` does, each problem with the row it was read from."""
    with _counter() as earlier:
        for number, row in _numbered(path, limit, "problem"):
            problem = _problem(row, number, question, answer)
            if earlier(problem.id):
                raise row.refused(f"the id {problem.id!r} is already taken by a row above", "make the ids unique")
            yield problem, row


def load_responses(path: str | Path, limit: int | None = None) -> Iterator[Response]:
    """Yields the rows of a file of responses: `id, problem, ground_truth, response`.

    Rows with the same id are samples of one problem. A column `stop_reason` may say `length` or `infrastructure`; a
    null response is an empty one.

    Raises:
        ProblemFileError: One line: file, place, what is wrong, what to do.
    """
    with _counter() as earlier:
        for number, row in _numbered(path, limit, "response"):
            problem, text = _response(row, number)
            sample = earlier(f"{problem.suite}\n{problem.id}")
            yield Response(problem=problem, sample=sample, response=text, stop_reason=_stop_reason(row.data))


def write_problems(path: str | Path, problems: Iterable[Problem]) -> int:
    """Writes problems as JSON Lines that `load_problems` reads back unchanged; returns how many."""
    count = 0
    with Path(path).open("w", encoding="utf-8") as file:
        for problem in problems:
            file.write(problem.model_dump_json() + "\n")
            count += 1
    return count


def published_label(data: Mapping[str, object], column: str | None = None) -> object:
    """Returns what a row holds as its label, in its own shape; of the column named, else of the first usual one."""
    column = column if column is not None else _find(data, ANSWER_COLUMNS)[0]
    if column == "sample":
        return _sample(data).get("output")
    value = _reach(data, column) if column is not None else None
    return None if value is _ABSENT else value


def _numbered(path: str | Path, limit: int | None, what: str) -> Iterator[tuple[int, SourceRow]]:
    number = 0
    for number, row in enumerate(islice(read_rows(path), limit), 1):
        yield number, row
    if not number and limit != 0:
        raise ProblemFileError(f"{path}: holds no rows; it must hold at least one {what}")


@contextmanager
def _counter() -> Iterator[Callable[[str], int]]:
    """Gives a function that counts a name and returns how often it was counted before.

    The names are kept in a temporary file once they are many, so that memory stays flat.
    """
    with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as names:
        for statement in (
            "PRAGMA cache_size = -4000",  # KiB
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE names (name TEXT PRIMARY KEY, earlier INTEGER) WITHOUT ROWID",
            "BEGIN",
        ):
            names.execute(statement)
        count = "INSERT INTO names VALUES (?, 0) ON CONFLICT DO UPDATE SET earlier = earlier + 1 RETURNING earlier"
        yield lambda name: int(names.execute(count, (name,)).fetchone()[0])


# ---------------------------------------------------------------- a row of a problem


def _problem(row: SourceRow, number: int, question: str | None, answer: str | None) -> Problem:
    says_its_status = {"id", "question", "status"} <= row.data.keys() <= Problem.model_fields.keys()
    if question is None and answer is None and says_its_status:
        return _as_written(row)
    text = _question(row, question)
    if answer is not None and number == 1 and _reach(row.data, answer) is _ABSENT:
        raise row.refused(f"there is no column '{answer}' (there are: {_names(row)})", "correct --answer")
    label = _label(row, row.data, answer)
    if not text.strip() and label.status is not LabelStatus.MISSING:
        raise row.refused("the problem text is empty", "fill it in or remove the row")
    return _validated(row, number, text, label)


def _as_written(row: SourceRow) -> Problem:
    """Reads a row that `write_problems` wrote, or that says of itself what its label is."""
    try:
        problem = Problem.model_validate_json(json.dumps(row.data))
    except ValidationError as error:
        first = error.errors()[0]
        raise row.refused(f"{first['loc'][0]}: {first['msg']}", "correct the field") from None
    number = problem.answer is not None and math.isfinite(problem.answer)
    if number != (problem.status is LabelStatus.OPTIMAL) or (problem.answer is not None) != number:
        what = f"the status is {problem.status.value} and the answer is {problem.answer}"
        raise row.refused(what, "give a finite number with the status optimal, and null with any other")
    return problem


def _question(row: SourceRow, column: str | None) -> str:
    value = _find(row.data, QUESTION_COLUMNS)[1] if column is None else _reach(row.data, column)
    if value is _ABSENT and column is None:
        raise row.refused(f"no column holds the problem text (there are: {_names(row)})", "name it with --question")
    if value is _ABSENT:
        raise row.refused(f"there is no column '{column}' (there are: {_names(row)})", "correct --question")
    if value is None:
        return ""
    if isinstance(value, list) and value and isinstance(value[-1], Mapping):  # chat messages: the last one asks
        content = value[-1].get("content")
        if isinstance(content, str):
            return content
    if not isinstance(value, str):
        what = f"the problem text is of type {type(value).__name__}"
        raise row.refused(what, "give a text, or name it with --question")
    return value + _data_beside(row.data, value)


def _data_beside(data: Mapping[str, object], text: str) -> str:
    """Returns the numbers of a problem whose text leaves them to `sample.input` (ComplexOR); else nothing.

    In LPWP most texts hold their numbers and `input` holds the solution, which must not get into a prompt: plain
    values are data only where the text has no number at all, tables where it has hardly any.
    """
    given = _sample(data).get("input")
    if not isinstance(given, Mapping) or not given:
        return ""
    numbers = len(re.findall(r"\d+", text))
    holds_tables = any(isinstance(value, list | Mapping) for value in given.values())
    if numbers > (2 if holds_tables else 0):
        return ""
    return DATA_HEADING + json.dumps(given, ensure_ascii=False)


def _label(row: SourceRow, data: Mapping[str, object], column: str | None = None) -> Label:
    try:
        return parse_label(published_label(data, column))
    except ValueError as error:
        remedy = "give a number, null, or a word such as infeasible, or name the column with --answer"
        raise row.refused(str(error), remedy) from None


def _validated(row: SourceRow, number: int, question: str, label: Label) -> Problem:
    name = row.id
    if name is None:
        _, value = _find(row.data, ID_COLUMNS)
        name = str(value) if isinstance(value, str | int) and str(value).strip() else str(number)
    suite = row.data.get("suite")
    _require_whole_characters(row, name + question)
    try:
        return Problem(
            id=name,
            question=question,
            answer=label.answer,
            status=label.status,
            suite=suite if isinstance(suite, str) else row.path.stem,
            label_version=row.path.stem,
        )
    except ValidationError as error:
        raise row.refused(error.errors()[0]["msg"], "correct the row") from None


def _require_whole_characters(row: SourceRow, text: str) -> None:
    """Refuses half characters (lone surrogates), which JSON can hold as an escape and UTF-8 cannot encode."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        code = f"U+{ord(text[error.start]):04X}"
        raise row.refused(f"the text holds half a character ({code})", "write the row again") from None


# ---------------------------------------------------------------- a row of a response


def _response(row: SourceRow, number: int) -> tuple[Problem, str]:
    column, text = _find(row.data, RESPONSE_COLUMNS)
    if column is None:
        raise row.refused(f"no column holds a response (there are: {_names(row)})", "name it 'response'")
    if not isinstance(text, str | None):
        raise row.refused(f"the response is of type {type(text).__name__}", "give a text or null")
    rest = {key: value for key, value in row.data.items() if key != column}
    _, question = _find(rest, QUESTION_COLUMNS)
    problem = _validated(row, number, question if isinstance(question, str) else "", _label(row, rest))
    _require_whole_characters(row, text or "")
    return problem, text or ""


def _stop_reason(data: Mapping[str, object]) -> StopReason | None:
    """Reads how a response ended; what other programs say that we have no word for ("tool_calls") is passed over."""
    _, value = _find(data, STOP_COLUMNS)
    word = str(value).strip().lower()
    if word == "stop":
        return StopReason.FINISHED
    return StopReason(word) if word in list(StopReason) else None


# ---------------------------------------------------------------- columns


def _find(data: Mapping[str, object], names: tuple[str, ...]) -> tuple[str | None, object]:
    """Returns the first column that has one of the names, with its value; (None, `_ABSENT`) when there is none."""
    columns = {str(key).strip().lower(): key for key in reversed(list(data))}
    column = next((columns[name] for name in names if name in columns), None)
    return column, _ABSENT if column is None else data[column]


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


def _sample(data: Mapping[str, object]) -> Mapping[str, object]:
    sample = data.get("sample")
    first = sample[0] if isinstance(sample, list) and sample else sample
    return first if isinstance(first, Mapping) else {}


def _names(row: SourceRow) -> str:
    names = ", ".join(str(key) for key in row.data)
    return names if len(names) <= 200 else names[:197] + "..."
