"""Reinforcement learning: GRPO with a binary reward on the package's one rollout loop (paper section 3.3, table 6).

Execution output is masked, there is no KL term by default, and rollouts are drawn from the very weights that are
trained. A killed training goes on from its last complete checkpoint, with the same problems in the same order. Several
processes train together: each makes the rollouts of its own problems, the first writes. Objective `carft` is GRPO with
a contrastive loss beside it (`calmstorm.training.carft`). Not covered: the verl engine.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calmstorm.errors import InputError
from calmstorm.grading import is_gradable
from calmstorm.progress import note
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Prefix
from calmstorm.reasoner.weights import model_directory
from calmstorm.records import GoldenTrajectory, Problem, Record
from calmstorm.rollout import CodeRunner
from calmstorm.settings import CarftSettings, LocalSettings, RlSettings, RolloutSettings, ServerSettings
from calmstorm.training.carft.contrast import check_contrast, contrast_identity, contrast_of
from calmstorm.training.checkpoints import completed_updates, open_work, publish
from calmstorm.training.encode import prompt_ids
from calmstorm.training.generator import Generator, TrainedWeights, open_generator
from calmstorm.training.passes import passes_per_update
from calmstorm.training.policy import load_policy
from calmstorm.training.ranks import in_agreement, is_first, world_size
from calmstorm.training.rollouts import RlRollout
from calmstorm.training.server_generator import check_servers
from calmstorm.training.steps import RlStep, RolloutSteps
from calmstorm.training.watching import HeldOutScore, Watch, Watcher

if TYPE_CHECKING:
    from transformers import Trainer

    from calmstorm.training.trl.session import Session

__all__ = ["TRAINED_OBJECTIVES", "RlResult", "RlStep", "completed_steps", "step_order", "train_grpo"]

PACE = (
    "checkpoint_steps",
    "micro_batch",
    "processes",
    "nodes",
    "agreement",
    "generator",
    "servers",
    "sync",
    "instances",
)
"""Settings that may be others when a training goes on: how fast, and where rollouts are made."""
TRAINED_OBJECTIVES = ("grpo", "dr_grpo", "dapo", "carft")


class RlResult(Record):
    """What came of a reinforcement."""

    steps: int
    """Fewer than asked for where it ended early."""
    kept: int
    """Step of the published weights; 0 where they are those that it began with."""
    score: HeldOutScore | None = None
    """Of the published weights on held-out problems, where they were evaluated."""


def completed_steps(output_dir: Path, settings: RlSettings) -> int:
    """Returns the rollout step a training of `output_dir` would resume after; 0 when it would start anew.

    What was logged for later steps will be made again: drop those lines of `rl.jsonl` and of the rollouts first.
    """
    return completed_updates(output_dir) // settings.updates_per_step


def train_grpo(
    model: str | Path,
    problems: Sequence[Problem],
    output_dir: Path,
    settings: RlSettings,
    interpreter: CodeRunner,
    *,
    rollouts: RolloutSettings,
    prompt: str | None = None,
    local: LocalSettings | None = None,
    server: ServerSettings | None = None,
    carft: CarftSettings | None = None,
    annotated: Mapping[str, GoldenTrajectory] | None = None,
    seed: int = 1,
    on_step: Callable[[RlStep], None] = lambda step: None,
    on_rollout: Callable[[RlRollout], None] = lambda rollout: None,
    watch: Watch | None = None,
) -> RlResult:
    """Reinforces a model on problems with labels and writes it as a plain Hugging Face directory.

    Must not be called from a running event loop: it runs its own. Under a launcher every process calls it, with the
    same arguments; only the first writes, and calls `on_step` and `on_rollout`.

    Args:
        model: Directory or hub id of the model to start from.
        problems: With labels that can be graded.
        output_dir: Must not exist; appears when training is complete.
        settings: The paper's table 6, or a recipe's.
        interpreter: Runs the code of rollouts.
        rollouts: Bounds of executions, and concurrency; sampling and response length are those of `settings`.
        prompt: Name of the prompt that problems are put in; None means the one that the model asks for.
        local: Device, and memory that rollouts may take.
        server: How servers are started and asked, where rollouts come from such.
        carft: The contrastive loss of objective `carft`; None means the defaults.
        annotated: Annotated trajectories of that objective, by problem id.
        seed: Order of the problems, and sampling.
        on_step: Gets every step, after its update.
        on_rollout: Gets every rollout of a step, before its update. After a resume, those of steps after
            `completed_steps(output_dir, settings)` come again.
        watch: Evaluates every `settings.evaluation_steps` steps, before the first and after the last.

    Returns:
        How many steps were made, and which weights were published.

    Raises:
        InputError: No problem can be trained on, the objective is not one of this trainer's, sizes do not divide, the
            output exists, or an unfinished training with other arguments is in its place.
        WorkError: Generator and trainer disagree about the probability of what was generated.
    """
    from calmstorm.training.trl.carft import reinforce_contrastively  # where verl is installed, TRL is not
    from calmstorm.training.trl.grpo import reinforce
    from calmstorm.training.trl.session import Session, save_trained
    from calmstorm.training.trl.weights import TrainerWeights

    directory = model_directory(model)
    carft = carft or CarftSettings()

    def load(local: LocalSettings | None) -> LocalReasoner:
        return load_policy(directory, prompt, settings, seed, local)

    contrast = None
    with in_agreement():
        _check(settings, carft, problems)
        if settings.generator == "server":
            check_servers(settings, server or ServerSettings())
        policy = load(local)
        schedule = _schedule(policy, problems, settings, seed)
        if settings.objective == "carft" and carft.coefficient > 0:  # with 0 it is GRPO, bit for bit
            contrast = contrast_of([problem for problem, _ in schedule], annotated or {}, policy, settings, carft)
    held_out = watch.held_out.problems if watch is not None else ()
    identity = _identity(directory, policy.prompt, problems, held_out, settings, rollouts, seed)
    if settings.objective == "carft":
        identity |= contrast_identity(carft, contrast)
    work = open_work(output_dir, identity)
    watcher = Watcher(settings, watch) if watch is not None and settings.evaluation_steps else None
    with asyncio.Runner() as runner:
        generator = open_generator(policy, settings, server or ServerSettings(), work)
        steps = RolloutSteps(
            generator,
            min(policy.end_of_turn),
            interpreter,
            schedule,
            settings,
            rollouts,
            seed,
            runner,
            on_step,
            on_rollout,
        )
        if watcher is not None:
            steps.before_rollouts = watcher.before_rollouts
        session = Session(
            policy,
            work,
            seed,
            updates=len(schedule) // settings.mini_batch,
            checkpoint_updates=settings.checkpoint_steps * settings.updates_per_step,
            on_update=steps.after_update,
            sharding=settings.sharding,
            **({} if watcher is None else _best_checkpoint(watcher)),
        )
        try:
            if settings.objective == "carft":
                trainer = reinforce_contrastively(session, steps.roll_out, len(schedule), settings, carft, contrast)
            else:
                trainer = reinforce(session, steps.roll_out, len(schedule), settings)
            made = trainer.state.global_step // settings.updates_per_step
            if watcher is not None:
                weights = TrainerWeights(trainer, policy.codec.tokenizer)
                runner.run(_evaluate_last(watcher, generator, weights, made))
        finally:
            runner.run(generator.close())
            runner.run(policy.close())
    kept = made if watcher is None or settings.keep == "last" else _restore_best(watcher, session, trainer, made)
    if kept:
        save_trained(trainer, policy, lambda: load(LocalSettings(device="cpu")), work / "model")
    elif is_first():  # no weights were better than those that it began with
        LocalReasoner(directory, local=LocalSettings(device="cpu", dtype="float32")).save(work / "model")
    publish(work / "model", policy.prompt, output_dir)
    return RlResult(steps=made, kept=kept, score=None if watcher is None else watcher.scores.get(kept))


def _best_checkpoint(watcher: Watcher) -> dict[str, Any]:
    """Returns what a session has to know so that the checkpoint with the best weights is there in the end."""
    settings = watcher.settings
    if settings.keep == "last":
        return {}

    def best_update() -> int | None:
        return None if watcher.best is None else watcher.best * settings.updates_per_step

    return {"kept_updates": settings.evaluation_steps * settings.updates_per_step, "best_update": best_update}


async def _evaluate_last(watcher: Watcher, generator: Generator, weights: TrainedWeights, made: int) -> None:
    """Evaluates the weights after the last update."""
    if made not in watcher.scores:
        await generator.sync(weights, made + 1)
        await watcher.evaluate(made, generator.reasoner)


def _restore_best(watcher: Watcher, session: Session, trainer: Trainer, made: int) -> int:
    """Puts the best weights back into the model in training; returns their step, 0 for those it began with."""
    best = watcher.best
    if best is None:
        note("no evaluation while training succeeded, so that none is best: the last weights are kept")
        return made
    if 0 < best < made:
        session.restore(trainer, best * watcher.settings.updates_per_step)
    return best


def _identity(
    model: Path,
    prompt: str,
    problems: Sequence[Problem],
    held_out: Sequence[Problem],
    settings: RlSettings,
    rollouts: RolloutSettings,
    seed: int,
) -> dict[str, object]:
    """Returns what a resumed training must have in common with the one that was interrupted."""
    return {
        "settings": [
            settings.model_dump(exclude=set(PACE)),
            rollouts.model_dump(exclude={"concurrency", "workers"}),
            seed,
        ],
        "model": str(model.resolve()),
        "prompt": prompt,
        "problems": [problem.model_dump(mode="json") for problem in problems],
        "held-out problems": [problem.model_dump(mode="json") for problem in held_out],
    }


def _schedule(
    policy: LocalReasoner, problems: Sequence[Problem], settings: RlSettings, seed: int
) -> list[tuple[Problem, Prefix]]:
    """Returns problem and prompt of each row of the training; problems with long prompts are left out."""
    rendered = [(problem, policy.render(problem.question)) for problem in problems]
    usable = [pair for pair in rendered if len(prompt_ids(pair[1])) <= settings.prompt_tokens]
    return [usable[index] for index in step_order(len(usable), settings, seed)]


def step_order(problems: int, settings: RlSettings, seed: int) -> list[int]:
    """Returns which problem each prompt of the training is, `prompts_per_step` to a step.

    Every pass over the problems is shuffled anew; what does not fill a step waits for the next pass, so that no step
    has a problem twice.

    Args:
        problems: How many there are.
        settings: Steps, epochs and prompts per step.
        seed: Of the shuffles.

    Raises:
        InputError: There are fewer problems than a step takes.
    """
    per_step = settings.prompts_per_step
    if problems < per_step:
        raise InputError(
            f"{problems} problems have prompts within prompt_tokens = {settings.prompt_tokens}; a step takes "
            f"prompts_per_step = {per_step}: bring more problems or lower rl.prompts_per_step"
        )
    per_pass = problems // per_step
    steps = settings.steps if settings.steps is not None else settings.epochs * per_pass
    shuffle = random.Random(seed)
    order: list[int] = []
    while len(order) < steps * per_step:
        once = list(range(problems))
        shuffle.shuffle(once)
        order += once[: per_pass * per_step]
    return order[: steps * per_step]


def _check(settings: RlSettings, carft: CarftSettings, problems: Sequence[Problem]) -> None:
    if settings.objective not in TRAINED_OBJECTIVES or settings.engine != "trl":
        raise InputError(
            f"rl.objective is '{settings.objective}' on engine '{settings.engine}'; this trainer knows "
            f"{', '.join(TRAINED_OBJECTIVES)} on engine 'trl': choose one of them"
        )
    if settings.objective == "carft":
        check_contrast(settings, carft, world_size())
    else:
        passes_per_update(settings, world_size())
    check_problems(problems)


def check_problems(problems: Sequence[Problem]) -> None:
    """Refuses problems that cannot be trained on.

    Raises:
        InputError: One has no label to reward against, or two have the same id.
    """
    unlabelled = [problem.id for problem in problems if not is_gradable(problem)]
    if unlabelled:
        raise InputError(
            f"{len(unlabelled)} of {len(problems)} problems have no label to reward against (first: {unlabelled[0]}): "
            "leave them out"
        )
    names = [problem.id for problem in problems]
    if len({*names}) < len(names):
        raise InputError("two problems have the same id; rollouts are told apart by it: make ids unique")
