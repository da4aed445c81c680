"""Curation with review of whole responses, as in the paper, and step by step: the same problems, Reasoner and rules.

    OMP_NUM_THREADS=1 python benchmarks/step_review.py [--problems 192] [--samples 2] [--keep FOLDER]

Both ways begin with the same draws, so that they differ by the review alone. Tokens are those that the Reasoner drew,
over all rounds; what a resumed round keeps of the one before is not counted again. Differences are taken problem by
problem, with Student's t intervals.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from scipy.special import stdtrit

from calmstorm.records import Author, GoldenTrajectory, Intervention, Stage, StopReason, Trajectory
from calmstorm.runs import RunDirectory

CALM = str(Path(sys.executable).with_name("calm"))
WAYS = ("whole", "steps")
MEASURES = ("tokens", "hints", "correct", "golden")


def drawn(trajectory: Trajectory) -> int:
    """Tokens that the Reasoner drew in this round, behind its last hint; characters where there are no tokens."""
    hints = [number for number, span in enumerate(trajectory.spans) if span.author is Author.INTERVENER]
    new = trajectory.spans[hints[-1] + 1 if hints else 0 :]
    sizes = (len(span.text if span.token_ids is None else span.token_ids) for span in new if span.author == "reasoner")
    return sum(sizes)


def curate(folder: Path, way: str, options: argparse.Namespace) -> Path:
    """Curates one way, unless that was done before; returns the run."""
    run = folder / way
    if (run / "golden.jsonl").exists():
        return run
    settings = (f"intervener.review={way}", f"curation.samples={options.samples}")
    words = [CALM, "curate", "--problems", str(folder / "problems.jsonl"), "--run", str(run), "--json"]
    words += ["--reasoner", options.reasoner, "--recipe", options.recipe, "--intervener", "rules"]
    subprocess.run([*words, *(word for one in settings for word in ("--set", one))], check=True, capture_output=True)
    return run


def measured(run: Path) -> tuple[dict[str, dict[str, float]], Counter[str]]:
    """Returns the measures of a run by problem, means over its samples, and the totals of what is counted."""
    directory = RunDirectory(run, readonly=True)
    sums: dict[str, dict[str, float]] = {name: defaultdict(float) for name in (*MEASURES, "samples")}
    last: dict[tuple[str, int], Trajectory] = {}
    counts: Counter[str] = Counter()
    for trajectory in directory.trajectories(Stage.CURATION):
        sums["tokens"][trajectory.problem_id] += drawn(trajectory)
        sums["samples"][trajectory.problem_id] += trajectory.round == 0
        counts["stopped"] += trajectory.stop_reason is StopReason.REVIEWED
        last[trajectory.problem_id, trajectory.sample] = trajectory
    for (problem, _), trajectory in last.items():
        sums["correct"][problem] += trajectory.verdict is not None and trajectory.verdict.correct
    for intervention in directory.read("interventions", Intervention):
        sums["hints"][intervention.problem_id] += 1
        counts[f"trigger {intervention.trigger:d}"] += 1
    for record in directory.read("golden", GoldenTrajectory):
        sums["golden"][record.trajectory.problem_id] += 1
    samples = sums["samples"]
    return {name: {key: sums[name][key] / samples[key] for key in samples} for name in MEASURES}, counts


def first_triggers(run: Path) -> dict[tuple[str, int], int]:
    """Returns the trigger of the first hint of each sample that got one."""
    hints = RunDirectory(run, readonly=True).read("interventions", Intervention)
    return {(hint.problem_id, hint.sample): int(hint.trigger) for hint in hints if hint.round == 0}


def interval(values: list[float]) -> tuple[float, float, float]:
    """Returns a mean with its 95 % interval by Student's t over problems."""
    mean = math.fsum(values) / len(values)
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    half = float(stdtrit(len(values) - 1, 0.975)) * spread
    return mean, mean - half, mean + half


def compare(folder: Path, options: argparse.Namespace) -> dict[str, object]:
    """Curates both ways and returns means per sample, and their differences, steps less whole."""
    runs = {way: curate(folder, way, options) for way in WAYS}
    made = {way: measured(run) for way, run in runs.items()}
    shown: dict[str, object] = {way: {"counts": dict(sorted(made[way][1].items()))} for way in WAYS}
    one, other = (first_triggers(runs[way]) for way in WAYS)
    flawed = one.keys() | other.keys()
    shown["first flaw"] = {"samples": len(flawed), "the same": sum(one.get(key) == other.get(key) for key in flawed)}
    for name in MEASURES:
        whole, steps = (made[way][0][name] for way in WAYS)
        ways = {way: interval(list(values.values())) for way, values in zip(WAYS, (whole, steps), strict=True)}
        shown[name] = {**ways, "difference": interval([steps[key] - whole[key] for key in whole])}
    return shown


def main() -> None:
    """Runs the comparison and prints it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=192)
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--reasoner", default="pocket")
    parser.add_argument("--recipe", default="pocket")
    parser.add_argument("--keep", type=Path, help="folder for the runs, taken from there if present; else deleted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        generate = [CALM, "problems", "generate", "--count", str(options.problems), "--side", "adapt"]
        words = [*generate, "--sizes", "2,3,4,5", "--out", str(folder / "problems.jsonl")]
        subprocess.run(words, check=True, capture_output=True)
        print(json.dumps(compare(folder, options), indent=1))


if __name__ == "__main__":
    main()
