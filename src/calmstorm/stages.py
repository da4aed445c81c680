"""The stages that write to a run directory, each resumable on its own: the hint loop, the golden filter, SFT and RL.

`calmstorm.pipeline` strings them together; the commands `curate`, `golden`, `sft` and `rl` call one each. A stage
looks at what is on disk first and does only what is missing. A model directory exists only when its training is
complete.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.curation.golden import golden_of, rejection
from calmstorm.curation.loop import HintLoop, Progress, Review, Sink
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.protocol import Intervener
from calmstorm.progress import track
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import GoldenTrajectory, Intervention, Problem, Record, Stage, Trajectory
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe

if TYPE_CHECKING:
    from calmstorm.training.grpo import RlStep
    from calmstorm.training.rollouts import RlRollout
    from calmstorm.training.sft import SftResult, SftStep


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
    loop = HintLoop(reasoner, interpreter, intervener, recipe.rollout, sampling, recipe.seed, settings.interventions)
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


def curation_progress(run: RunDirectory) -> dict[tuple[str, int], Progress]:
    """Reads how far each (problem, sample) of a run has been curated."""
    progress: dict[tuple[str, int], Progress] = defaultdict(Progress)
    for trajectory in run.trajectories(Stage.CURATION):
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
    judged = [t.verdict for t in trajectories if t.verdict is not None and t.verdict.status.is_judged]
    return sum(verdict.correct for verdict in judged) / max(1, len(judged))


class Funnel(Record):
    """What became of curated samples."""

    samples: int
    correct_before: float
    """Share of first attempts that were correct."""
    correct_after: float
    """Share of last rounds that were correct."""
    golden: int
    hints: int
    rejected: dict[str, int]
    """Samples that are not golden, by reason."""


def filter_golden(run: RunDirectory, most_tokens: int | None) -> Funnel:
    """Filters the curated samples of a run and writes `golden.jsonl` whole, as it follows from what is stored.

    Raises:
        InputError: nothing was curated.
    """
    problems = {problem.id: problem for problem in run.read("problems", Problem)}
    curated = {key: sample for key, sample in sorted(curation_progress(run).items()) if sample.trajectories}
    if not curated:
        raise InputError(f"{run.path}: there are no curated trajectories in it; run calm curate first")
    golden: list[GoldenTrajectory] = []
    rejected: Counter[str] = Counter()
    for (problem_id, _), sample in curated.items():
        found = golden_of(problems[problem_id], sample, most_tokens)
        if found is not None:
            golden.append(found)
        else:
            rejected[str(rejection(sample.trajectories[-1], flawless=sample.flawless, most_tokens=most_tokens))] += 1
    run.write_text("golden.jsonl", "".join(each.model_dump_json(by_alias=True) + "\n" for each in golden))
    return Funnel(
        samples=len(curated),
        correct_before=round(share_correct(sample.trajectories[0] for sample in curated.values()), 4),
        correct_after=round(share_correct(sample.trajectories[-1] for sample in curated.values()), 4),
        golden=len(golden),
        hints=sum(len(sample.interventions) for sample in curated.values()),
        rejected=dict(rejected),
    )


def fine_tune(
    run: RunDirectory, base: Path, golden: Sequence[GoldenTrajectory], output: Path, recipe: Recipe, name: str = "sft"
) -> SftResult:
    """Fine-tunes a model, going on from its last checkpoint; steps go to `<name>.jsonl`.

    Raises:
        InputError: there is nothing to learn, or the output exists.
    """
    from calmstorm.training.checkpoints import completed_updates
    from calmstorm.training.sft import train_sft

    done = completed_updates(output)
    run.drop(name, lambda row: row["step"] > done)
    total = max(1, -(-round(recipe.sft.epochs * len(golden)) // recipe.sft.batch))
    with run.stage(name), track(name, total, done) as advance:

        def log(step: SftStep) -> None:
            run.append(name, step)
            advance(f"loss {step.loss:.3f}")

        return train_sft(base, golden, output, recipe.sft, seed=recipe.seed, on_log=log)


def reinforce(
    run: RunDirectory,
    start: Path,
    problems: Sequence[Problem],
    output: Path,
    recipe: Recipe,
    interpreter: Interpreter,
    name: str = "rl",
) -> int:
    """Reinforces a model, going on from its last checkpoint; steps and rewards go to files that begin with `name`.

    Returns:
        How many rollout steps the training has in all.

    Raises:
        InputError: there are too few problems, one has no label, or the output exists.
    """
    from calmstorm.training.grpo import completed_steps, train_grpo

    settings = recipe.rl
    done = completed_steps(output, settings)
    for log in (name, f"{name}_rollouts"):
        run.drop(log, lambda row: row["step"] > done)
    total = settings.steps or settings.epochs * (len(problems) // settings.prompts_per_step)
    with run.stage(name), track(name, total, done) as advance:

        def on_step(step: RlStep) -> None:
            run.append(name, step)
            advance(f"reward {step.reward:.2f}")

        def on_rollout(each: RlRollout) -> None:
            key = {"step": each.step, "problem_id": each.problem_id, "sample": each.sample}
            run.append(f"{name}_rollouts", {**key, "reward": each.reward})

        train_grpo(
            start,
            problems,
            output,
            settings,
            interpreter,
            rollouts=recipe.rollout,
            seed=recipe.seed,
            on_step=on_step,
            on_rollout=on_rollout,
        )
    return total
