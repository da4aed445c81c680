"""What an exhibit is: a table or figure of the paper from what the runs hold, with the paper's numbers beside ours.

An exhibit never shows an empty chart: what a run lacks for it is named, with the command that makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from calmstorm.report.charts.layout import Figure, Series
from calmstorm.report.published import PublishedExhibit
from calmstorm.report.tables import Table

T = TypeVar("T")


@dataclass(frozen=True)
class Chart:
    """A chart with its caption."""

    key: str
    """Place on the page: letters, digits and hyphens."""
    caption: str
    figure: Figure
    subtitle: str = ""
    width: str = "full"
    """`full`, `half` or `third` of the page."""


@dataclass(frozen=True)
class Gap:
    """Something that a run lacks."""

    what: str
    command: str
    """That makes it."""


@dataclass(frozen=True)
class Exhibit:
    """One table or figure of the paper."""

    paper: PublishedExhibit
    tables: Sequence[Table] = ()
    charts: Sequence[Chart] = ()
    gaps: Sequence[Gap] = ()
    legend: Sequence[Series] = ()
    """Of all its charts."""


def suffixed(items: Sequence[T]) -> list[tuple[str, T]]:
    """Returns items with what tells their keys apart: nothing where there is one, else `-1`, `-2` and so on."""
    return [(f"-{number}" if len(items) > 1 else "", item) for number, item in enumerate(items, 1)]
