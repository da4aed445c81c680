"""Collects the numbers of a run from its files, each read once."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calmstorm.costs import Total
from calmstorm.errors import WorkError
from calmstorm.evaluation import (
    Comparison,
    FlawTally,
    Summary,
    Tally,
    compare_outcomes,
    macro_average,
    macro_comparison,
    macro_flaws,
)
from calmstorm.reasoner.prompting import MODEL_SETTINGS, prompt_of_model
from calmstorm.records import FlawRecord, ReviewOutcome, Stage, TrajectoryKey, Trigger, Usage, Verdict
from calmstorm.report.index import Outcomes, RunIndex, read_places
from calmstorm.report.numbers import (
    Budget,
    CurationNumbers,
    HeldOutNumbers,
    MacroNumbers,
    RunIdentity,
    RunNumbers,
    StageChange,
    StageFlaws,
    SuiteLabels,
    suite_rank,
)
from calmstorm.runs import Place, RunDirectory

METHOD_STAGES = (Stage.BASE, Stage.SFT, Stage.RL)
"""Evaluated stages that a complete run has."""
METHOD_LOGS = ("sft", "rl")
LOGS = (*METHOD_LOGS, "pilot", "control_sft", "control_rl")
"""Files of training steps: those of the method, then those of the experiments."""
STAGE_ORDER = list(Stage)


@dataclass(frozen=True, eq=False)
class RunReport:
    """A run as the report has read it: its numbers, and where its texts stand."""

    numbers: RunNumbers
    index: RunIndex

    @property
    def name(self) -> str:
        """The run's name."""
        return self.numbers.run.name

    @property
    def samples(self) -> int | None:
        """Samples per problem, the most of any suite; None where nothing was evaluated."""
        results = (result for suites in self.numbers.evaluation.values() for result in suites.values())
        return max((result.samples for result in results), default=None)

    @property
    def is_evaluation(self) -> bool:
        """Whether the run is `calm eval`'s."""
        return self.numbers.run.kind == "evaluation"


def read_run(run_path: Path) -> RunReport:
    """Reads a run, as far as it is done.

    Args:
        run_path: The run directory.

    Returns:
        Its numbers, with an index of its texts.

    Raises:
        InputError: `run_path` is not a run directory.
        WorkError: One of its lines is damaged.
    """
    run = RunDirectory(run_path, readonly=True)
    places: list[Place] = []
    tallies: defaultdict[tuple[Stage, str], Tally] = defaultdict(Tally)
    for place, trajectory in read_places(run):
        places.append(place)
        if place.stage.is_evaluated:
            tallies[place.stage, place.suite].add_trajectory(trajectory)
    flaws, flaw_rates, annotators = _read_flaws(run)
    index = RunIndex(run, places, flaws)
    evaluation = _evaluation(tallies)
    logs = {name: tuple(run.read_rows(name)) for name in LOGS}
    learning = {name: tuple(row for row in rows if "evaluation" not in row) for name, rows in logs.items()}
    held_out = {name: evaluated for name, rows in logs.items() if (evaluated := _held_out(rows))}
    try:
        numbers = RunNumbers(
            run=_identity(run, len(index.problems)),
            curation=_curation(index),
            evaluation=evaluation,
            macro=_macro(evaluation),
            changes=_changes(index, evaluation),
            labels=_labels(index),
            flaws={
                stage: {trigger: rate.mean for trigger, rate in rates.all.triggers.items()}
                for stage, rates in flaw_rates.items()
            },
            flaw_rates=flaw_rates,
            annotators=annotators,
            learning={name: steps for name, steps in learning.items() if steps or name in METHOD_LOGS},
            held_out=held_out,
            timing=run.seconds_by_stage(),
            versions=_versions(run.environment()),
            missing=(),
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise WorkError(f"{run_path}: {where} cannot be reported: {first['msg']}; restore it in the run") from None
    return RunReport(numbers.model_copy(update={"missing": tuple(_missing(numbers))}), index)


def _held_out(rows: Iterable[Mapping[str, Any]]) -> tuple[HeldOutNumbers, ...]:
    """Returns the evaluations that stand in a log of training steps."""
    known = HeldOutNumbers.model_fields
    return tuple(
        HeldOutNumbers.model_validate(
            {"step": row["step"]} | {k: v for k, v in row["evaluation"].items() if k in known}
        )
        for row in rows
        if "evaluation" in row
    )


# ------------------------------------------------------------------ evaluation


def _evaluation(tallies: Mapping[tuple[Stage, str], Tally]) -> dict[Stage, dict[str, Summary]]:
    evaluation: dict[Stage, dict[str, Summary]] = {}
    for stage, suite in sorted(tallies, key=lambda key: (STAGE_ORDER.index(key[0]), suite_rank(key[1]))):
        evaluation.setdefault(stage, {})[suite] = tallies[stage, suite].summary()
    return evaluation


def _macro(evaluation: Mapping[Stage, Mapping[str, Summary]]) -> dict[Stage, MacroNumbers]:
    macro = {}
    for stage, suites in evaluation.items():
        estimates = {suite: cell.estimate for suite, cell in suites.items() if cell.estimate is not None}
        if estimates:
            mean, low, high = macro_average(list(estimates.values()))
            macro[stage] = MacroNumbers(pass_at_1=mean, ci95=(low, high), suites=tuple(estimates))
    return macro


def compare(first: Outcomes, second: Outcomes) -> tuple[dict[str, Comparison], Comparison | None]:
    """Compares two evaluations on the problems that both have: by suite, and their macro average.

    The macro average is None where there is no suite, or the two do not have the same ones.
    """
    suites = {}
    for suite in first:
        common = [key for key in first[suite] if key in second.get(suite, {})]
        comparison = compare_outcomes([(first[suite][key], second[suite][key]) for key in common])
        if comparison is not None:
            suites[suite] = comparison
    is_whole = suites and set(suites) == set(first) == set(second)
    return suites, macro_comparison(suites) if is_whole else None


def _changes(index: RunIndex, stages: Iterable[Stage]) -> dict[Stage, StageChange]:
    base = index.outcomes(Stage.BASE)
    changes: dict[Stage, StageChange] = {}
    for stage in stages:
        if base and stage is not Stage.BASE:
            suites, macro = compare(base, index.outcomes(stage))
            changes[stage] = StageChange(base=Stage.BASE, suites=suites, macro=macro)
    return changes


def _labels(index: RunIndex) -> dict[str, SuiteLabels]:
    evaluated: dict[str, dict[str, None]] = {}
    for place in index.places:
        if place.stage.is_evaluated:
            evaluated.setdefault(place.suite, {})[place.problem_id] = None
    labels = {}
    for suite in sorted(evaluated, key=suite_rank):
        known = [index.problems[name].label_version for name in evaluated[suite] if name in index.problems]
        labels[suite] = SuiteLabels(versions=tuple(dict.fromkeys(known)), problems=len(evaluated[suite]))
    return labels


# ------------------------------------------------------------------ curation


def _curation(index: RunIndex) -> CurationNumbers:
    attempts = list(index.attempts.values())
    first = [rounds[0] for rounds in attempts]
    last = [rounds[max(rounds)] for rounds in attempts]
    before, after = _accuracy(first), _accuracy(last)
    triggers = Counter(int(hint.trigger) for hints in index.hints.values() for hint in hints)
    golden = index.golden.values()
    golden_tokens = sum(place.tokens for place in golden)
    reviewing, failed_reviews = _reviews(index.run)
    return CurationNumbers(
        problems=len({key.problem_id for key in index.attempts}),
        correct_before=before.pass_at_1,
        correct_after=after.pass_at_1,
        golden=len(golden),
        hints_per_problem=triggers.total() / len(attempts) if attempts else None,
        edited_token_share=sum(place.edited_tokens for place in golden) / golden_tokens if golden_tokens else None,
        token_modification=_mean(place.modification for place in golden),
        tokens_before=before.response_tokens if attempts else None,
        tokens_after=after.response_tokens if attempts else None,
        correct_before_ci95=before.ci95,
        correct_after_ci95=after.ci95,
        attempts=len(attempts),
        correct_before_count=sum(place.correct for place in first),
        correct_after_count=sum(place.correct for place in last),
        golden_without_hints=sum(not place.hints for place in golden),
        interventions=triggers.total(),
        triggers={int(trigger): triggers[trigger] for trigger in Trigger},
        reasoner=_rounds(index).usage(),
        intervener=reviewing,
        failed_reviews=failed_reviews,
    )


def _rounds(index: RunIndex) -> Total:
    total = Total()
    for place in index.places:
        if place.stage is Stage.CURATION:
            total.add(place.sent, place.drawn, place.seconds, place.cost)
    return total


def _reviews(run: RunDirectory) -> tuple[Usage, int]:
    """Returns what all reviews took, and how many of them failed."""
    total, failed = Total(), 0
    for row in run.read_rows("reviews"):
        usage = Usage.model_validate(row.get("usage") or {})  # reviews of older versions have none
        total.add(usage.prompt_tokens, usage.completion_tokens, usage.seconds, usage.cost)
        failed += row.get("outcome") == ReviewOutcome.FAILED
    return total.usage(), failed


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _accuracy(places: Iterable[Place]) -> Summary:
    tally = Tally()
    for place in places:
        verdict = Verdict(correct=place.correct, expected=None, got=None, tolerance=0.0, status=place.status)
        tally.add(place.suite, place.problem_id, verdict, tokens=place.tokens)
    return tally.summary()


# ------------------------------------------------------------------ flaws


def _read_flaws(
    run: RunDirectory,
) -> tuple[dict[TrajectoryKey, tuple[Trigger, ...]], dict[Stage, StageFlaws], tuple[str, ...]]:
    """Reads the triggers of each response, their rates by stage, and who named them."""
    flaws: dict[TrajectoryKey, tuple[Trigger, ...]] = {}
    whole: defaultdict[Stage, FlawTally] = defaultdict(FlawTally)
    parts: defaultdict[Stage, defaultdict[str, FlawTally]] = defaultdict(lambda: defaultdict(FlawTally))
    annotators: dict[str, None] = {}
    for record in run.read("flaws", FlawRecord):
        problem_id, suite = sys.intern(record.problem_id), sys.intern(record.suite)
        key = TrajectoryKey(record.stage, problem_id, record.sample)
        if key not in flaws:
            flaws[key] = record.triggers
            annotators[record.annotator] = None
            whole[record.stage].add((suite, problem_id), record.triggers)
            parts[record.stage][suite].add(problem_id, record.triggers)
    rates = {}
    for stage in sorted(whole, key=STAGE_ORDER.index):
        summaries = {suite: parts[stage][suite].summary() for suite in sorted(parts[stage], key=suite_rank)}
        suites = {suite: summary for suite, summary in summaries.items() if summary is not None}
        if (summary := whole[stage].summary()) is not None:
            rates[stage] = StageFlaws(all=summary, macro=macro_flaws(suites), suites=suites)
    return flaws, rates, tuple(annotators)


# ------------------------------------------------------------------ how it was made


def _identity(run: RunDirectory, problems: int) -> RunIdentity:
    settings = run.config() or {}
    reasoner, model = settings.get("reasoner"), settings.get("model")
    prompt = settings.get("prompt") or _trained_prompt(run)
    is_evaluation = settings.get("command") == "eval"
    bounds: dict[str, Any] = {**(settings.get("rollout") or {}), **(settings.get("evaluation") or {})}
    return RunIdentity(
        name=run.path.resolve().name,
        kind="evaluation" if is_evaluation else "method",
        reasoner=f"{model} at {reasoner}" if model else reasoner,
        pocket=reasoner == "pocket" or str(prompt).startswith("pocket-"),
        prompt=prompt,
        seed=settings.get("seed"),
        commit=run.environment().get("commit"),
        problems=problems,
        evaluated=(settings.get("problems") or {}).get("source") if is_evaluation else None,
        budget=Budget(**{name: bounds.get(name) for name in Budget.model_fields}),
    )


def _trained_prompt(run: RunDirectory) -> str | None:
    """The prompt that a model of the run was trained on, which is that of its base."""
    for stage in METHOD_LOGS:
        directory = run.path / "models" / stage
        if (directory / MODEL_SETTINGS).is_file():
            return prompt_of_model(directory)
    return None


def _versions(environment: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the packages, then the machine, as env.json names them."""
    machine = {name: environment.get(name) for name in ("platform", "implementation", "cores", "commit")}
    named = {**environment.get("versions", {}), **machine}
    return {str(name): str(value) for name, value in named.items() if value is not None}


def _missing(numbers: RunNumbers) -> list[str]:
    evaluated, gaps = numbers.evaluation, []
    if numbers.run.kind == "evaluation":
        gaps += [] if evaluated else ["nothing has been evaluated"]
        gaps += [f"no flaws were counted for {stage}" for stage in evaluated if stage not in numbers.flaws]
    else:
        if not numbers.curation.attempts:
            gaps.append("curation has not run: no hints, no golden set")
        gaps += [f"the {stage} model has not been evaluated" for stage in METHOD_STAGES if stage not in evaluated]
        gaps += [f"no flaws were counted for {stage}" for stage in METHOD_STAGES if stage not in numbers.flaws]
        gaps += [f"no {name.upper()} steps are recorded" for name in METHOD_LOGS if not numbers.learning[name]]
    if not numbers.timing:
        gaps.append("no stage recorded its time")
    if not numbers.versions:
        gaps.append("env.json is missing: versions unknown")
    return gaps
