"""Graded answers from a file of responses or from a run: what comparisons and other labels are computed on.

Answers of two sources belong to one problem when their texts are the same after normalisation, so that it does not
matter under which id or in which order a source has it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from calmstorm.errors import InputError, WorkError
from calmstorm.evaluation.paired import Comparison, Outcome, compare_outcomes
from calmstorm.evaluation.summary import Tally
from calmstorm.grading import TOLERANCE, grade
from calmstorm.problems.files import load_responses
from calmstorm.problems.texts import text_key
from calmstorm.records import Problem, Record, Stage, StopReason, Trajectory, Verdict, VerdictStatus
from calmstorm.rollout.fences import count_code_blocks
from calmstorm.runs import RunDirectory


class Answer(NamedTuple):
    """One graded answer."""

    problem: Problem
    sample: int
    verdict: Verdict
    trajectory: Trajectory | None
    """Where it comes from a run."""
    code_blocks: int
    cut_off: bool

    def add_to(self, tally: Tally) -> None:
        """Adds the answer to a tally, with what it cost."""
        if self.trajectory is not None:
            tally.add_trajectory(self.trajectory)
        else:
            problem = self.problem
            tally.add(problem.suite, problem.id, self.verdict, code_blocks=self.code_blocks, cut_off=self.cut_off)


def read_answers(source: str, limit: int | None = None, tolerance: float = TOLERANCE) -> Iterator[Answer]:
    """Yields the answers of a file of responses, of a run (`runs/x`) or of one stage of a run (`runs/x:rl`).

    Answers of a run keep the verdict they were given there; responses of a file are graded now.

    Raises:
        InputError: There is no such file, run or stage, or the run has several stages and none is named.
        WorkError: A run lacks a problem that it has answers to.
    """
    run, stage = _run_and_stage(source)
    if run is None:
        yield from _of_file(Path(source), limit, tolerance)
    else:
        yield from islice(_of_run(run, stage), limit)


def is_run(source: str) -> bool:
    """Says whether a source names a run, and not a file of responses."""
    return _run_and_stage(source)[0] is not None


def _run_and_stage(source: str) -> tuple[Path | None, str | None]:
    if Path(source).is_dir():
        return Path(source), None
    name, colon, stage = source.rpartition(":")
    return (Path(name), stage) if colon and Path(name).is_dir() else (None, None)


def _of_file(path: Path, limit: int | None, tolerance: float) -> Iterator[Answer]:
    for row in load_responses(path, limit):
        verdict = grade(row.problem, row.response, stop_reason=row.stop_reason, tolerance=tolerance)
        blocks = count_code_blocks(row.response)
        yield Answer(row.problem, row.sample, verdict, None, blocks, row.stop_reason is StopReason.LENGTH)


def _of_run(path: Path, stage: str | None) -> Iterator[Answer]:
    with RunDirectory(path, readonly=True) as directory:
        problems = {problem.id: problem for problem in directory.read("problems", Problem)}
        stage = _stage(path, stage, [row["stage"] for row in directory.read_rows("trajectories")])
        seen = set()
        for trajectory in directory.trajectories(stage):
            id, verdict = trajectory.problem_id, trajectory.verdict
            if id not in problems:
                raise WorkError(f"{path}: problems.jsonl lacks {id!r}, which has trajectories; restore it")
            if verdict is not None and trajectory.key not in seen:
                seen.add(trajectory.key)
                yield Answer(problems[id], trajectory.sample, verdict, trajectory, 0, cut_off=False)


def _stage(path: Path, given: str | None, there: Iterable[str]) -> str:
    stages = [stage for stage in dict.fromkeys(there) if stage != Stage.CURATION]
    if given is None and len(stages) == 1:
        return stages[0]
    if given in stages:
        return str(given)
    listed = ", ".join(stages) or "none"
    if given is None:
        example = stages[-1] if stages else Stage.BASE
        raise InputError(f"{path}: its evaluated stages are: {listed}; name one, such as {path}:{example}")
    raise InputError(f"{path}: there is no stage {given!r} in it; those that were evaluated are: {listed}")


# ---------------------------------------------------------------- two sources


class Paired(Record):
    """What came of comparing two sources problem by problem."""

    suites: dict[str, Comparison]
    """By suite, as the first source calls it."""
    only_first: int
    """Problems that only the first source has."""
    only_second: int
    other_label: int
    """Problems left out because the two were graded against different labels or tolerances."""
    infrastructure: tuple[int, int]
    """Answers that our machinery failed, first and second; on neither side counted as wrong."""


class _Side:
    """The outcomes of one source by problem text."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        self.outcomes: dict[str, Outcome] = {}
        self.problems: dict[str, tuple[str, object]] = {}
        self.infrastructure = 0
        places: dict[str, str] = {}
        copies: Counter[str] = Counter()
        for answer in answers:
            problem, verdict = answer.problem, answer.verdict
            name = f"{problem.suite}\n{problem.id}"
            if name not in places:
                text = text_key(problem.question) if problem.question.strip() else f"id {problem.id}"
                copies[text] += 1  # a text that a source has twice is two problems, in the order of the source
                places[name] = f"{text} {copies[text]}"
                self.problems[places[name]] = problem.suite, (problem.label, problem.tolerance)
            key = places[name]
            self.infrastructure += verdict.status is VerdictStatus.INFRASTRUCTURE
            graded, correct = self.outcomes.get(key, (0, 0))
            judged = verdict.status.is_judged
            self.outcomes[key] = graded + judged, correct + (judged and verdict.correct)


def compare_answers(first: Iterable[Answer], second: Iterable[Answer]) -> Paired:
    """Compares two sources on the problems that both have, graded against the same label.

    Raises:
        InputError: There is no such problem.
    """
    one, other = _Side(first), _Side(second)
    common = [key for key in one.outcomes if key in other.outcomes]
    same = [key for key in common if one.problems[key][1] == other.problems[key][1]]
    if not same:
        raise InputError(
            f"the two have {len(common)} problem texts in common and none with the same label; "
            "name two evaluations of the same problems"
        )
    pairs: defaultdict[str, list[tuple[Outcome, Outcome]]] = defaultdict(list)
    for key in same:
        pairs[one.problems[key][0]].append((one.outcomes[key], other.outcomes[key]))
    return Paired(
        suites={suite: comparison for suite in pairs if (comparison := compare_outcomes(pairs[suite])) is not None},
        only_first=len(one.outcomes) - len(common),
        only_second=len(other.outcomes) - len(common),
        other_label=len(common) - len(same),
        infrastructure=(one.infrastructure, other.infrastructure),
    )
