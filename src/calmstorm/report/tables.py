"""Tables as data: the page, the Markdown, CSV and LaTeX files are all made from these.

A cell knows its number and its interval, so that nobody has to read them out of text again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from calmstorm import printable
from calmstorm.evaluation import Rate
from calmstorm.report.numbers import Interval

UNKNOWN = "\N{EN DASH}"
"""Stands where there is no number."""
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a table."""

    value: float | str | None
    shown: str
    """The value as people read it, without its interval."""
    interval: Interval | None = None
    """The 95 % interval, where there is one."""
    bounds: str = ""
    """The interval as people read it."""

    @property
    def number(self) -> float:
        """The value, where it is a number; else 0."""
        return self.value if isinstance(self.value, float | int) else 0.0


@dataclass(frozen=True, slots=True)
class Column:
    """A heading."""

    name: str
    numeric: bool = True


@dataclass(frozen=True, slots=True)
class TableRow:
    """Cells, the first of which names the row."""

    cells: tuple[Cell, ...]
    group: str = ""
    """Rows that follow one another with the same group stand under one heading."""
    published: bool = False
    """The numbers are the paper's, not ours."""
    total: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the report."""

    key: str
    """Names the exported files and the place on the page: letters, digits and hyphens."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    subtitle: str = ""
    notes: tuple[str, ...] = ()

    def without_column(self, place: int) -> Table:
        """Returns the table without one of its columns."""
        rows = tuple(replace(row, cells=(*row.cells[:place], *row.cells[place + 1 :])) for row in self.rows)
        return replace(self, columns=(*self.columns[:place], *self.columns[place + 1 :]), rows=rows)

    @property
    def ranged(self) -> tuple[bool, ...]:
        """By column, whether any of its cells has an interval."""
        return tuple(any(row.cells[place].interval for row in self.rows) for place in range(len(self.columns)))

    @property
    def grouped(self) -> bool:
        """Whether some rows stand under a heading."""
        return any(row.group for row in self.rows)

    @property
    def has_published(self) -> bool:
        """Whether some rows are the paper's."""
        return any(row.published for row in self.rows)


def columns(first: str, *names: str, numeric: bool = True) -> tuple[Column, ...]:
    """Returns the usual headings: a name, then numbers."""
    return (Column(first, numeric=False), *(Column(name, numeric) for name in names))


def row(name: str, *cells: Cell, group: str = "", published: bool = False, total: bool = False) -> TableRow:
    """Returns a row that begins with its name."""
    return TableRow((text(name), *cells), group, published, total)


def text(value: str = "") -> Cell:
    """Returns a cell of words."""
    return Cell(value, value)


def share(value: float | None, interval: Interval | None = None, digits: int = 1) -> Cell:
    """Returns a share of 0..1, with a percent sign."""
    return _cell(value, lambda share: printable.percent(share, digits), interval, _percents)


def percent(value: float | None, interval: Interval | None = None, mark: str = "") -> Cell:
    """Returns a share of 0..1 in the manner of the paper's tables; a mark refers to a note."""
    return _cell(value, lambda share: _percents(share, 1) + mark, interval, _percents)


def points(value: float | None, interval: Interval | None = None) -> Cell:
    """Returns a difference of shares, in points with its sign."""

    def signed(difference: float) -> str:
        shown = f"{100 * difference:+.1f}"
        return (shown if float(shown) else shown[1:]).replace("-", MINUS)

    return _cell(value, signed, interval, signed)


def number(value: float | None, digits: int = 0) -> Cell:
    """Returns a number of anything."""
    return _cell(value, lambda count: f"{count:,.{digits}f}".replace("-", MINUS))


def rate(value: Rate) -> Cell:
    """Returns a share of responses with its interval."""
    return _cell(value.mean, lambda share: printable.percent(share, 1), value.ci95, lambda end: _percents(end, 1))


def load(value: Rate) -> Cell:
    """Returns a number of flaws per response with its interval."""
    return _cell(value.mean, "{:.2f}".format, value.ci95, "{:.2f}".format)


def seconds(value: float) -> Cell:
    """Returns a duration."""
    if value < 60:
        return Cell(value, f"{value:.1f} s")
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return Cell(value, f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s")


def _percents(share: float, digits: int = 0) -> str:
    return printable.percent(share, digits).removesuffix("%")


def _cell(
    value: float | None,
    write: Callable[[float], str],
    interval: Interval | None = None,
    write_end: Callable[[float], str] = str,
) -> Cell:
    if value is None:
        return Cell(None, UNKNOWN)
    bounds = f"[{write_end(interval[0])}, {write_end(interval[1])}]" if interval else ""
    return Cell(value, write(value), interval, bounds)
