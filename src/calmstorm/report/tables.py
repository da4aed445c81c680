"""The report's tables as data: the page, the Markdown, CSV and LaTeX files are all made from these.

A cell knows its number and its interval, so that nobody has to read them out of text again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from calmstorm.evaluation import Rate

UNKNOWN = "\N{EN DASH}"
"""Stands where there is no number."""
MINUS = "\N{MINUS SIGN}"
Interval = Sequence[float] | None


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
    low: float | None = None
    """Lower end of the 95 % interval, where there is one."""
    high: float | None = None
    fine: bool = True
    """The interval is written with as many digits as the value, else with none."""
    mark: str = ""
    """Refers to a note, such as the paper's asterisk."""

    @property
    def shown(self) -> str:
        """The value as people read it, without its interval."""
        if self.value is None:
            return "" if self.unit is Unit.TEXT else UNKNOWN
        return self.value if isinstance(self.value, str) else self._number(self.value, self.digits) + self.mark

    @property
    def interval(self) -> str:
        """The interval as people read it, or nothing."""
        if self.low is None or self.high is None:
            return ""
        digits = self.digits if self.fine else 0
        ends = [self._number(end, digits).removesuffix("%") for end in (self.low, self.high)]
        return f"[{ends[0]}, {ends[1]}]"

    def _number(self, value: float, digits: int) -> str:
        match self.unit:
            case Unit.SHARE:
                return f"{100 * value:.{digits}f}%"
            case Unit.PERCENT:
                return f"{100 * value:.{digits}f}"
            case Unit.POINTS:
                shown = f"{100 * value:+.{digits}f}"
                return (shown if float(shown) else shown[1:]).replace("-", MINUS)
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
class Row:
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
    rows: tuple[Row, ...]
    subtitle: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ranged(self) -> tuple[bool, ...]:
        """By column, whether any of its cells has an interval."""
        return tuple(any(row.cells[index].interval for row in self.rows) for index in range(len(self.columns)))

    @property
    def has_published(self) -> bool:
        """Whether some rows are the paper's."""
        return any(row.published for row in self.rows)


def columns(first: str, *numbers: str) -> tuple[Column, ...]:
    """The usual headings: a name, then numbers."""
    return (Column(first, numeric=False), *(Column(name) for name in numbers))


def row(name: str, *cells: Cell, group: str = "", published: bool = False, total: bool = False) -> Row:
    """A row that begins with its name."""
    return Row((text(name), *cells), group=group, published=published, total=total)


def text(value: str | None) -> Cell:
    """Words."""
    return Cell(value)


def share(value: float | None, interval: Interval = None, digits: int = 1) -> Cell:
    """A share of 0..1, with a percent sign."""
    return _with(Cell(value, Unit.SHARE, digits, fine=False), interval)


def percent(value: float | None, interval: Interval = None, mark: str = "") -> Cell:
    """A share of 0..1 in the manner of the paper's tables."""
    return _with(Cell(value, Unit.PERCENT, 1, fine=False, mark=mark), interval)


def points(value: float | None, interval: Interval = None) -> Cell:
    """A difference of shares."""
    return _with(Cell(value, Unit.POINTS, 1), interval)


def number(value: float | None, digits: int = 0, interval: Interval = None) -> Cell:
    """A number of anything."""
    return _with(Cell(value, Unit.NUMBER, digits), interval)


def seconds(value: float | None) -> Cell:
    """A duration."""
    return Cell(value, Unit.SECONDS)


def rate(value: Rate | None, digits: int = 1) -> Cell:
    """A rate with its interval."""
    return share(None) if value is None else _with(Cell(value.mean, Unit.SHARE, digits), value.ci95)


def _with(cell: Cell, interval: Interval) -> Cell:
    if interval is None or cell.value is None:
        return cell
    low, high = interval
    return replace(cell, low=low, high=high)


def duration(value: float) -> str:
    """Seconds as people read them."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
