"""The public API as users type it: checked by mypy, and run by tests/test_python_page.py.

Every annotation is what a type checker tells a user who hovers over the name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import calmstorm
from calmstorm import (
    Completion,
    CompletionStop,
    Execution,
    Funnel,
    GoldenTrajectory,
    Interpreter,
    Intervener,
    Limits,
    Prefix,
    Problem,
    Reasoner,
    Recipe,
    Reviewed,
    Rollout,
    RunDirectory,
    Sampling,
    Stage,
    Summary,
    Tally,
    TokenCodec,
    Trajectory,
    Trigger,
    Verdict,
    curate,
    evaluate,
    filter_golden,
    find_flaws,
    grade,
    graded_trajectory,
    load_problems,
    load_recipe,
    open_reasoner,
    reward,
    rollout,
)


class MyReasoner:
    """Satisfies `Reasoner` without inheriting from anything."""

    @property
    def name(self) -> str:
        return "mine"

    @property
    def codec(self) -> TokenCodec | None:
        return None

    def render(self, question: str) -> Prefix:
        return Prefix(text=question)

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        return Completion(text="\\boxed{1}", stop=CompletionStop.END_OF_TURN)

    async def close(self) -> None:
        return None


class MyIntervener:
    """Satisfies `Intervener` without inheriting from anything."""

    @property
    def name(self) -> str:
        return "mine"

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        return Reviewed.of(None)

    async def close(self) -> None:
        return None


reasoner: Reasoner = MyReasoner()
intervener: Intervener = MyIntervener()
version: str = calmstorm.__version__
recipe: Recipe = load_recipe(None, {"evaluation.samples": "1"})
problem: Problem = Problem(id="p", question="How many?")
verdict: Verdict = grade(problem, "\\boxed{1}")
earned: float = reward(verdict)
trigger: Trigger = Trigger.NO_SANITY_CHECK
label: str = trigger.label
flaws: Sequence[object] = find_flaws(problem, "\\boxed{1}")


def of_file(path: Path) -> list[Problem]:
    problems: Iterator[Problem] = load_problems(path)
    return list(problems)


def run_script(interpreter: Interpreter) -> Execution:
    return interpreter.run("print(1)", Limits(wall_seconds=5))


async def one_attempt(interpreter: Interpreter) -> Trajectory:
    made: Rollout = await rollout(
        reasoner, interpreter, reasoner.render(problem.question), limits=recipe.rollout, sampling=Sampling()
    )
    return graded_trajectory(problem, made, stage=Stage.SOLVE, sample=0)


async def golden_of(run: RunDirectory, interpreter: Interpreter) -> list[GoldenTrajectory]:
    await curate(run, recipe, [problem], reasoner, interpreter, intervener)
    funnel: Funnel = filter_golden(run, recipe.curation)
    return list(run.read("golden", GoldenTrajectory)) if funnel.golden else []


async def accuracy(interpreter: Interpreter) -> Summary:
    tally = Tally()
    count: int = await evaluate(
        [problem],
        reasoner,
        interpreter,
        samples=1,
        limits=recipe.rollout,
        sampling=Sampling(),
        stage=Stage.BASE,
        on_trajectory=tally.add_trajectory,
    )
    assert count <= 1
    return tally.summary()


def pocket() -> Reasoner:
    return open_reasoner("pocket").reasoner


def main(folder: Path) -> tuple[Trajectory, list[GoldenTrajectory], Summary]:
    """Runs what is typed above."""
    with Interpreter(workers=1) as interpreter, RunDirectory(folder) as run:
        trajectory = asyncio.run(one_attempt(interpreter))
        golden = asyncio.run(golden_of(run, interpreter))
        return trajectory, golden, asyncio.run(accuracy(interpreter))
