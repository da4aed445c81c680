"""One adaptation from problems to an evaluated model: the stages of CALM in order.

    problems -> evaluation of the base -> curation -> golden set -> SFT -> evaluation -> RL -> evaluation -> flaws

Every stage does only what is missing in the run directory, so that calling the pipeline again after any interruption
finishes the same work: the same problems, samples and rounds. Where servers or the Intervener fail for some samples,
the stage does all others, and the pipeline goes on with those.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from calmstorm.errors import UnfinishedError
from calmstorm.grading import is_gradable
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.printable import percent
from calmstorm.progress import note
from calmstorm.reasoner.opening import OpenedReasoner
from calmstorm.records import GoldenTrajectory, Problem, Stage, Trajectory
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe
from calmstorm.stages import (
    collect_problems,
    curation_stage,
    evaluate_model,
    filter_golden,
    find_flaws,
    fine_tune,
    is_curated,
    model_path,
    open_base,
    open_weights,
    reinforce,
)


@dataclass(frozen=True)
class Adaptation:
    """A recipe at work in a run directory."""

    recipe: Recipe
    run: RunDirectory
    base: str | Path
    """Directory or hub id of the model to adapt."""
    intervener: Intervener
    unfinished: list[str] = field(default_factory=list)
    """Stages that left something undone because our machinery failed, and why; calling again completes them."""

    def execute(self) -> None:
        """Runs every stage that is not complete yet."""
        problems = collect_problems(self.run, self.recipe)
        with Interpreter(self.recipe.rollout.workers, self.recipe.rollout.tier) as interpreter:
            self.evaluate(Stage.BASE, problems.test, interpreter)
            self.curate(problems.sft, interpreter)
            fine_tune(self.run, self.recipe, self.base, self.golden())
            self.evaluate(Stage.SFT, problems.test, interpreter)
            start = model_path(self.run, Stage.SFT)
            reinforce(self.run, self.recipe, start, problems.rl, interpreter, test=problems.test)
            self.evaluate(Stage.RL, problems.test, interpreter)
        find_flaws(self.run)

    def golden(self) -> list[GoldenTrajectory]:
        """Returns the golden set."""
        return list(self.run.read("golden", GoldenTrajectory))

    def open(self, stage: Stage) -> OpenedReasoner:
        """Opens the Reasoner that a stage asks: the base, or the model of a training stage."""
        log = self.run.path / "servers" / f"{stage}.log"
        if stage in (Stage.BASE, Stage.CURATION):
            return open_base(self.recipe, self.base, log)
        return open_weights(self.recipe, model_path(self.run, stage), log)

    def evaluate(self, stage: Stage, problems: Sequence[Problem], interpreter: Interpreter) -> None:
        """Evaluates the base, or the model of a training stage, and says its accuracy by suite."""
        gradable = [problem for problem in problems if is_gradable(problem)]
        outcomes: dict[str, list[bool]] = defaultdict(list)

        def count(trajectory: Trajectory) -> None:
            outcomes[trajectory.suite].append(bool(trajectory.verdict and trajectory.verdict.correct))

        with self._going_on(f"evaluate {stage}"):
            evaluate_model(
                lambda: self.open(stage),
                gradable,
                len(gradable),
                interpreter,
                self.recipe,
                stage,
                run=self.run,
                on_trajectory=count,
            )
        if not outcomes:
            return
        shares = (f"{suite} {percent(sum(correct) / len(correct))}" for suite, correct in outcomes.items())
        note(f"{stage}: pass@1 {', '.join(shares)}")

    def curate(self, problems: Sequence[Problem], interpreter: Interpreter) -> None:
        """Curates what is not finished and writes the golden set, unless a model was trained on it already."""
        if model_path(self.run, Stage.SFT).exists():
            return
        if not is_curated(self.run, self.recipe, problems):  # no server is started for nothing
            with self._going_on(Stage.CURATION):
                curation_stage(
                    self.run, self.recipe, problems, lambda: self.open(Stage.CURATION), interpreter, self.intervener
                )
        funnel = filter_golden(self.run, self.recipe.curation)
        note(
            f"curation: {percent(funnel.correct_before)} correct before, {percent(funnel.correct_after)} after, "
            f"{funnel.golden} golden of {funnel.samples}"
        )
        for words in funnel.words:
            note(words)

    @contextmanager
    def _going_on(self, stage: str) -> Iterator[None]:
        """Lets a stage leave some samples open, and says so; one that finished none ends the run."""
        try:
            yield
        except UnfinishedError as error:
            if not error.finished:
                raise
            self.unfinished.append(f"{stage}: {error}")
            note(f"NOT COMPLETE: {stage}: {error}. This run goes on without them")
