"""Reinforcement learning: GRPO with a binary reward on the package's one rollout loop (paper section 3.3, table 6).

Execution output is masked, there is no KL term by default, and the weights that are trained are the ones that speak. A
killed training goes on from its last whole checkpoint, with the same problems in the same order. Not covered: more than
one process, `carft`, the verl engine.
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
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.records import Problem, Record
from calmstorm.rollout import CodeRunner
from calmstorm.settings import RlSettings, RolloutSettings
from calmstorm.training.checkpoints import completed_updates, fingerprint, last_complete, open_work, publish
from calmstorm.training.encode import TokenRecord, prompt_ids
from calmstorm.training.policy import Policy, load_policy
from calmstorm.training.rollouts import Request, RlRollout, roll_out, token_record
from calmstorm.training.trl_seam import Logs, common_arguments, reinforce

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


def completed_steps(output_dir: Path, settings: RlSettings) -> int:
    """Returns the rollout step a training of `output_dir` would resume after; 0 when it would start anew.

    What was logged for later steps will be made again: drop those lines of `rl.jsonl` and of the rollouts first.
    """
    return completed_updates(output_dir) // _updates_per_step(settings)


def train_grpo(
    model_dir: Path,
    problems: Sequence[Problem],
    output_dir: Path,
    settings: RlSettings,
    interpreter: CodeRunner,
    *,
    rollouts: RolloutSettings,
    seed: int = 1,
    on_step: Callable[[RlStep], None] = lambda step: None,
    on_rollout: Callable[[RlRollout], None] = lambda rollout: None,
) -> None:
    """Reinforces a model on problems with labels and writes it as a plain Hugging Face directory.

    Must not be called from a running event loop: it runs its own.

    Args:
        model_dir: the model to start from.
        problems: with labels that can be graded.
        output_dir: must not exist; appears when training is complete.
        settings: the paper's table 6, or a recipe's.
        interpreter: runs the code of rollouts.
        rollouts: bounds of executions, and concurrency; sampling and response length are those of `settings`.
        seed: order of the problems, and sampling.
        on_step: gets every step, after its update.
        on_rollout: gets every rollout of a step, before its update. After a resume, those of steps after
            `completed_steps(output_dir, settings)` come again.

    Raises:
        InputError: no problem can be trained on, the objective is not one of this trainer's, the output exists, or an
            unfinished training with other arguments stands in its place.
    """
    _check(settings, problems)
    policy = load_policy(model_dir)
    prompts = {problem.id: policy.render(problem.question) for problem in problems}
    usable = [problem for problem in problems if len(prompt_ids(prompts[problem.id])) <= settings.prompt_tokens]
    schedule = [usable[index] for index in step_order(len(usable), settings, seed)]
    identity = {
        "settings": fingerprint(
            rl=settings.model_dump(exclude={"checkpoint_steps", "micro_batch"}),
            rollouts=rollouts.model_dump(exclude={"concurrency", "workers"}),
            seed=seed,
        ),
        "model": str(model_dir.resolve()),
        "problems": fingerprint(problems=[problem.model_dump(mode="json") for problem in usable]),
    }
    work = open_work(output_dir, identity)
    limits = rollouts.model_copy(update={"response_tokens": settings.response_tokens})
    with asyncio.Runner() as runner:

        def make(requests: Sequence[Request]) -> list[RlRollout]:
            policy.reasoner.reset_cache()
            return runner.run(
                roll_out(
                    requests,
                    policy.reasoner,
                    interpreter,
                    limits=limits,
                    sampling=Sampling(temperature=settings.temperature, top_p=settings.top_p),
                    concurrency=rollouts.concurrency,
                    seed=seed,
                )
            )

        loop = _Loop(policy, schedule, prompts, settings, make, on_step, on_rollout)
        try:
            loop.run(work, seed)
        finally:
            runner.run(policy.reasoner.close())
    publish(policy.save(work / "model"), model_dir, output_dir)


def step_order(problems: int, settings: RlSettings, seed: int) -> list[int]:
    """Returns which problem each prompt of the training is, `prompts_per_step` to a step.

    Every pass over the problems is shuffled anew; what does not fill a step waits for the next pass, so that no step
    has a problem twice.

    Args:
        problems: how many there are.
        settings: steps, epochs and prompts per step.
        seed: of the shuffles.

    Raises:
        InputError: there are fewer problems than a step takes.
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
class _Loop:
    """Answers the trainer's calls: rollouts for prompts, and numbers after updates."""

    policy: Policy
    schedule: Sequence[Problem]
    prompts: dict[str, Prefix]
    settings: RlSettings
    make: Callable[[Sequence[Request]], list[RlRollout]]
    on_step: Callable[[RlStep], None]
    on_rollout: Callable[[RlRollout], None]
    made: list[RlRollout] = field(default_factory=list)
    """Rollouts of the step under way."""
    rollout_seconds: float = 0.0
    updates: list[tuple[float, float]] = field(default_factory=list)
    """Gradient norm and seconds of each update of the step under way."""

    def run(self, work: Path, seed: int) -> None:
        settings = self.settings
        updates = _updates_per_step(settings)
        steps = len(self.schedule) // settings.prompts_per_step
        reinforce(
            self.policy.model,
            self.policy.tokenizer,
            self.produce,
            rows=len(self.schedule),
            samples=settings.samples,
            prompts_per_step=settings.prompts_per_step,
            mini_batch=settings.mini_batch,
            micro_batch=settings.micro_batch,
            response_tokens=settings.response_tokens,
            arguments=common_arguments(work, seed, steps * updates, settings.checkpoint_steps * updates)
            | {
                "learning_rate": settings.learning_rate,
                "lr_scheduler_type": "constant",
                "max_grad_norm": settings.gradient_norm,
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "beta": settings.kl,
                "epsilon": settings.clip,
                "loss_type": settings.objective,
            },
            on_update=self.after_update,
            resume_from=last_complete(work),
        )

    def produce(self, rows: list[int]) -> list[TokenRecord]:
        began = time.monotonic()
        requests = []
        for place, row in enumerate(rows):
            problem = self.schedule[row]
            requests.append(
                Request(
                    step=row // self.settings.prompts_per_step + 1,
                    problem=problem,
                    sample=place % self.settings.samples,
                    prompt=self.prompts[problem.id],
                )
            )
        self.made = self.make(requests)
        for rollout in self.made:
            self.on_rollout(rollout)
        self.rollout_seconds = time.monotonic() - began
        return [token_record(rollout, min(self.policy.end_of_turn)) for rollout in self.made]

    def after_update(self, update: int, logs: Logs, seconds: float) -> None:
        self.updates.append((logs["grad_norm"], seconds))
        per_step = _updates_per_step(self.settings)
        if update % per_step:
            return
        norms, durations = zip(*self.updates, strict=True)
        self.updates.clear()
        self.on_step(
            RlStep(
                step=update // per_step,
                grad_norm=fmean(norms),
                seconds=sum(durations),
                rollout_seconds=self.rollout_seconds,
                **_measured(self.made, self.settings.samples),
            )
        )


def _measured(made: Sequence[RlRollout], samples: int) -> dict[str, float]:
    """Returns what a step's rollouts came to, by the names of `RlStep`."""
    rewards = [rollout.reward for rollout in made]
    graded = [reward for reward in rewards if reward is not None]
    groups = [{*rewards[at : at + samples]} - {None} for at in range(0, len(made), samples)]
    return {
        "reward": fmean(graded) if graded else 0.0,
        "code_blocks": fmean(len(rollout.rollout.executions) for rollout in made),
        "response_tokens": fmean(sum(len(span.token_ids or ()) for span in rollout.rollout.spans) for rollout in made),
        "silent_groups": fmean(len(group) < 2 for group in groups),
        "ungraded": len(made) - len(graded),
    }


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
