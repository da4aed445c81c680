"""Runs a training in a process of its own and kills it with SIGKILL after a given step; 0 lets it finish.

python -m tests.training.train_and_die sft|rl|carft MODEL OUTPUT LOG STEP

Under torchrun the processes train together, and all of them are killed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from calmstorm.records import GoldenTrajectory, Problem
from calmstorm.settings import CarftSettings, RlSettings, RolloutSettings, SftSettings
from calmstorm.training.grpo import RlStep, train_grpo
from calmstorm.training.rollouts import RlRollout
from calmstorm.training.sft import SftStep, train_sft
from calmstorm.training.trl import session
from tests.training.tiny_model import EchoInterpreter, coin_problems, golden

SFT = SftSettings(learning_rate=1e-2, batch=4, micro_batch=2, epochs=3, checkpoint_steps=3)
RL = RlSettings(
    steps=6,
    prompts_per_step=4,
    samples=4,
    mini_batch=4,
    micro_batch=4,
    learning_rate=1e-3,
    temperature=0.6,
    response_tokens=100,
    checkpoint_steps=2,
)


# One row more for each problem, and one problem that is not annotated.
CARFT = RL.model_copy(update={"objective": "carft", "micro_batch": 5, "steps": 3, "checkpoint_steps": 1})
CONTRAST = CarftSettings(variant="both", coefficient=0.5)


def annotated_problems() -> dict[str, GoldenTrajectory]:
    """For all problems but one."""
    return {f"q{n}": golden(n).model_copy(update={"question": f"Q{n}"}) for n in range(3)}


def rl_problems() -> list[Problem]:
    """Problems to reinforce on; two of them have an answer that is never given, so that their groups teach nothing."""
    problems = coin_problems(4)
    return [problem.model_copy(update={"answer": 99.0}) if n < 2 else problem for n, problem in enumerate(problems)]


def die(log: Path) -> None:
    """Ends all processes of the training, the own one last."""
    others = [int(path.read_text()) for path in log.parent.glob(f"{log.name}.pid*")]
    for process in sorted(others, key=os.getpid().__eq__) or [os.getpid()]:
        os.kill(process, signal.SIGKILL)


def main(kind: str, model: Path, output: Path, log: Path, last: int) -> None:
    """Appends a line per step or rollout to `log`: `step step loss` or `rollout step problem sample reward tokens`."""

    def write(*parts: object) -> None:
        with log.open("a") as file:
            file.write(" ".join(map(str, parts)) + "\n")

    def step_done(step: SftStep | RlStep) -> None:
        write("step", step.step, f"{step.loss if isinstance(step, SftStep) else step.grad_norm:.6f}")
        if step.step == last:
            die(log)

    def rolled_out(made: RlRollout) -> None:
        tokens = [token for span in made.rollout.spans for token in span.token_ids or ()]
        write("rollout", made.step, made.problem_id, made.sample, made.reward, ",".join(map(str, tokens)))

    if kind == "sft":
        train_sft(model, [golden(n, answer=n) for n in range(10)], output, SFT, on_log=step_done)
    else:
        train_grpo(
            model,
            rl_problems(),
            output,
            CARFT if kind == "carft" else RL,
            EchoInterpreter(),
            rollouts=RolloutSettings(concurrency=1),  # rounding follows from what is decoded together
            carft=CONTRAST,
            annotated=annotated_problems(),
            on_step=step_done,
            on_rollout=rolled_out,
        )


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "RANK" in os.environ:
        Path(f"{sys.argv[4]}.pid{os.environ['RANK']}").write_text(str(os.getpid()))
        session.bf16_pays = lambda: False  # sums in another order differ by rounding: let that be little
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), int(sys.argv[5]))
