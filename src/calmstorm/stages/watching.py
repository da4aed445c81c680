"""Evaluation while training: which problems are held out, how they are measured, and what the log knows already.

Accuracy along training is measured on a run's test problems, as in the paper's Figure 6(a). Whatever chooses weights by
it (`rl.keep = "best"`, `rl.patience`) gets problems of its own instead, split off those of reinforcement and not
trained on: the test set has no part in that choice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.evaluation import evaluate
from calmstorm.evaluation.summary import Tally
from calmstorm.grading import is_gradable
from calmstorm.problems.texts import text_key
from calmstorm.progress import note
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import Problem, Stage, Trajectory, Verdict, VerdictStatus
from calmstorm.rollout import CodeRunner
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, RlSettings
from calmstorm.stages.problems import GENERATED, collect_problems

if TYPE_CHECKING:
    from calmstorm.training.watching import HeldOutAnswer, HeldOutScore, RlEvaluation, Watch


class HeldOutProblems:
    """Measures as the evaluation of a run does, with the same bounds, sampling and seeds; see `training.watching`."""

    def __init__(
        self, problems: Sequence[Problem], recipe: Recipe, interpreter: CodeRunner, stage: Stage = Stage.RL
    ) -> None:
        """Takes what is asked, how, and the stage that is trained, whose seeds are used."""
        self.problems = problems
        self._recipe = recipe
        self._interpreter = interpreter
        self._stage = stage

    async def answer(self, reasoner: Reasoner, problems: Sequence[Problem]) -> list[HeldOutAnswer]:
        """Answers and grades; what our machinery failed is left out, and said."""
        from calmstorm.training.watching import HeldOutAnswer

        answers: list[HeldOutAnswer] = []

        def keep(trajectory: Trajectory) -> None:
            if trajectory.verdict is not None and trajectory.verdict.status.is_judged:
                answers.append(HeldOutAnswer(trajectory.suite, trajectory.problem_id, bool(trajectory.verdict.correct)))

        settings, recipe = self._recipe.evaluation, self._recipe
        sampling = Sampling(
            temperature=settings.temperature, top_p=settings.top_p, top_k=settings.top_k, min_p=settings.min_p
        )
        try:
            await evaluate(
                problems,
                reasoner,
                self._interpreter,
                samples=recipe.rl.evaluation_samples,
                limits=recipe.rollout,
                sampling=sampling,
                stage=self._stage,
                on_trajectory=keep,
                concurrency=recipe.rollout.concurrency,
                seed=recipe.seed,
                tolerance=settings.tolerance,
            )
        except InfrastructureError as error:
            note(f"evaluation while training: {error}")
        return answers

    def score(self, answers: Sequence[HeldOutAnswer]) -> HeldOutScore:
        """Sums answers up; an interval is clustered by problem."""
        from calmstorm.training.watching import HeldOutScore

        tally = Tally()
        for suite, problem_id, correct in answers:
            status = VerdictStatus.CORRECT if correct else VerdictStatus.WRONG
            verdict = Verdict(correct=correct, expected=None, got=None, tolerance=0.0, status=status)
            tally.add(suite, problem_id, verdict)
        cell = tally.summary()
        return HeldOutScore(pass_at_1=cell.pass_at_1, ci95=cell.ci95, problems=cell.problems, samples=cell.samples)


def test_problems(run: RunDirectory, recipe: Recipe) -> list[Problem]:
    """Returns the test problems of a run, for evaluation while training; none where it has none or none is asked for.

    A run that was begun with problems of its own, by `calm curate --problems`, has no test part.
    """
    source = recipe.problems.source
    if not recipe.rl.evaluation_steps or (source != GENERATED and not Path(source).is_dir()):
        return []
    return collect_problems(run, recipe).test


def held_out(
    problems: Sequence[Problem], test: Sequence[Problem], given: Sequence[Problem], settings: RlSettings, seed: int
) -> tuple[list[Problem], list[Problem]]:
    """Chooses the problems to evaluate on while training.

    Args:
        problems: Of the reinforcement.
        test: The run's test problems, if it has any.
        given: Those that the user names, if any.
        settings: How many, and whether weights are chosen by them.
        seed: Of the choice.

    Returns:
        What is trained on, and what is evaluated on; the two share no text.

    Raises:
        InputError: Too little would be left to train on, or what the user names is trained on.
    """
    if not settings.evaluation_steps:
        return [*problems], []
    chooses = settings.keep == "best" or settings.patience > 0
    if given or (test and not chooses):
        return [*problems], _apart(_some([*filter(is_gradable, given or test)], settings, seed), problems)
    count = settings.evaluation_problems
    if len(problems) - count < settings.prompts_per_step:
        raise InputError(
            f"rl.evaluation_problems is {count}; held out of the {len(problems)} problems of the reinforcement they "
            f"leave {max(0, len(problems) - count)}, and a step takes rl.prompts_per_step = "
            f"{settings.prompts_per_step}: lower one of them, or name others with --evaluate-on"
        )
    chosen = _some(problems, settings, seed)
    ids = {problem.id for problem in chosen}
    return [problem for problem in problems if problem.id not in ids], chosen


def _some(problems: Sequence[Problem], settings: RlSettings, seed: int) -> list[Problem]:
    """Returns at most as many as settings say, drawn by seed, in their order."""
    count = min(settings.evaluation_problems, len(problems))
    return [problems[place] for place in sorted(random.Random(seed).sample(range(len(problems)), count))]


def _apart(chosen: list[Problem], trained: Sequence[Problem]) -> list[Problem]:
    texts = {text_key(problem.question) for problem in trained}
    both = [problem.id for problem in chosen if text_key(problem.question) in texts]
    if both:
        raise InputError(
            f"{len(both)} of {len(chosen)} problems to evaluate on are trained on, too (first: {both[0]}): name others"
        )
    if not chosen:
        raise InputError("none of the problems to evaluate on has a label: name others with --evaluate-on")
    return chosen


def watch_of(run: RunDirectory, stage: Stage, done: int, measure: HeldOutProblems) -> Watch:
    """Returns what a training is watched with; evaluations go to the log of its steps.

    Args:
        run: Has the evaluations of a training that is resumed, up to the step that it goes on after.
        stage: Which training.
        done: That step.
        measure: Measures a Reasoner on held-out problems.
    """
    from calmstorm.training.watching import RlEvaluation, Watch

    def keep(evaluation: RlEvaluation) -> None:
        run.append(stage, evaluation)

    rows = [row for row in run.read_rows(stage) if "evaluation" in row and row["step"] <= done]
    return Watch(measure, [RlEvaluation.model_validate(row) for row in rows], keep)
