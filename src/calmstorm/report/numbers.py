"""The numbers of a run: what report.json holds, and what tables, charts and exhibits are made of.

Shares are 0..1, sizes are tokens, times are seconds, intervals are 95 %. What a run has not done is None or absent,
never zero, and is named under `missing`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from calmstorm.evaluation import Comparison, FlawSummary, Summary
from calmstorm.records import Record, Stage, Usage

REPORT_SCHEMA = 1
"""Version of report.json's shape."""
Interval = tuple[float, float]
Quantity = int | float | None
TrainingStep = dict[str, Quantity]
"""A line of `sft.jsonl` or `rl.jsonl`."""


class Budget(Record):
    """What an evaluated response could use, as config.toml says it."""

    response_tokens: Quantity = None
    executions: Quantity = None
    wall_seconds: Quantity = None
    """Of a script."""
    memory_mb: Quantity = None
    """Of a script, MiB."""
    output_characters: Quantity = None
    temperature: Quantity = None
    top_p: Quantity = None
    tolerance: Quantity = None
    """Relative."""


class RunIdentity(Record):
    """What the run says about itself."""

    name: str
    kind: Literal["evaluation", "method"]
    """`evaluation` is a run of `calm eval`: one model, measured, and nothing else to come."""
    reasoner: str | None
    pocket: bool
    """Whether the Reasoner is the pocket model."""
    prompt: str | None
    seed: int | None
    commit: str | None
    """Of the checkout that the run was made with."""
    problems: int
    evaluated: str | None
    """The benchmarks that `calm eval` was given."""
    budget: Budget


class CurationNumbers(Record):
    """The funnel of paper figure 5; an attempt is one sample of one problem."""

    problems: int
    correct_before: float | None
    """Share of attempts that are correct before any hint."""
    correct_after: float | None
    golden: int
    """Golden trajectories."""
    hints_per_problem: float | None
    """Per attempt."""
    edited_token_share: float | None
    """Tokens of surviving hints over all response tokens of the golden set."""
    token_modification: float | None
    """Mean edit distance between first attempts and golden ones, over the longer of the two."""
    tokens_before: float | None
    """Mean of the responses."""
    tokens_after: float | None
    correct_before_ci95: Interval | None
    correct_after_ci95: Interval | None
    attempts: int
    correct_before_count: int
    correct_after_count: int
    golden_without_hints: int
    interventions: int
    triggers: dict[int, int]
    """Interventions by trigger, all seven."""
    reasoner: Usage = Usage()
    """Tokens sent and drawn over all requests, seconds of all rollouts, US dollars."""
    intervener: Usage = Usage()
    """Of all reviews."""
    failed_reviews: int = 0
    """Reviews in which the Intervener gave nothing usable; their attempts ended there."""


class MacroNumbers(Record):
    """Mean over suites, each weighing the same, as in the paper's tables."""

    pass_at_1: float
    ci95: Interval
    suites: tuple[str, ...]
    """Those with a graded response."""


class StageChange(Record):
    """How a stage differs from the base, problem by problem."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    base: Stage = Field(alias="from")
    suites: dict[str, Comparison]
    macro: Comparison | None
    """None where the two stages were not evaluated on the same suites."""


class SuiteLabels(Record):
    """What the answers of a suite were held against."""

    versions: tuple[str, ...]
    """Published versions of the labels."""
    problems: int


class StageFlaws(Record):
    """Flaws of the responses of one stage."""

    all: FlawSummary
    macro: FlawSummary
    """Every suite weighing the same."""
    suites: dict[str, FlawSummary]


class HeldOutNumbers(Record):
    """Accuracy on held-out problems at a step of training."""

    step: int
    """Steps made before; 0 is the model that training began with."""
    pass_at_1: float | None
    ci95: Interval | None
    problems: int
    samples: int
    """Per problem."""


class RunNumbers(Record):
    """The numbers of a run; its JSON is report.json."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_version: int = Field(default=REPORT_SCHEMA, alias="schema")
    run: RunIdentity
    curation: CurationNumbers
    evaluation: dict[Stage, dict[str, Summary]]
    """By stage in the order of the method, and by suite from easy to hard."""
    macro: dict[Stage, MacroNumbers]
    changes: dict[Stage, StageChange]
    labels: dict[str, SuiteLabels]
    """By evaluated suite."""
    flaws: dict[Stage, dict[int, float]]
    """Share of responses that show a trigger, by trigger."""
    flaw_rates: dict[Stage, StageFlaws]
    """The same with intervals, and by suite."""
    annotators: tuple[str, ...]
    learning: dict[str, tuple[TrainingStep, ...]]
    """Training steps: `sft` and `rl`, and those of the experiments where there are any."""
    held_out: dict[str, tuple[HeldOutNumbers, ...]]
    """Evaluations while training, by the log that they stand in; only logs with any."""
    timing: dict[str, float]
    """Seconds by stage."""
    versions: dict[str, str]
    """Of packages, and of the machine."""
    missing: tuple[str, ...]
    """What a complete run has and this one has not, in words."""


class SeveralNumbers(Record):
    """report.json of several runs."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    schema_version: int = Field(default=REPORT_SCHEMA, alias="schema")
    runs: tuple[RunNumbers, ...]


SUITES = ("easy", "complex", "nl4opt", "mamo-easy", "mamo-complex", "industryor", "optmath")
"""Suites from easy to hard, as the paper's tables have them."""


def suite_rank(suite: str) -> int:
    """Sort key: the order of `SUITES`, then everything else."""
    return SUITES.index(suite) if suite in SUITES else len(SUITES)
