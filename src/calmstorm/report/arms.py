"""Arms: the models that a report compares, each an evaluated stage of a run.

In a report on one run an arm is called by its stage ("Base", "SFT", "RL"); in one on several by its run, and by both
where the run has several. The arms of one run, and all runs of `calm eval` together in the order they were named, form
a lineage: what the paper draws as the stages of one model.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from calmstorm.evaluation import Comparison, Summary
from calmstorm.records import Stage
from calmstorm.report.collect import METHOD_STAGES, RunReport, compare
from calmstorm.report.index import Outcomes
from calmstorm.report.numbers import MacroNumbers, StageFlaws, suite_rank

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""Marks in charts; shape repeats what colour says, for readers who don't see the difference and for print."""
STAGE_NAMES = {
    "base": "Base",
    "sft": "SFT",
    "rl": "RL",
    "pilot": "Non-reflective SFT",
    "control_sft": "Control SFT",
    "control_rl": "Control RL",
}
"""Evaluated stages, and logs of training, as they are written for people."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One evaluated model."""

    name: str
    stage: Stage
    report: RunReport
    position: int
    """Among all arms of the report."""

    @property
    def cells(self) -> dict[str, Summary]:
        """Results by suite."""
        return self.report.numbers.evaluation[self.stage]

    @property
    def macro(self) -> MacroNumbers | None:
        """Mean over its suites."""
        return self.report.numbers.macro.get(self.stage)

    def score(self, suite: str | None = None) -> Summary | MacroNumbers | None:
        """Returns its result on a suite, if it has one; without a suite its macro average."""
        return self.macro if suite is None else self.cells.get(suite)

    @property
    def flaws(self) -> StageFlaws | None:
        """Its flaws, where they were counted."""
        return self.report.numbers.flaw_rates.get(self.stage)

    @property
    def colour(self) -> str:
        """Name of the CSS variable it is drawn in."""
        return f"--arm-{self.position % len(SYMBOLS) + 1}"

    @property
    def symbol(self) -> str:
        """Its mark in charts."""
        return SYMBOLS[self.position % len(SYMBOLS)]

    @cached_property
    def outcomes(self) -> Outcomes:
        """How often it was right on each problem."""
        return self.report.index.outcomes(self.stage)

    def changes_from(self, other: Arm) -> tuple[dict[str, Comparison], Comparison | None]:
        """Compares it with another arm on the problems of both: by suite, and the macro average."""
        return compare(other.outcomes, self.outcomes)


@dataclass(frozen=True)
class Lineage:
    """Arms that follow from one another."""

    name: str
    """Of the run; empty when the report has one lineage."""
    arms: tuple[Arm, ...]

    @property
    def report(self) -> RunReport:
        """The first arm's run."""
        return self.arms[0].report


def all_arms(reports: Sequence[RunReport]) -> list[Arm]:
    """Returns the arms of a report, in the order of its runs and of the method."""
    arms: list[Arm] = []
    used: Counter[str] = Counter()
    for report in reports:
        stages = report.numbers.evaluation
        for stage in stages:
            name = STAGE_NAMES[stage]
            if len(reports) > 1:
                name = f"{report.name}: {name}" if len(stages) > 1 else report.name
            used[name] += 1
            if used[name] > 1:  # runs of one name in different folders
                name = f"{name} ({used[name]})"
            arms.append(Arm(name, stage, report, len(arms)))
    return arms


def suites_of(arms: Sequence[Arm]) -> list[str]:
    """Returns every suite that an arm was evaluated on, from easy to hard."""
    return sorted(dict.fromkeys(suite for arm in arms for suite in arm.cells), key=suite_rank)


def lineages_of(arms: Sequence[Arm]) -> list[Lineage]:
    """Returns the lineages of a report: base, SFT and RL of each run, and all evaluations."""
    groups: list[tuple[str, list[Arm]]] = []
    for report in dict.fromkeys(arm.report for arm in arms if not arm.report.is_evaluation):
        stages = [arm for arm in arms if arm.report is report and arm.stage in METHOD_STAGES]
        if stages:
            groups.append((report.name, stages))
    evaluations = [arm for arm in arms if arm.report.is_evaluation]
    if evaluations:
        groups.append(("evaluations", evaluations))
    return [Lineage(name if len(groups) > 1 else "", tuple(members)) for name, members in groups]


def run_argument(report: RunReport) -> str:
    """Returns a run as one writes it on a command line."""
    return shlex.quote(f"runs/{report.name}")
