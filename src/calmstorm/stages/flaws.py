"""The flaws of a run's evaluated responses, kept in `flaws.jsonl`: one annotator, and nothing is annotated twice."""

from __future__ import annotations

from collections.abc import Sequence

from calmstorm.errors import InputError
from calmstorm.intervener.rules import annotate
from calmstorm.progress import track
from calmstorm.records import FlawRecord, Problem, Trajectory, Trigger
from calmstorm.runs import RunDirectory

RULES = "rules"
"""Name of the rule engine as an annotator."""


class KeptFlaws:
    """`flaws.jsonl` of a run, to be added to."""

    def __init__(self, run: RunDirectory, annotator: str = RULES) -> None:
        """Reads what is annotated already.

        Raises:
            InputError: The file is by another annotator.
        """
        self._run = run
        self._annotator = annotator
        self.done = set()
        for record in run.read("flaws", FlawRecord):
            if record.annotator != annotator:
                raise InputError(
                    f"{run.file('flaws')}: is by {record.annotator}, and rates by two annotators cannot stand in one "
                    f"table; move the file away, or annotate with {record.annotator}"
                )
            self.done.add(record.key)

    def is_open(self, trajectory: Trajectory) -> bool:
        """Whether a response is to be annotated: it measures a model, and nobody has looked at it."""
        return trajectory.stage.is_evaluated and trajectory.key not in self.done

    def keep(self, trajectory: Trajectory, triggers: Sequence[int]) -> None:
        """Adds what was found in a response."""
        self._run.append(
            "flaws",
            FlawRecord(
                stage=trajectory.stage,
                suite=trajectory.suite,
                problem_id=trajectory.problem_id,
                sample=trajectory.sample,
                triggers=tuple(map(Trigger, triggers)),
                annotator=self._annotator,
            ),
        )


def find_flaws(run: RunDirectory) -> None:
    """Annotates the evaluated responses of every stage by the rules, those that are not annotated yet."""
    kept = KeptFlaws(run)
    remaining = sum(map(kept.is_open, run.trajectories()))
    if not remaining:
        return
    problems = {problem.id: problem for problem in run.read("problems", Problem)}
    with run.stage("flaws"), track("flaws", remaining + len(kept.done), len(kept.done)) as advance:
        for trajectory in run.trajectories():
            if kept.is_open(trajectory):
                kept.keep(trajectory, [flaw.trigger for flaw in annotate(problems[trajectory.problem_id], trajectory)])
                advance("")
