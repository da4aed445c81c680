"""Reads rows out of the files that people have: JSON Lines, JSON, CSV and parquet, told apart by content.

Rows are streamed, so that a file may be larger than memory; only a JSON file that is one object is read whole. What
cannot be read is refused with the file, the line, what is wrong and what to do.

Arrays are read with the decoder of the standard library. `ijson` (3.6.0) was tried and not taken: it reads a lone
surrogate as a question mark, refuses the NaN that Python writes for a missing label, and its memory grows with the
square of the nesting: 1 GB for 20,000 opening brackets.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import IO, NamedTuple

from calmstorm.errors import MissingExtraError, ProblemFileError

_CHUNK = 1 << 16
csv.field_size_limit(1 << 30)


class SourceRow(NamedTuple):
    """A row with the place it came from, for messages."""

    path: Path
    place: str
    """Where it stands in the file: `line 3` or `row 3`."""
    id: str | None
    """The key the row was stored under, where the file is keyed by problem."""
    data: dict[str, object]

    def refused(self, what: str, remedy: str) -> ProblemFileError:
        """Returns the error to raise for this row, on one line."""
        return _refused(self.path, what, remedy, self.place)


def read_rows(path: str | Path) -> Iterator[SourceRow]:
    """Yields the rows of a file.

    Raises:
        ProblemFileError: The file is absent, empty, truncated, mis-encoded or not made of rows.
        MissingExtraError: The file is parquet and pyarrow is not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_CHUNK)
            file.seek(0)
            yield from _reader(path, head)(path, file)
    except OSError as error:
        raise _refused(path, error.strerror or str(error), "name a file that can be read") from None


def _refused(path: Path, what: str, remedy: str, place: str = "") -> ProblemFileError:
    where = f"{path}, {place}" if place else str(path)
    return ProblemFileError(f"{where}: {what}; {remedy}".replace("\n", " "))


def _reader(path: Path, head: bytes) -> Callable[[Path, IO[bytes]], Iterator[SourceRow]]:
    """Returns the reader for a file that begins with `head`."""
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    ending = path.suffix.lower()
    if not start:
        raise _refused(path, "the file is empty", "it must hold at least one row")
    if head.startswith(b"PAR1"):
        return _parquet
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise _refused(path, "the file is UTF-16", "save it as UTF-8", "line 1")
    if ending in {".csv", ".tsv"}:
        return _csv
    if start.startswith(b"["):
        return _json_array
    if start.startswith(b"{"):
        return _json_lines
    if ending in {".json", ".jsonl"}:
        raise _refused(path, f"starts with {start[:1]!r}, which no JSON object or array does", "correct it", "line 1")
    if ending == ".parquet":
        raise _refused(path, "is not a parquet file, whatever its name says", "write it again")
    raise _refused(
        path, "the format cannot be told", "use JSON Lines, JSON, parquet, or CSV with the ending .csv or .tsv"
    )


def _lines(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Yields lines, ends kept; only line feeds end a line, as carriage returns occur inside questions."""
    for number, line in enumerate(file, 1):
        if b"\0" in line:
            raise _refused(path, "holds a zero byte, as UTF-16 does", "save the file as UTF-8", f"line {number}")
        try:
            yield line.removeprefix(codecs.BOM_UTF8).decode() if number == 1 else line.decode()
        except UnicodeDecodeError as error:
            raise _not_utf8(path, number, error) from None


def _chunks(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Yields pieces of bounded size, for files whose lines may be as long as the file."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    for data in chain(iter(lambda: file.read(_CHUNK), b""), [b""]):
        try:
            yield decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, line + error.object[: error.start].count(b"\n"), error) from None
        line += data.count(b"\n")


def _not_utf8(path: Path, line: int, error: UnicodeDecodeError) -> ProblemFileError:
    byte = error.object[error.start]
    return _refused(path, f"byte 0x{byte:02x} is not UTF-8", "save the file as UTF-8", f"line {line}")


# ---------------------------------------------------------------- JSON


def _json_lines(path: Path, file: IO[bytes]) -> Iterator[SourceRow]:
    """Yields the rows of a file of one object per line, or of one object over several lines."""
    lines = ((number, line) for number, line in enumerate(_lines(path, file), 1) if line.strip())
    start, first = next(lines)
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        if first.rstrip()[-1] in "{[,:":  # a line that breaks off elsewhere was meant to be a whole row
            first += "".join(text for _, text in lines)
    for number, text in chain([(start, first)], lines):
        place = f"line {number}"
        value = _parsed(path, number, text)
        if not isinstance(value, dict):
            raise _no_object(path, place, value)
        if value and all(isinstance(item, dict) and item for item in value.values()):  # rows by id
            for count, (key, item) in enumerate(value.items(), 1):
                yield SourceRow(path, place if len(value) == 1 else f"row {count}", key, item)
        else:
            yield SourceRow(path, place, None, value)


def _parsed(path: Path, line: int, text: str) -> object:
    try:
        return json.loads(text.rstrip())
    except (ValueError, RecursionError) as error:
        cut = "" if "\n" in text else "; it looks cut off"
        line += error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
        raise _refused(
            path, f"not valid JSON ({_reason(error)}){cut}", "correct or restore it", f"line {line}"
        ) from None


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _no_object(path: Path, place: str, value: object) -> ProblemFileError:
    kinds = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}
    kind = kinds.get(type(value), "null")
    return _refused(path, f"holds {kind}, not an object", "give one JSON object per row", place)


def _json_array(path: Path, file: IO[bytes]) -> Iterator[SourceRow]:
    """Yields the elements of an array without holding more than one of them and a chunk."""
    decoder = json.JSONDecoder()
    chunks = _chunks(path, file)
    text = next(chunks)
    at, number = text.index("[") + 1, 0
    while True:
        at = start = _after_blanks(text, at)
        if text.startswith("]", at):
            break
        if number and text.startswith(",", at):
            start = _after_blanks(text, at + 1)
        place = f"row {number + 1}"
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            more = "".join(islice(chunks, 1 + (len(text) - at) // _CHUNK))
            if isinstance(error, ValueError) and more:
                text, at = text[at:] + more, 0
                continue
            if at == len(text):
                raise _refused(path, f"ends inside {place}: it was cut off", "restore the file") from None
            raise _refused(path, f"not valid JSON ({_reason(error)})", "correct or restore it", place) from None
        if not isinstance(value, dict):
            raise _no_object(path, place, value)
        yield SourceRow(path, place, None, value)
        at, number = end, number + 1
    if text[at + 1 :].strip() or any(chunk.strip() for chunk in chunks):
        what = f"goes on after the array of {number} rows ends"
        raise _refused(path, what, "join the arrays, or remove what follows")


def _after_blanks(text: str, at: int) -> int:
    while text[at : at + 1].isspace():
        at += 1
    return at


# ---------------------------------------------------------------- tables


def _csv(path: Path, file: IO[bytes]) -> Iterator[SourceRow]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    reader = csv.reader(_lines(path, file), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
        if len(set(header)) != len(header):
            raise _refused(path, "two columns have the same name", "rename one", "line 1")
        begins = reader.line_num + 1
        for cells in reader:
            place = f"line {begins}"
            if cells and len(cells) != len(header):
                what = f"has {len(cells)} columns where the header has {len(header)}"
                raise _refused(path, what, "correct it", place)
            if cells:
                yield SourceRow(path, place, None, dict(zip(header, cells, strict=True)))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise _refused(path, f"not valid CSV ({error})", "correct it there", f"line {reader.line_num}") from None


def _parquet(path: Path, file: IO[bytes]) -> Iterator[SourceRow]:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    number = 0
    try:
        # read page by page, on this thread: otherwise whole row groups are held, 1,000,000 rows where pandas wrote them
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_CHUNK) as table:
            for batch in table.iter_batches(batch_size=256, use_threads=False):
                for data in batch.to_pylist():
                    number += 1
                    yield SourceRow(path, f"row {number}", None, data)
    except (arrow.ArrowException, OSError) as error:
        why = str(error).splitlines()[0][:120]
        raise _refused(path, f"not a whole parquet file ({why})", "restore it or write it again") from None
