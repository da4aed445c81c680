"""Runs of `calm eval` on the paper's five benchmarks, made by code: texts are synthetic, only the names are real.

Run as a script to look at a report of them: `python -m tests.report.benchmark_runs DIRECTORY`.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import tomli_w

from calmstorm.records import Problem, Stage
from tests.report.synthetic_run import ENV, evaluate, make_problem, write_rows

BENCHMARKS = {
    "nl4opt": "nl4opt/sirl",
    "mamo-easy": "mamo-easy/optmath",
    "mamo-complex": "mamo-complex/optmath",
    "industryor": "industryor/sirl-v2",
    "optmath": "optmath/optmath",
}


def settings(name: str, **rollout: object) -> dict[str, object]:
    return {
        "command": "eval",
        "problems": {"source": ", ".join(BENCHMARKS.values())},
        "reasoner": "http://127.0.0.1:8000/v1",
        "model": f"model-{name}",
        "prompt": "calm-1",
        "seed": 1,
        "rollout": {"response_tokens": 16384, "executions": 4, "wall_seconds": 10.0, **rollout},
        "evaluation": {"temperature": 0.6, "top_p": 0.95, "tolerance": 0.001},
    }


def problems_of(count: int) -> list[Problem]:
    """The same problems whenever it is called."""
    rng = random.Random(11)
    made = [(suite, index) for suite in BENCHMARKS for index in range(1, count + 1)]
    return [
        make_problem(index, suite, "x", rng).model_copy(
            update={"id": f"{suite}-{index}", "label_version": BENCHMARKS[suite]}
        )
        for suite, index in made
    ]


def write_evaluation(
    root: Path, ability: str, *, problems: int = 8, samples: int = 4, flaws: bool = True, **rollout: object
) -> Path:
    """Writes a run of one model.

    Args:
        root: the run directory.
        ability: how good it is: as good as the `base`, `sft` or `rl` model of the synthetic run.
        problems: per benchmark.
        samples: per problem.
        flaws: whether its responses were searched for flaws.
        rollout: settings that differ.
    """
    rng = random.Random(ability)
    root.mkdir(parents=True, exist_ok=True)
    (root / "config.toml").write_text(tomli_w.dumps(settings(root.name, **rollout)), encoding="utf-8")
    (root / "env.json").write_text(json.dumps(ENV), encoding="utf-8")
    trajectories, rows = [], []
    known = problems_of(problems)
    for problem in known:
        for sample in range(samples):
            made, triggers = evaluate(problem, ability, sample, rng)
            trajectories.append(made.model_copy(update={"stage": Stage.BASE}).to_json())
            row = {"stage": "base", "suite": problem.suite, "problem_id": problem.id, "sample": sample}
            rows.append({**row, "triggers": triggers, "annotator": "rules"})
    (root / "problems.jsonl").write_text(
        "".join(problem.model_dump_json() + "\n" for problem in known), encoding="utf-8"
    )
    (root / "trajectories.jsonl").write_text("".join(line + "\n" for line in trajectories), encoding="utf-8")
    if flaws:
        write_rows(root / "flaws.jsonl", rows)
    return root


def write_evaluations(parent: Path) -> list[Path]:
    """Writes the runs of three models."""
    return [write_evaluation(parent / f"bench-{ability}", ability) for ability in ("base", "sft", "rl")]


if __name__ == "__main__":
    print(*write_evaluations(Path(sys.argv[1])))
