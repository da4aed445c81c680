"""Computes report.json: the numbers of a run, from its files alone.

Shares are 0..1, sizes are tokens, times are seconds. What the run has not done yet is named under `missing` and left
out; nothing is filled with zeros.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from calmstorm.evaluation import macro_average
from calmstorm.records import GoldenTrajectory, Intervention, Problem
from calmstorm.report.counts import Attempt, RunCounts, accuracy, count, trigger_counts
from calmstorm.runs import RunDirectory

REPORT_SCHEMA = 1
"""Version of report.json's shape."""

METHOD_STAGES = ("base", "sft", "rl")
"""Evaluation stages a complete run has."""


def build_report(run_path: Path) -> dict[str, Any]:
    """Returns what report.json holds for a run directory.

    Args:
        run_path: the run directory; its stages may be partly done.

    Returns:
        JSON-ready dict. The contract's keys (`curation`, `evaluation`, `flaws`, `timing`, `versions`), and beside them
        `macro` (mean over suites, by stage), `flaw_counts`, `learning` (curves), `run` and `missing`.

    Raises:
        InputError: `run_path` is not a run directory.
        WorkError: one of its lines is damaged.
    """
    run = RunDirectory(run_path, readonly=True)
    counted = count(run.trajectories())
    flaws, flaw_counts = flaw_rates(run.read_rows("flaws"))
    report: dict[str, Any] = {
        "schema": REPORT_SCHEMA,
        "run": run_identity(run),
        "curation": curation_numbers(run, counted),
        "evaluation": evaluation_numbers(counted),
        "macro": macro_numbers(counted),
        "flaws": flaws,
        "flaw_counts": flaw_counts,
        "learning": {"sft": list(run.read_rows("sft")), "rl": list(run.read_rows("rl"))},
        "timing": run.seconds_by_stage(),
        "versions": versions(run.environment()),
    }
    report["missing"] = missing(report)
    return report


def run_identity(run: RunDirectory) -> dict[str, Any]:
    """What the run says about itself: its name, its Reasoner, its seed, the commit it was made at."""
    settings = run.config() or {}
    reasoner, model = settings.get("reasoner"), settings.get("model")
    return {
        "name": run.path.resolve().name,
        "reasoner": f"{model} at {reasoner}" if model else reasoner,
        "pocket": reasoner == "pocket",
        "seed": settings.get("seed"),
        "commit": run.environment().get("commit"),
        "problems": sum(1 for _ in run.read("problems", Problem)),
    }


def curation_numbers(run: RunDirectory, counted: RunCounts) -> dict[str, Any]:
    """The funnel of paper figure 5: correct before and after the hints, golden, and what the hints changed."""
    attempts = counted.attempts
    interventions = trigger_counts(run.read("interventions", Intervention))
    edited_tokens = 0.0
    golden_tokens = golden = unaided = 0
    for item in run.read("golden", GoldenTrajectory):
        tokens = item.trajectory.usage.completion_tokens
        golden += 1
        unaided += not item.interventions
        golden_tokens += tokens
        edited_tokens += item.edited_token_share * tokens
    first = {key: attempt.first for key, attempt in attempts.items()}
    last = {key: attempt.last for key, attempt in attempts.items()}
    before, after = accuracy(first), accuracy(last)
    return {
        "problems": len({problem_id for problem_id, _ in attempts}),
        "correct_before": before.pass_at_1,
        "correct_after": after.pass_at_1,
        "golden": golden,
        "hints_per_problem": _ratio(sum(interventions.values()), len(attempts)),
        "edited_token_share": _ratio(edited_tokens, golden_tokens),
        "tokens_before": before.response_tokens if attempts else None,
        "tokens_after": after.response_tokens if attempts else None,
        "correct_before_ci95": _listed(before.ci95),
        "correct_after_ci95": _listed(after.ci95),
        "attempts": len(attempts),
        "correct_before_count": sum(outcome.correct for outcome in first.values()),
        "correct_after_count": sum(outcome.correct for outcome in last.values()),
        "golden_without_hints": unaided,
        "interventions": sum(interventions.values()),
        "triggers": interventions,
        "rounds": _by_round(list(attempts.values())),
    }


def _by_round(attempts: list[Attempt]) -> list[dict[str, Any]]:
    """Attempts that reached each round, and how many are correct if every attempt stops at that round."""
    deepest = max((max(attempt.rounds) for attempt in attempts), default=-1)
    return [
        {
            "round": number,
            "attempts": sum(number in attempt.rounds for attempt in attempts),
            "correct": sum(attempt.stopped_at(number).correct for attempt in attempts),
        }
        for number in range(deepest + 1)
    ]


def evaluation_numbers(counted: RunCounts) -> dict[str, dict[str, dict[str, Any]]]:
    """Pass@1 with its interval, code blocks and response tokens, by stage and suite (paper section 4.1)."""
    return {
        stage: {
            suite: cell.model_dump(mode="json") | {"correct": counted.correct[stage][suite]}
            for suite, cell in suites.items()
        }
        for stage, suites in counted.cells.items()
    }


def macro_numbers(counted: RunCounts) -> dict[str, dict[str, Any]]:
    """Mean of the suites' pass@1, by stage; every suite weighs the same, as in the paper's tables."""
    result: dict[str, dict[str, Any]] = {}
    for stage, suites in counted.cells.items():
        estimates = {suite: cell.estimate for suite, cell in suites.items()}
        parts = [estimate for estimate in estimates.values() if estimate is not None]
        if not parts:
            continue
        mean, low, high = macro_average(parts)
        result[stage] = {
            "pass_at_1": mean,
            "ci95": [low, high],
            "suites": [suite for suite, estimate in estimates.items() if estimate is not None],
        }
    return result


def flaw_rates(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Any]]]:
    """Share of responses showing each trigger, by stage, and the counts behind it (paper section 2.3)."""
    responses: Counter[str] = Counter()
    flawless: Counter[str] = Counter()
    found: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for row in rows:
        stage = str(row["stage"])
        triggers = {int(number) for number in row["triggers"]}
        responses[stage] += 1
        flawless[stage] += not triggers
        found[stage].update(triggers)
    rates = {
        stage: {str(number): found[stage][number] / total for number in range(1, 8)}
        for stage, total in responses.items()
    }
    counts = {
        stage: {
            "responses": total,
            "flawless": flawless[stage],
            "triggers": {str(number): found[stage][number] for number in range(1, 8)},
        }
        for stage, total in responses.items()
    }
    return rates, counts


def versions(environment: dict[str, Any]) -> dict[str, str]:
    """Versions of the packages, then the machine, as env.json names them."""
    packages = environment.get("versions", {})
    machine = {name: environment.get(name) for name in ("platform", "implementation", "cores", "commit")}
    return {str(name): str(value) for name, value in {**packages, **machine}.items() if value is not None}


def missing(report: dict[str, Any]) -> list[str]:
    """What a complete run has and this one does not, in words."""
    gaps = []
    if not report["curation"]["attempts"]:
        gaps.append("curation has not run: no hints, no golden set")
    evaluated = report["evaluation"]
    gaps += [f"the {stage} model has not been evaluated" for stage in METHOD_STAGES if stage not in evaluated]
    gaps += [f"no flaws were counted for {stage}" for stage in METHOD_STAGES if stage not in report["flaws"]]
    gaps += [f"no {name.upper()} steps are recorded" for name in ("sft", "rl") if not report["learning"][name]]
    if not report["timing"]:
        gaps.append("no stage recorded its time")
    if not report["versions"]:
        gaps.append("env.json is missing: versions unknown")
    return gaps


def _listed(bounds: tuple[float, float] | None) -> list[float] | None:
    return None if bounds is None else list(bounds)


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None
