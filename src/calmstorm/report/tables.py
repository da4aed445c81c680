"""Tables as data: the page, the Markdown, CSV and LaTeX files are all made from these.

A cell knows its number and its interval, so that nobody has to read them out of text again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from calmstorm import printable
from calmstorm.evaluation import Rate
from calmstorm.report.numbers import Interval

UNKNOWN = "\N{EN DASH}"
"""Stands where there is no number."""
MINUS = "\N{MINUS SIGN}"


class Unit(StrEnum):
    """How a number is meant and written."""

    TEXT = "text"
    SHARE = "share"
    """0..1, written with a percent sign."""
    PERCENT = "percent"
    """0..1, written as percent without the sign, as the paper's tables have it."""
    POINTS = "points"
    """Difference of two shares, -1..1, written in points with its sign."""
    NUMBER = "number"
    SECONDS = "seconds"


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of a table."""

    value: float | str | None = None
    unit: Unit = Unit.TEXT
    digits: int = 0
    interval: Interval | None = None
    """The 95 % interval, where there is one."""
    interval_digits: int = 0
    mark: str = ""
    """Refers to a note, such as the paper's asterisk."""

    @property
    def shown(self) -> str:
        """The value as people read it, without its interval."""
        if self.value is None:
            return "" if self.unit is Unit.TEXT else UNKNOWN
        return self.value if isinstance(self.value, str) else self._number(self.value, self.digits) + self.mark

    @property
    def bounds(self) -> str:
        """The interval as people read it, or nothing."""
        if self.interval is None:
            return ""
        low, high = (self._number(end, self.interval_digits).removesuffix("%") for end in self.interval)
        return f"[{low}, {high}]"

    def _number(self, value: float, digits: int) -> str:
        match self.unit:
            case Unit.SHARE:
                return printable.percent(value, digits)
            case Unit.PERCENT:
                return printable.percent(value, digits).removesuffix("%")
            case Unit.POINTS:
                points = f"{100 * value:+.{digits}f}"
                return (points if float(points) else points[1:]).replace("-", MINUS)
            case Unit.SECONDS:
                return duration(value)
            case _:
                return f"{value:,.{digits}f}".replace("-", MINUS)


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


def text(value: str | None = None) -> Cell:
    """Returns a cell of words."""
    return Cell(value)


def share(value: float | None, interval: Interval | None = None, digits: int = 1) -> Cell:
    """Returns a share of 0..1, with a percent sign."""
    return Cell(value, Unit.SHARE, digits, interval)


def percent(value: float | None, interval: Interval | None = None, mark: str = "") -> Cell:
    """Returns a share of 0..1 in the manner of the paper's tables."""
    return Cell(value, Unit.PERCENT, 1, interval, mark=mark)


def points(value: float | None, interval: Interval | None = None) -> Cell:
    """Returns a difference of shares."""
    return Cell(value, Unit.POINTS, 1, interval, interval_digits=1)


def number(value: float | None, digits: int = 0) -> Cell:
    """Returns a number of anything."""
    return Cell(value, Unit.NUMBER, digits)


def rate(value: Rate) -> Cell:
    """Returns a share of responses with its interval."""
    return Cell(value.mean, Unit.SHARE, 1, value.ci95, interval_digits=1)


def load(value: Rate) -> Cell:
    """Returns a number of flaws per response with its interval."""
    return Cell(value.mean, Unit.NUMBER, 2, value.ci95, interval_digits=2)


def seconds(value: float) -> Cell:
    """Returns a duration."""
    return Cell(value, Unit.SECONDS)


def duration(value: float) -> str:
    """Returns seconds as people read them."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
