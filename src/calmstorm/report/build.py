"""Computes report.json: the numbers of a run, from its files alone.

Shares are 0..1, sizes are tokens, times are seconds. What the run has not done yet is named under `missing` and left
out; nothing is filled with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calmstorm.reasoner.prompting import MODEL_SETTINGS, prompt_of_model
from calmstorm.report.counts import RunCounts, count_run
from calmstorm.report.curated import RunCuration, curation_numbers, read_curation
from calmstorm.report.evaluated import change_numbers, evaluation_numbers, label_numbers, macro_numbers
from calmstorm.report.flawed import RunFlaws, flaw_numbers, read_flaws
from calmstorm.report.problem_places import ProblemPlace, read_problem_places
from calmstorm.runs import RunDirectory

REPORT_SCHEMA = 1
"""Version of report.json's shape."""

METHOD_STAGES = ("base", "sft", "rl")
"""Evaluation stages a complete run has."""
LOGS = ("sft", "rl", "pilot", "control_sft", "control_rl")
"""Files of training steps: those of the main arm, then those of the experiments."""
BUDGET = {
    "rollout": ("response_tokens", "executions", "wall_seconds", "memory_mb", "output_characters"),
    "evaluation": ("temperature", "top_p", "tolerance"),
}
"""Settings that say what an evaluated response could use, by their table in config.toml."""


@dataclass(frozen=True, eq=False)
class RunReport:
    """A run as the report has read it: its numbers, and where its texts stand."""

    run: RunDirectory
    numbers: dict[str, Any]
    """What report.json holds."""
    counts: RunCounts
    problems: dict[str, ProblemPlace]
    curated: RunCuration
    flaws: RunFlaws

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.numbers["run"]["name"])

    @property
    def is_evaluation(self) -> bool:
        """Whether the run is `calm eval`'s: one model, measured, and nothing else to come."""
        return bool(self.numbers["run"]["kind"] == "evaluation")


def build_report(run_path: Path) -> dict[str, Any]:
    """Returns what report.json holds for a run directory.

    Args:
        run_path: the run directory; its stages may be partly done.

    Returns:
        JSON-ready dict. The contract's keys (`curation`, `evaluation`, `flaws`, `timing`, `versions`), and beside them
        `macro` (mean over suites, by stage), `changes` (paired, from the base), `labels`, `flaw_counts`, `flaw_rates`
        (with intervals, by suite), `annotators`, `learning` (curves), `run` and `missing`.

    Raises:
        InputError: `run_path` is not a run directory.
        WorkError: one of its lines is damaged.
    """
    return read_run(run_path).numbers


def read_run(run_path: Path) -> RunReport:
    """Reads a run, each of its files once; see `build_report`."""
    run = RunDirectory(run_path, readonly=True)
    counted = count_run(run)
    problems = read_problem_places(run)
    curated = read_curation(run)
    flaws = read_flaws(run)
    logs = {name: list(run.read_rows(name)) for name in LOGS}
    numbers: dict[str, Any] = {
        "schema": REPORT_SCHEMA,
        "run": run_identity(run, len(problems)),
        "curation": curation_numbers(curated, counted),
        "evaluation": evaluation_numbers(counted),
        "macro": macro_numbers(counted),
        "changes": change_numbers(counted, problems),
        "labels": label_numbers(counted, problems),
        **flaw_numbers(flaws),
        "learning": {name: rows for name, rows in logs.items() if rows or name in METHOD_STAGES},
        "timing": run.seconds_by_stage(),
        "versions": versions(run.environment()),
    }
    numbers["missing"] = missing(numbers)
    return RunReport(run, numbers, counted, problems, curated, flaws)


def run_identity(run: RunDirectory, problems: int) -> dict[str, Any]:
    """What the run says about itself: name, kind, Reasoner, prompt, seed, budget, the commit it was made at."""
    settings = run.config() or {}
    reasoner, model = settings.get("reasoner"), settings.get("model")
    prompt = settings.get("prompt") or _trained_prompt(run)
    return {
        "name": run.path.resolve().name,
        "kind": "evaluation" if settings.get("command") == "eval" else "method",
        "reasoner": f"{model} at {reasoner}" if model else reasoner,
        "pocket": reasoner == "pocket" or str(prompt).startswith("pocket-"),
        "prompt": prompt,
        "seed": settings.get("seed"),
        "commit": run.environment().get("commit"),
        "problems": problems,
        "evaluated": settings.get("problems") if settings.get("command") == "eval" else None,
        "budget": {key: (settings.get(part) or {}).get(key) for part, keys in BUDGET.items() for key in keys},
    }


def _trained_prompt(run: RunDirectory) -> str | None:
    """The prompt that a model of the run was trained on, which is that of its base."""
    for stage in ("sft", "rl"):
        directory = run.path / "models" / stage
        if (directory / MODEL_SETTINGS).is_file():
            return prompt_of_model(directory)
    return None


def versions(environment: dict[str, Any]) -> dict[str, str]:
    """Versions of the packages, then the machine, as env.json names them."""
    packages = environment.get("versions", {})
    machine = {name: environment.get(name) for name in ("platform", "implementation", "cores", "commit")}
    return {str(name): str(value) for name, value in {**packages, **machine}.items() if value is not None}


def missing(numbers: dict[str, Any]) -> list[str]:
    """What a complete run has and this one does not, in words."""
    gaps = []
    evaluated = numbers["evaluation"]
    if numbers["run"]["kind"] == "evaluation":
        gaps += [] if evaluated else ["nothing has been evaluated"]
        gaps += [f"no flaws were counted for {stage}" for stage in evaluated if stage not in numbers["flaws"]]
    else:
        if not numbers["curation"]["attempts"]:
            gaps.append("curation has not run: no hints, no golden set")
        gaps += [f"the {stage} model has not been evaluated" for stage in METHOD_STAGES if stage not in evaluated]
        gaps += [f"no flaws were counted for {stage}" for stage in METHOD_STAGES if stage not in numbers["flaws"]]
        gaps += [f"no {name.upper()} steps are recorded" for name in ("sft", "rl") if not numbers["learning"][name]]
    if not numbers["timing"]:
        gaps.append("no stage recorded its time")
    if not numbers["versions"]:
        gaps.append("env.json is missing: versions unknown")
    return gaps
