"""Reads rows out of the files that people have: JSON Lines, JSON, CSV and parquet, told apart by content.

Rows are streamed, so that a file may be larger than memory; only a JSON file that is one object is read whole. What
cannot be read is refused with the file, the line, what is wrong and what to do.
"""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from calmstorm.errors import MissingExtraError, ProblemFileError

_CHUNK = 1 << 16
csv.field_size_limit(1 << 30)


class Row(NamedTuple):
    """A row with the place it came from, for messages."""

    place: str
    """Where it stands in the file: `line 3` or `row 3`."""
    id: str | None
    """The key the row was stored under, where the file is keyed by problem."""
    data: dict[str, object]


def read_rows(path: str | Path) -> Iterator[Row]:
    """Yields the rows of a file.

    Raises:
        ProblemFileError: the file is absent, empty, truncated, mis-encoded or not made of rows.
        MissingExtraError: the file is parquet and pyarrow is not installed.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_CHUNK)
            file.seek(0)
            if not head.strip(b" \t\r\n" + codecs.BOM_UTF8):
                raise ProblemFileError(f"{path}: the file is empty; it must hold at least one row")
            yield from _rows(path, file, head)
    except OSError as error:
        raise ProblemFileError(f"{path}: {error.strerror or error}; name a file that can be read") from None


def _rows(path: Path, file: IO[bytes], head: bytes) -> Iterator[Row]:
    if head.startswith(b"PAR1"):
        return _parquet(path)
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ProblemFileError(f"{path}, line 1: the file is UTF-16; save it as UTF-8")
    start = head.removeprefix(codecs.BOM_UTF8).lstrip()
    if path.suffix.lower() in {".csv", ".tsv"}:
        return _csv(path, file, "\t" if path.suffix.lower() == ".tsv" else ",")
    if start.startswith(b"["):
        return _json_array(path, file)
    if start.startswith(b"{"):
        return _json_lines(path, file)
    if path.suffix.lower() in {".json", ".jsonl"}:
        raise ProblemFileError(
            f"{path}, line 1: starts with {start[:1]!r}, which no JSON object or array does; correct it"
        )
    if path.suffix.lower() == ".parquet":
        raise ProblemFileError(f"{path}: is not a parquet file, whatever its name says; write it again")
    raise ProblemFileError(
        f"{path}: the format cannot be told; use JSON Lines, JSON, parquet, or CSV with the ending .csv"
    )


def _decoded(path: Path, file: IO[bytes]) -> Iterator[str]:
    """Yields lines, ends kept; only line feeds end a line, as carriage returns occur inside questions."""
    for number, line in enumerate(file, 1):
        if b"\0" in line:
            raise ProblemFileError(f"{path}, line {number}: holds a zero byte, as UTF-16 does; save the file as UTF-8")
        try:
            yield line.removeprefix(codecs.BOM_UTF8).decode() if number == 1 else line.decode()
        except UnicodeDecodeError as error:
            raise ProblemFileError(
                f"{path}, line {number}: byte 0x{line[error.start]:02x} is not UTF-8; save the file as UTF-8"
            ) from None


# ---------------------------------------------------------------- JSON


def _json_lines(path: Path, file: IO[bytes]) -> Iterator[Row]:
    lines = ((number, line) for number, line in enumerate(_decoded(path, file), 1) if line.strip())
    number, first = next(lines)
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        if first.rstrip()[-1] not in "{[,:":  # a line that breaks off elsewhere was meant to be a whole row
            raise _not_json(path, number, first) from None
        yield from _json_object(path, first + "".join(text for _, text in lines), number)
        return
    yield from _split(value, f"line {number}", path)
    for number, line in lines:
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            raise _not_json(path, number, line) from None
        yield from _split(value, f"line {number}", path)


def _not_json(path: Path, number: int, line: str) -> ProblemFileError:
    try:
        json.loads(line)
    except RecursionError:
        why = "nested too deep"
    except ValueError as error:
        why = str(error).split(":")[0]
    cut = "" if line.endswith("\n") else "; it looks cut off"
    return ProblemFileError(f"{path}, line {number}: not valid JSON ({why}){cut}; correct or remove the line")


def _json_object(path: Path, text: str, first_line: int) -> Iterator[Row]:
    """Yields the rows of a file that is one object over several lines: one row, or rows by id."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        line = first_line + error.lineno - 1
        raise ProblemFileError(
            f"{path}, line {line}: not valid JSON ({error.msg}); correct it there, or restore the file"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ProblemFileError(f"{path}: not valid JSON ({error}); correct it") from None
    yield from _split(value, f"line {first_line}", path)


def _split(value: object, place: str, path: Path) -> Iterator[Row]:
    """Yields the object as a row, or its values when it is rows by id."""
    if not isinstance(value, dict):
        raise ProblemFileError(f"{path}, {place}: holds {_kind(value)}, not an object; give one JSON object per row")
    if value and all(isinstance(item, dict) and item for item in value.values()):
        for number, (key, item) in enumerate(value.items(), 1):
            yield Row(place if len(value) == 1 else f"row {number}", key, item)
    else:
        yield Row(place, None, value)


def _json_array(path: Path, file: IO[bytes]) -> Iterator[Row]:
    """Yields the elements of an array without holding more than one of them and a chunk."""
    decoder = json.JSONDecoder()
    chunks = _chunks(path, file)
    text = next(chunks).lstrip()[1:]
    number = 0
    while True:
        text = text.lstrip()
        while not text:
            chunk = next(chunks, None)
            if chunk is None:
                raise ProblemFileError(f"{path}: ends inside row {number + 1}: it was cut off; restore the file")
            text = chunk.lstrip()
        if text[0] == "]":
            if (text[1:] + "".join(_several(chunks, 1))).strip():
                raise ProblemFileError(
                    f"{path}: goes on after the array of {number} rows ends; join the arrays, or remove what follows"
                )
            return
        if text[0] == "," and number:
            text = text[1:].lstrip() or next(chunks, "")
        number += 1
        value, text = _element(path, decoder, chunks, text, number)
        if not isinstance(value, dict):
            raise ProblemFileError(
                f"{path}, row {number}: holds {_kind(value)}, not an object; give one object per row"
            )
        yield Row(f"row {number}", None, value)


def _element(
    path: Path, decoder: json.JSONDecoder, chunks: Iterator[str], text: str, number: int
) -> tuple[object, str]:
    while True:
        try:
            value, end = decoder.raw_decode(text.lstrip())
        except RecursionError:
            raise ProblemFileError(f"{path}, row {number}: nested too deep; correct the row") from None
        except ValueError as error:
            more = "".join(_several(chunks, max(1, len(text) // _CHUNK)))
            if not more:
                why = str(error).split(":")[0]
                raise ProblemFileError(
                    f"{path}, row {number}: not valid JSON ({why}); correct or restore the file"
                ) from None
            text += more
        else:
            return value, text.lstrip()[end:]


def _several(chunks: Iterator[str], count: int) -> Iterator[str]:
    for _ in range(count):
        chunk = next(chunks, None)
        if chunk is None:
            return
        yield chunk


def _chunks(path: Path, file: IO[bytes]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line = 1
    while True:
        data = file.read(_CHUNK)
        try:
            text = decoder.decode(data, final=not data)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].count(b"\n")
            raise ProblemFileError(
                f"{path}, line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save the file as UTF-8"
            ) from None
        line += data.count(b"\n")
        if text:
            yield text
        if not data:
            return


def _kind(value: object) -> str:
    return {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a truth value"}.get(
        type(value), "null"
    )


# ---------------------------------------------------------------- tables


def _csv(path: Path, file: IO[bytes], delimiter: str) -> Iterator[Row]:
    reader = csv.reader(_decoded(path, file), delimiter=delimiter, strict=True)
    try:
        header = next(reader)
        if len(set(header)) != len(header):
            raise ProblemFileError(f"{path}, line 1: two columns have the same name; rename one")
        begins = reader.line_num + 1
        for cells in reader:
            if cells and len(cells) != len(header):
                raise ProblemFileError(
                    f"{path}, line {begins}: has {len(cells)} columns where the header has {len(header)}; correct it"
                )
            if cells:
                yield Row(f"line {begins}", None, dict(zip(header, cells, strict=True)))
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ProblemFileError(f"{path}, line {reader.line_num}: not valid CSV ({error}); correct it there") from None


def _parquet(path: Path) -> Iterator[Row]:
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
                    yield Row(f"row {number}", None, data)
    except (arrow.ArrowException, OSError) as error:
        why = str(error).splitlines()[0][:120]
        raise ProblemFileError(f"{path}: not a whole parquet file ({why}); restore it or write it again") from None
