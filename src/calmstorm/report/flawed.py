"""The flaws of a run's evaluated responses, from `flaws.jsonl`: rates by stage and suite (paper section 2.3)."""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from calmstorm.evaluation import FlawSummary, FlawTally, macro_flaws
from calmstorm.report.counts import stage_rank, suite_rank
from calmstorm.runs import RunDirectory

ResponseKey = tuple[str, str, int]
"""(stage, problem id, sample)."""


@dataclass(frozen=True)
class StageFlaws:
    """Flaws of one stage."""

    all: FlawSummary
    """Over all its responses."""
    suites: dict[str, FlawSummary]

    @property
    def macro(self) -> FlawSummary:
        """Every suite weighing the same."""
        return macro_flaws(self.suites)


@dataclass(frozen=True)
class RunFlaws:
    """Flaws of a run."""

    stages: dict[str, StageFlaws] = field(default_factory=dict)
    """In the order of the method."""
    triggers: dict[ResponseKey, tuple[int, ...]] = field(default_factory=dict)
    """Of each response."""
    annotators: tuple[str, ...] = ()


def read_flaws(run: RunDirectory) -> RunFlaws:
    """Reads the flaws of a run once."""
    whole: defaultdict[str, FlawTally] = defaultdict(FlawTally)
    parts: defaultdict[str, defaultdict[str, FlawTally]] = defaultdict(lambda: defaultdict(FlawTally))
    triggers: dict[ResponseKey, tuple[int, ...]] = {}
    annotators: dict[str, None] = {}
    for row in run.read_rows("flaws"):
        stage, suite, problem_id = (sys.intern(str(row.get(key, ""))) for key in ("stage", "suite", "problem_id"))
        key = (stage, problem_id, int(row["sample"]))
        if key in triggers:
            continue
        triggers[key] = tuple(int(number) for number in row["triggers"])
        annotators[str(row.get("annotator", "rules"))] = None
        whole[stage].add((suite, problem_id), triggers[key])
        parts[stage][suite].add(problem_id, triggers[key])
    stages = {}
    for stage in sorted(whole, key=stage_rank):
        found = whole[stage].summary()
        suites = {suite: parts[stage][suite].summary() for suite in sorted(parts[stage], key=suite_rank)}
        if found is not None:
            stages[stage] = StageFlaws(found, {suite: each for suite, each in suites.items() if each is not None})
    return RunFlaws(stages, triggers, tuple(annotators))


def flaw_numbers(flaws: RunFlaws) -> dict[str, Any]:
    """What report.json holds: rates by stage and trigger, the counts behind them, and by suite with intervals."""
    return {
        "flaws": {
            stage: {str(number): rate.mean for number, rate in each.all.triggers.items()}
            for stage, each in flaws.stages.items()
        },
        "flaw_counts": {
            stage: {
                "responses": each.all.responses,
                "flawless": each.all.flawless_count,
                "triggers": _trigger_counts(flaws, stage),
            }
            for stage, each in flaws.stages.items()
        },
        "flaw_rates": {
            stage: {
                "all": each.all.model_dump(mode="json"),
                "macro": each.macro.model_dump(mode="json"),
                "suites": {suite: part.model_dump(mode="json") for suite, part in each.suites.items()},
            }
            for stage, each in flaws.stages.items()
        },
        "annotators": list(flaws.annotators),
    }


def _trigger_counts(flaws: RunFlaws, stage: str) -> dict[str, int]:
    counts = {str(number): 0 for number in range(1, 8)}
    for key, triggers in flaws.triggers.items():
        if key[0] == stage:
            for number in set(triggers):
                counts[str(number)] += 1
    return counts
