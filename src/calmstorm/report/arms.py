"""Arms: the models that a report compares, each an evaluated stage of a run.

In a report on one run an arm is called by its stage ("Base", "SFT", "RL"); in one on several by its run, and by both
where the run has several. The arms of one run, and all runs of `calm eval` together in the order they were named, form
a lineage: what the paper draws as the stages of one model.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from calmstorm.evaluation import Comparison
from calmstorm.report.build import METHOD_STAGES, RunReport
from calmstorm.report.counts import suite_rank
from calmstorm.report.evaluated import Keyed, changes, keyed_outcomes
from calmstorm.report.flawed import StageFlaws

COLOURS = ("--arm-1", "--arm-2", "--arm-3", "--arm-4", "--arm-5", "--arm-6")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star")
"""Shape repeats what colour says, for readers who don't see the difference and for print."""
STAGE_NAMES = {
    "base": "Base",
    "sft": "SFT",
    "rl": "RL",
    "pilot": "Non-reflective SFT",
    "control_sft": "Control SFT",
    "control_rl": "Control RL",
}


@dataclass(frozen=True, eq=False)
class Arm:
    """One evaluated model."""

    name: str
    stage: str
    report: RunReport
    index: int
    """Position among all arms of the report."""

    @property
    def cells(self) -> dict[str, Any]:
        """Results by suite."""
        return dict(self.report.numbers["evaluation"][self.stage])

    @property
    def macro(self) -> dict[str, Any] | None:
        """Mean over its suites, `{pass_at_1, ci95, suites}`."""
        found: dict[str, Any] | None = self.report.numbers["macro"].get(self.stage)
        return found

    @property
    def flaws(self) -> StageFlaws | None:
        """Its flaws, where they were counted."""
        return self.report.flaws.stages.get(self.stage)

    @property
    def colour(self) -> str:
        """Name of the CSS variable it is drawn in."""
        return COLOURS[self.index % len(COLOURS)]

    @property
    def symbol(self) -> str:
        """Its mark in charts."""
        return SYMBOLS[self.index % len(SYMBOLS)]

    @cached_property
    def outcomes(self) -> Keyed:
        """(graded, correct) by suite and problem."""
        return keyed_outcomes(self.report.counts, self.stage, self.report.problems)

    def changes_from(self, other: Arm) -> tuple[dict[str, Comparison], Comparison | None]:
        """How it differs from another arm on the problems of both: by suite, and the macro average."""
        return changes(other.outcomes, self.outcomes)


@dataclass(frozen=True)
class Lineage:
    """Arms that follow from one another."""

    name: str
    """Of the run; empty when the report has one lineage."""
    arms: tuple[Arm, ...]
    report: RunReport
    """The first arm's run."""


def stage_name(stage: str) -> str:
    """How a stage is written for people."""
    return STAGE_NAMES.get(stage, stage)


def all_arms(reports: Sequence[RunReport]) -> list[Arm]:
    """Returns the arms of a report, in the order of its runs and of the method."""
    found = [(report, stage) for report in reports for stage in report.numbers["evaluation"]]
    arms: list[Arm] = []
    seen: Counter[str] = Counter()
    for index, (report, stage) in enumerate(found):
        name = _name(report, stage, alone=len(reports) == 1)
        seen[name] += 1
        if seen[name] > 1:  # runs of one name in different folders
            name = f"{name} ({seen[name]})"
        arms.append(Arm(name, stage, report, index))
    return arms


def _name(report: RunReport, stage: str, *, alone: bool) -> str:
    if alone:
        return stage_name(stage)
    several = len(report.numbers["evaluation"]) > 1
    return f"{report.name}: {stage_name(stage)}" if several else report.name


def suites_of(arms: Sequence[Arm]) -> list[str]:
    """Returns every suite that an arm was evaluated on, from easy to hard."""
    return sorted(dict.fromkeys(suite for arm in arms for suite in arm.cells), key=suite_rank)


def lineages(arms: Sequence[Arm]) -> list[Lineage]:
    """Returns the lineages of a report: base, SFT and RL of each run, and all evaluations."""
    found: list[tuple[str, list[Arm]]] = []
    evaluations = [arm for arm in arms if arm.report.is_evaluation]
    runs = dict.fromkeys(arm.report.run for arm in arms if not arm.report.is_evaluation)
    for run in runs:
        own = [arm for arm in arms if arm.report.run is run and arm.stage in METHOD_STAGES]
        if own:
            found.append((own[0].report.name, own))
    if evaluations:
        found.append(("evaluations", evaluations))
    alone = len(found) == 1
    return [Lineage("" if alone else name, tuple(each), each[0].report) for name, each in found]
