"""One adaptation from problems to an evaluated model: the stages of CALM in order, each resumable.

    problems -> evaluation of the base -> curation -> golden set -> SFT -> evaluation -> RL -> evaluation -> flaws

Every stage looks at the run directory first and does only what is missing there, so that calling the pipeline again
after any interruption finishes the same work: the same problems, samples and rounds. A model directory exists only
when its training is complete. The pipeline holds no logic of its own beyond that; each stage is a function of the
room that owns it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calmstorm.curation.loop import STAGE as CURATION
from calmstorm.errors import WorkError
from calmstorm.evaluation import evaluate
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.intervener.rules import annotate
from calmstorm.problems.generator import COMPLEX_SIZES, EASY_SIZES, Side, generate
from calmstorm.problems.texts import normalised
from calmstorm.progress import say, track
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import GoldenTrajectory, Problem, Trajectory
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe
from calmstorm.stages import curate_samples, filter_golden, fine_tune, reinforce, rollout_limits

EVALUATED = ("easy", "complex")
"""Suites of the pocket demonstration: sizes that dominate its training, and larger or combined problems."""


@dataclass(frozen=True)
class Adaptation:
    """A recipe at work in a run directory."""

    recipe: Recipe
    run: RunDirectory
    base: Path
    """Directory of the model to adapt."""
    load: Callable[[Path], Reasoner]
    """Loads a Reasoner from a model directory."""
    intervener: Intervener

    def execute(self) -> None:
        """Runs every stage that is not complete yet."""
        problems = self.problems()
        with Interpreter(workers=self.recipe.rollout.workers, tier=self.recipe.rollout.tier) as interpreter:
            self.evaluate("base", self.base, problems, interpreter)
            self.curate(problems["sft"], interpreter)
            self.fine_tune(self.golden())
            self.evaluate("sft", self.model("sft"), problems, interpreter)
            self.reinforce(problems["rl"], interpreter)
            self.evaluate("rl", self.model("rl"), problems, interpreter)
        self.find_flaws(problems)

    def golden(self) -> list[GoldenTrajectory]:
        """Returns the golden set."""
        return list(self.run.read("golden", GoldenTrajectory))

    def model(self, stage: str) -> Path:
        """Returns where the model of a training stage is written."""
        return self.run.path / "models" / stage

    # -------------------------------------------------------------- problems

    def problems(self) -> dict[str, list[Problem]]:
        """Returns the problems by part (sft, rl, easy, complex), drawing and storing those that are missing."""
        sizes = self.recipe.problems
        wanted = {"sft": sizes.sft, "rl": sizes.rl, "easy": sizes.easy, "complex": sizes.complex}
        parts: dict[str, list[Problem]] = {name: [] for name in wanted}
        for problem in self.run.read("problems", Problem):
            parts[problem.id.split("-")[0]].append(problem)
        if all(len(parts[name]) == count for name, count in wanted.items()):
            return parts
        with (
            self.run.stage("problems"),
            track("problems", sum(wanted.values()), sum(map(len, parts.values()))) as advance,
        ):
            seen: set[str] = set()
            for name, count in wanted.items():
                for index, problem in enumerate(self._drawn(name, count, frozenset(seen))):
                    seen.add(normalised(problem.question))
                    if index >= len(parts[name]):
                        self.run.append("problems", problem)
                        parts[name].append(problem)
                        advance("")
        return parts

    def _drawn(self, name: str, count: int, exclude: frozenset[str]) -> Iterable[Problem]:
        side = Side.EVALUATE if name in EVALUATED else Side.ADAPT
        sizes = {"easy": EASY_SIZES, "complex": COMPLEX_SIZES}.get(name, (*EASY_SIZES, *EASY_SIZES, *COMPLEX_SIZES))
        return generate(count, seed=self.recipe.seed, suite=name, sizes=sizes, side=side, exclude=exclude)

    # -------------------------------------------------------------- evaluation

    def evaluate(self, stage: str, model: Path, problems: dict[str, list[Problem]], interpreter: Interpreter) -> None:
        """Rolls out every sample of every test problem that is missing."""
        recipe = self.recipe
        tested = [problem for suite in EVALUATED for problem in problems[suite]]
        done = self.run.trajectory_keys(stage)
        total = len(tested) * recipe.evaluation.samples
        if len(done) == total:
            return
        correct = 0
        seen = 0

        def keep(trajectory: Trajectory) -> None:
            nonlocal correct, seen
            self.run.append("trajectories", trajectory)
            correct += bool(trajectory.verdict and trajectory.verdict.correct)
            seen += 1
            advance(f"{correct / seen:.0%} correct")

        async def work(reasoner: Reasoner) -> None:
            await evaluate(
                tested,
                reasoner,
                interpreter,
                samples=recipe.evaluation.samples,
                limits=rollout_limits(recipe),
                sampling=Sampling(temperature=recipe.evaluation.temperature, top_p=recipe.evaluation.top_p),
                stage=stage,
                concurrency=recipe.rollout.concurrency,
                seed=recipe.seed,
                done=done,
                on_trajectory=keep,
            )

        with self.run.stage(f"evaluate {stage}"), track(f"evaluate {stage}", total, len(done)) as advance:
            self._with_reasoner(model, work)
        self._say_accuracy(stage)

    def _say_accuracy(self, stage: str) -> None:
        by_suite: dict[str, list[bool]] = defaultdict(list)
        for trajectory in self.run.trajectories(stage):
            by_suite[trajectory.suite].append(bool(trajectory.verdict and trajectory.verdict.correct))
        parts = ", ".join(f"{suite} {sum(hits) / len(hits):.1%}" for suite, hits in by_suite.items())
        say(f"{stage}: pass@1 {parts}")

    # -------------------------------------------------------------- curation

    def curate(self, problems: list[Problem], interpreter: Interpreter) -> None:
        """Runs the hint loop on every sample that is not finished, then writes the golden set."""
        if self.model("sft").exists():
            return

        async def work(reasoner: Reasoner) -> None:
            await curate_samples(self.run, self.recipe, problems, reasoner, interpreter, self.intervener)

        self._with_reasoner(self.base, work)
        funnel = filter_golden(self.run, self.recipe.curation.golden_tokens)
        say(
            f"curation: {funnel.correct_before:.1%} correct before, {funnel.correct_after:.1%} after, "
            f"{funnel.golden} golden of {funnel.samples}"
        )

    # -------------------------------------------------------------- training

    def fine_tune(self, golden: Sequence[GoldenTrajectory], name: str = "sft") -> None:
        """Fine-tunes the base, unless that is done."""
        if self.model(name).exists():
            return
        result = fine_tune(self.run, self.base, golden, self.model(name), self.recipe, name)
        say(f"{name}: {result.steps} steps on {result.trajectories} trajectories")

    def reinforce(
        self, problems: list[Problem], interpreter: Interpreter, start: str = "sft", name: str = "rl"
    ) -> None:
        """Reinforces a fine-tuned model, unless that is done."""
        if self.model(name).exists():
            return
        steps = reinforce(self.run, self.model(start), problems, self.model(name), self.recipe, interpreter, name)
        say(f"{name}: {steps} steps")

    # -------------------------------------------------------------- flaws

    def find_flaws(self, problems: dict[str, list[Problem]]) -> None:
        """Annotates the evaluated responses of every stage."""
        done = {(row["stage"], row["problem_id"], row["sample"]) for row in self.run.read_rows("flaws")}
        known = {problem.id: problem for part in problems.values() for problem in part}
        total = sum(1 for key in self.run.trajectory_keys() if key[0] != CURATION)
        if len(done) == total:
            return
        with self.run.stage("flaws"), track("flaws", total, len(done)) as advance:
            for trajectory in self.run.trajectories():
                if trajectory.stage == CURATION or (trajectory.stage, trajectory.problem_id, trajectory.sample) in done:
                    continue
                self.run.append(
                    "flaws",
                    {
                        "stage": trajectory.stage,
                        "suite": trajectory.suite,
                        "problem_id": trajectory.problem_id,
                        "sample": trajectory.sample,
                        "triggers": [int(f.trigger) for f in annotate(known[trajectory.problem_id], trajectory)],
                        "annotator": "rules",
                    },
                )
                advance("")

    # -------------------------------------------------------------- shared

    def _with_reasoner(self, model: Path, work: Callable[[Reasoner], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            reasoner = self.load(model)
            try:
                await work(reasoner)
            finally:
                await reasoner.close()

        try:
            asyncio.run(run())
        except* WorkError as group:
            raise group.exceptions[0] from None
