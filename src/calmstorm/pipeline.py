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
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from calmstorm.curation.golden import golden_of
from calmstorm.curation.loop import STAGE as CURATION
from calmstorm.curation.loop import HintLoop, Progress, Review, Sink
from calmstorm.errors import InfrastructureError, WorkError
from calmstorm.evaluation import evaluate
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.intervener.rules import annotate
from calmstorm.problems.generator import COMPLEX_SIZES, EASY_SIZES, Side, generate, normalise
from calmstorm.progress import say, track
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import GoldenTrajectory, Intervention, Problem, Trajectory, VerdictStatus
from calmstorm.rollout import RolloutLimits
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe

EVALUATED = ("easy", "complex")
"""Suites of the pocket demonstration: sizes that dominate its training, and larger or combined problems."""


_JUDGED = frozenset({VerdictStatus.CORRECT, VerdictStatus.WRONG, VerdictStatus.NO_ANSWER})


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
            self.fine_tune()
            self.evaluate("sft", self.model("sft"), problems, interpreter)
            self.reinforce(problems["rl"], interpreter)
            self.evaluate("rl", self.model("rl"), problems, interpreter)
        self.find_flaws(problems)

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
                    seen.add(normalise(problem.question))
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
        if (self.run.path / "golden.jsonl").exists() and self.model("sft").exists():
            return

        async def work(reasoner: Reasoner) -> None:
            await curate_samples(self.run, self.recipe, problems, reasoner, interpreter, self.intervener)

        self._with_reasoner(self.base, work)
        self._write_golden(problems)

    def _write_golden(self, problems: list[Problem]) -> None:
        """Filters; the golden set is rewritten whole, as it follows from what is stored."""
        progress = curation_progress(self.run)
        known = {problem.id: problem for problem in problems}
        golden = [
            found
            for (problem_id, _), sample in sorted(progress.items())
            if (found := golden_of(known[problem_id], sample, self.recipe.curation.golden_tokens)) is not None
        ]
        self.run.write_text("golden.jsonl", "".join(each.model_dump_json(by_alias=True) + "\n" for each in golden))
        before = share_correct([p.trajectories[0] for p in progress.values()])
        after = share_correct([p.trajectories[-1] for p in progress.values()])
        say(f"curation: {before:.1%} correct before, {after:.1%} after, {len(golden)} golden of {len(progress)}")

    # -------------------------------------------------------------- training

    def fine_tune(self) -> None:
        """Fine-tunes the base on the golden set, unless that is done."""
        from calmstorm.training.checkpoints import completed_updates
        from calmstorm.training.sft import SftStep, train_sft

        output = self.model("sft")
        if output.exists():
            return
        golden = list(self.run.read("golden", GoldenTrajectory))
        done = completed_updates(output)
        self.run.drop("sft", lambda row: row["step"] > done)
        with self.run.stage("sft"), track("sft", self._sft_steps(len(golden)), done) as advance:

            def log(step: SftStep) -> None:
                self.run.append("sft", step)
                advance(f"loss {step.loss:.3f}")

            result = train_sft(self.base, golden, output, self.recipe.sft, seed=self.recipe.seed, on_log=log)
        say(f"sft: {result.steps} steps on {result.trajectories} golden trajectories")

    def _sft_steps(self, golden: int) -> int:
        return max(1, -(-round(self.recipe.sft.epochs * golden) // self.recipe.sft.batch))

    def reinforce(self, problems: list[Problem], interpreter: Interpreter) -> None:
        """Reinforces the fine-tuned model, unless that is done."""
        from calmstorm.training.grpo import RlStep, completed_steps, train_grpo
        from calmstorm.training.rollouts import RlRollout

        output = self.model("rl")
        if output.exists():
            return
        settings = self.recipe.rl
        done = completed_steps(output, settings)
        for name in ("rl", "rl_rollouts"):
            self.run.drop(name, lambda row: row["step"] > done)
        total = settings.steps or settings.epochs * (len(problems) // settings.prompts_per_step)
        with self.run.stage("rl"), track("rl", total, done) as advance:

            def on_step(step: RlStep) -> None:
                self.run.append("rl", step)
                advance(f"reward {step.reward:.2f}")

            def on_rollout(each: RlRollout) -> None:
                self.run.append(
                    "rl_rollouts",
                    {"step": each.step, "problem_id": each.problem_id, "sample": each.sample, "reward": each.reward},
                )

            train_grpo(
                self.model("sft"),
                problems,
                output,
                settings,
                interpreter,
                rollouts=self.recipe.rollout,
                seed=self.recipe.seed,
                on_step=on_step,
                on_rollout=on_rollout,
            )
        say(f"rl: {total} steps")

    # -------------------------------------------------------------- flaws

    def find_flaws(self, problems: dict[str, list[Problem]]) -> None:
        """Annotates the evaluated responses of every stage."""
        done = {(row["stage"], row["problem_id"], row["sample"]) for row in self.run.read_rows("flaws")}
        known = {problem.id: problem for part in problems.values() for problem in part}
        todo = [
            t for t in self.run.trajectories() if t.stage != CURATION and (t.stage, t.problem_id, t.sample) not in done
        ]
        if not todo:
            return
        with self.run.stage("flaws"), track("flaws", len(todo) + len(done), len(done)) as advance:
            for trajectory in todo:
                self.run.append(
                    "flaws",
                    {
                        "stage": trajectory.stage,
                        "suite": trajectory.suite,
                        "problem_id": trajectory.problem_id,
                        "sample": trajectory.sample,
                        "triggers": [int(f.trigger) for f in annotate(known[trajectory.problem_id], trajectory)],
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


async def curate_samples(
    run: RunDirectory,
    recipe: Recipe,
    problems: list[Problem],
    reasoner: Reasoner,
    interpreter: Interpreter,
    intervener: Intervener,
) -> None:
    """Takes every sample of every problem through the hint loop, from where an earlier run left it.

    Args:
        run: Receives trajectories, interventions and reviews at once.
        recipe: Bounds and sampling.
        problems: What to curate on.
        reasoner: Makes the attempts.
        interpreter: Runs their code.
        intervener: Reviews them.

    Raises:
        InputError: A server refuses what it is asked; nothing further is started.
        InfrastructureError: The Reasoner or the Intervener could not be asked about some samples; all others are done.
    """
    settings = recipe.curation
    progress = curation_progress(run)
    samples = [(problem, sample) for problem in problems for sample in range(settings.samples)]
    open_ = [(p, s) for p, s in samples if not progress[p.id, s].is_finished(settings.interventions)]
    if not open_:
        return
    sink = Sink(
        trajectory=lambda each: run.append("trajectories", each),
        intervention=lambda each: run.append("interventions", each),
        review=lambda each: run.append("reviews", each),
    )
    sampling = Sampling(temperature=recipe.rollout.temperature, top_p=recipe.rollout.top_p)
    loop = HintLoop(
        reasoner, interpreter, intervener, rollout_limits(recipe), sampling, recipe.seed, settings.interventions
    )
    gate = asyncio.Semaphore(recipe.rollout.concurrency)
    with run.stage("curation"), track("curation", len(samples), len(samples) - len(open_)) as advance:
        failed: list[InfrastructureError] = []

        async def one(problem: Problem, sample: int) -> None:
            async with gate:
                try:
                    await loop.run(problem, sample, sink, progress[problem.id, sample])
                except InfrastructureError as error:
                    failed.append(error)
            advance("")

        try:
            async with asyncio.TaskGroup() as tasks:
                for problem, sample in open_:
                    tasks.create_task(one(problem, sample))
        except ExceptionGroup as group:  # the first is the reason, the others are its echoes
            raise group.exceptions[0] from None
    if failed:
        raise InfrastructureError(
            f"{len(failed)} of {len(open_)} samples are not finished ({failed[0]}); the rest is kept: resume the run"
        )


def rollout_limits(recipe: Recipe) -> RolloutLimits:
    """Returns the bounds of a rollout that a recipe sets."""
    given = recipe.rollout
    return RolloutLimits(
        response_tokens=given.response_tokens,
        executions=given.executions,
        output_characters=given.output_characters,
        wall_seconds=given.wall_seconds,
        memory_mb=given.memory_mb,
    )


def curation_progress(run: RunDirectory) -> dict[tuple[str, int], Progress]:
    """Reads how far each (problem, sample) of a run has been curated."""
    progress: dict[tuple[str, int], Progress] = defaultdict(Progress)
    for trajectory in run.trajectories(CURATION):
        progress[trajectory.problem_id, trajectory.sample].trajectories.append(trajectory)
    for intervention in run.read("interventions", Intervention):
        progress[intervention.problem_id, intervention.sample].interventions.append(intervention)
    for review in run.read("reviews", Review):
        sample = progress[review.problem_id, review.sample]
        sample.flawless |= review.flawless
        sample.reviewed = max(sample.reviewed, review.round + 1)
    return progress


def share_correct(trajectories: Iterable[Trajectory]) -> float:
    """Returns the share of correct answers; what our machinery failed and what has no label counts as neither."""
    judged = [t.verdict for t in trajectories if t.verdict is not None and t.verdict.status in _JUDGED]
    return sum(verdict.correct for verdict in judged) / max(1, len(judged))
