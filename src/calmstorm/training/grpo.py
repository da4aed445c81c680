"""Reinforcement learning: GRPO with a binary reward on the package's one rollout loop (paper section 3.3, table 6).

Execution output is masked, there is no KL term by default, and rollouts are drawn from the very weights that are
trained. A killed training goes on from its last complete checkpoint, with the same problems in the same order. Not
covered: more than one process, `carft`, the verl engine.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from calmstorm.errors import InputError
from calmstorm.grading import is_gradable
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Prefix
from calmstorm.reasoner.weights import model_directory
from calmstorm.records import Problem, Record
from calmstorm.rollout import CodeRunner
from calmstorm.rollout.spans import response_ids
from calmstorm.settings import LocalSettings, RlSettings, RolloutSettings
from calmstorm.training.checkpoints import completed_updates, open_work, publish
from calmstorm.training.clock import Activity, RolloutClock
from calmstorm.training.encode import prompt_ids
from calmstorm.training.lora import merge_adapters
from calmstorm.training.policy import load_policy
from calmstorm.training.rollouts import RlRollout, RolloutTask, TokenRecord, roll_out, token_record
from calmstorm.training.trl.grpo import reinforce
from calmstorm.training.trl.session import Logs, Session

TRAINED_OBJECTIVES = ("grpo", "dr_grpo", "dapo")


class RlStep(Record):
    """One rollout step; a line of `rl.jsonl`."""

    step: int
    """From 1."""
    reward: float
    """Mean over the step's graded rollouts."""
    code_blocks: float
    """Executions per rollout."""
    response_tokens: float
    """Tokens per response, execution output included."""
    silent_groups: float
    """Share of problems whose rollouts all earned the same, and so teach nothing."""
    ungraded: int
    """Rollouts that our machinery failed."""
    grad_norm: float
    """Before clipping; mean over the step's updates."""
    seconds: float
    rollout_seconds: float
    """Part of `seconds` that went into rollouts; the rest is loss and optimizer."""
    execute_seconds: float = 0.0
    """Part of `rollout_seconds` in which code was run and nothing was generated."""
    score_seconds: float = 0.0
    """Part of `rollout_seconds` in which answers were graded, and nothing was generated or run."""


def completed_steps(output_dir: Path, settings: RlSettings) -> int:
    """Returns the rollout step a training of `output_dir` would resume after; 0 when it would start anew.

    What was logged for later steps will be made again: drop those lines of `rl.jsonl` and of the rollouts first.
    """
    return completed_updates(output_dir) // _updates_per_step(settings)


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
    seed: int = 1,
    on_step: Callable[[RlStep], None] = lambda step: None,
    on_rollout: Callable[[RlRollout], None] = lambda rollout: None,
) -> None:
    """Reinforces a model on problems with labels and writes it as a plain Hugging Face directory.

    Must not be called from a running event loop: it runs its own.

    Args:
        model: Directory or hub id of the model to start from.
        problems: With labels that can be graded.
        output_dir: Must not exist; appears when training is complete.
        settings: The paper's table 6, or a recipe's.
        interpreter: Runs the code of rollouts.
        rollouts: Bounds of executions, and concurrency; sampling and response length are those of `settings`.
        prompt: Name of the prompt that problems are put in; None means the one that the model asks for.
        local: Device, and memory that rollouts may take.
        seed: Order of the problems, and sampling.
        on_step: Gets every step, after its update.
        on_rollout: Gets every rollout of a step, before its update. After a resume, those of steps after
            `completed_steps(output_dir, settings)` come again.

    Raises:
        InputError: No problem can be trained on, the objective is not one of this trainer's, the output exists, or an
            unfinished training with other arguments is in its place.
    """
    _check(settings, problems)
    directory = model_directory(model)
    policy = load_policy(directory, prompt, settings, seed, local)
    schedule = _schedule(policy, problems, settings, seed)
    work = open_work(output_dir, _identity(directory, policy.prompt, problems, settings, rollouts, seed))
    with asyncio.Runner() as runner:
        steps = _RolloutSteps(policy, interpreter, schedule, settings, rollouts, seed, runner, on_step, on_rollout)
        session = Session(
            policy,
            work,
            seed,
            updates=len(schedule) // settings.mini_batch,
            checkpoint_updates=settings.checkpoint_steps * _updates_per_step(settings),
            on_update=steps.after_update,
        )
        try:
            reinforce(session, steps.roll_out, len(schedule), settings)
        finally:
            runner.run(policy.close())
    merge_adapters(policy.model)
    publish(policy.save(work / "model"), policy.prompt, output_dir)


def _identity(
    model: Path,
    prompt: str,
    problems: Sequence[Problem],
    settings: RlSettings,
    rollouts: RolloutSettings,
    seed: int,
) -> dict[str, object]:
    """Returns what a resumed training must have in common with the one that was interrupted."""
    return {
        "settings": [
            settings.model_dump(exclude={"checkpoint_steps", "micro_batch"}),
            rollouts.model_dump(exclude={"concurrency", "workers"}),
            seed,
        ],
        "model": str(model.resolve()),
        "prompt": prompt,
        "problems": [problem.model_dump(mode="json") for problem in problems],
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


@dataclass
class _RolloutSteps:
    """Makes the rollouts of each step for the trainer, and reports the step after its last update."""

    policy: LocalReasoner
    interpreter: CodeRunner
    schedule: Sequence[tuple[Problem, Prefix]]
    """Problem and prompt of each row of the training."""
    settings: RlSettings
    rollouts: RolloutSettings
    seed: int
    runner: asyncio.Runner
    on_step: Callable[[RlStep], None]
    on_rollout: Callable[[RlRollout], None]
    made: list[RlRollout] = field(default_factory=list)
    """Rollouts of the current step."""
    rollout_seconds: float = 0.0
    clock: RolloutClock = field(default_factory=RolloutClock)
    """Of the current step's rollouts."""
    updates: list[tuple[float, float]] = field(default_factory=list)
    """Gradient norm and seconds of each update of the current step."""

    def roll_out(self, rows: list[int]) -> list[TokenRecord]:
        """Returns a rollout for each row of the schedule; each row comes `samples` times in a row."""
        began = time.monotonic()
        tasks = [
            RolloutTask(
                step=row // self.settings.prompts_per_step + 1,
                problem=self.schedule[row][0],
                sample=place % self.settings.samples,
                prompt=self.schedule[row][1],
            )
            for place, row in enumerate(rows)
        ]
        self.policy.reset_cache()  # the weights have changed since the step before
        self.clock = RolloutClock()
        self.made = self.runner.run(
            roll_out(tasks, self.policy, self.interpreter, self.settings, self.rollouts, self.seed, self.clock)
        )
        for rollout in self.made:
            self.on_rollout(rollout)
        self.rollout_seconds = time.monotonic() - began
        return [token_record(rollout, min(self.policy.end_of_turn)) for rollout in self.made]

    def after_update(self, update: int, logs: Logs, seconds: float) -> None:
        """Counts an optimizer step; after the last one of a rollout step, reports that step."""
        self.updates.append((logs["grad_norm"], seconds))
        per_step = _updates_per_step(self.settings)
        if update % per_step:
            return
        norms, durations = zip(*self.updates, strict=True)
        self.updates.clear()
        made, samples = self.made, self.settings.samples
        rewards = [rollout.reward for rollout in made]
        graded = [reward for reward in rewards if reward is not None]
        groups = [{*rewards[at : at + samples]} - {None} for at in range(0, len(made), samples)]
        self.on_step(
            RlStep(
                step=update // per_step,
                reward=fmean(graded) if graded else 0.0,
                code_blocks=fmean(len(rollout.rollout.executions) for rollout in made),
                response_tokens=fmean(len(response_ids(rollout.rollout.spans)) for rollout in made),
                silent_groups=fmean(len(group) < 2 for group in groups),
                ungraded=len(made) - len(graded),
                grad_norm=fmean(norms),
                seconds=sum(durations),
                rollout_seconds=self.rollout_seconds,
                execute_seconds=self.clock.seconds[Activity.EXECUTE],
                score_seconds=self.clock.seconds[Activity.SCORE],
            )
        )


def _updates_per_step(settings: RlSettings) -> int:
    return settings.prompts_per_step // settings.mini_batch


def _check(settings: RlSettings, problems: Sequence[Problem]) -> None:
    if settings.objective not in TRAINED_OBJECTIVES or settings.engine != "trl":
        raise InputError(
            f"rl.objective is '{settings.objective}' on engine '{settings.engine}'; this trainer knows "
            f"{', '.join(TRAINED_OBJECTIVES)} on engine 'trl': choose one of them"
        )
    unlabelled = [problem.id for problem in problems if not is_gradable(problem)]
    if unlabelled:
        raise InputError(
            f"{len(unlabelled)} of {len(problems)} problems have no label to reward against (first: {unlabelled[0]}): "
            "leave them out"
        )
    names = [problem.id for problem in problems]
    if len({*names}) < len(names):
        raise InputError("two problems have the same id; rollouts are told apart by it: make ids unique")
