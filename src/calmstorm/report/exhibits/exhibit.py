"""The paper's tables and figures, each from what the runs hold, with the paper's numbers beside ours.

An exhibit never shows an empty chart: what a run lacks for it is named, with the command that makes it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.report.arms import Arm
from calmstorm.report.build import RunReport
from calmstorm.report.charts.layout import Figure
from calmstorm.report.published import published
from calmstorm.report.tables import Table

NO_VALUES = "The paper prints the values in a picture only, so there are no published numbers to set beside these."


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

    key: str
    title: str
    about: str
    """What it shows, and where ours differs."""
    where: str
    """Its place in the paper."""
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    gaps: tuple[Gap, ...] = ()
    says: str = ""
    """What the paper reads from it, where it prints no numbers."""
    categories: bool = False
    """Its lines are the two categories of flaws, which need a legend."""

    @property
    def beside(self) -> bool:
        """Whether each chart has a table to stand beside it."""
        return len(self.charts) == len(self.tables) > 0 and all(chart.width == "half" for chart in self.charts)


def run_argument(report: RunReport) -> str:
    """A run as one writes it on a command line."""
    return shlex.quote(f"runs/{report.name}")


def is_pocket(arms: Sequence[Arm]) -> bool:
    """Whether any of the models is a pocket model."""
    return any(arm.report.numbers["run"]["pocket"] for arm in arms)


def published_note(arms: Sequence[Arm]) -> str:
    """What has to be said wherever the paper's rows stand beside ours."""
    paper = published().paper
    sizes = ", ".join(f"{name} {count}" for name, count in zip(paper.names, paper.test_problems, strict=True))
    text = (
        f"Published rows are from the paper (arXiv {paper.arxiv}), on its own test problems ({sizes}) and label "
        "versions; they have no intervals there."
    )
    if is_pocket(arms):
        text += " Ours is a pocket model of about a million parameters: no evidence about large ones."
    return text


def evaluation_command(report: RunReport, stage: str | None = None) -> str:
    """The command that evaluates a model of a run on the paper's five benchmarks."""
    words = " ".join(f"--problems {name}" for name in published().paper.benchmarks)
    trained = stage in ("sft", "rl")
    reasoner = f"{run_argument(report)}/models/{stage}" if trained else report.numbers["run"]["reasoner"] or "pocket"
    name = f"bench-{stage}" if stage else "bench"
    return f"calm eval {words} --reasoner {reasoner if trained else shlex.quote(str(reasoner))} --run runs/{name}"
