"""What verl writes while it trains, as the records of this package.

verl's file logger appends one line a step, `{"step": n, "data": {name: number}}`, after that step's checkpoint. Its
dump of a step's rollouts has one line for each; keys are `<group>_<session>_<output>`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from calmstorm.errors import WorkError
from calmstorm.training.steps import RlStep


class LoggedStep(NamedTuple):
    """A line of verl's file logger."""

    step: int
    """From 1; 0 for an evaluation before the first."""
    numbers: Mapping[str, float]
    """By verl's names; without what is no finite number."""

    @property
    def is_trained(self) -> bool:
        """Whether it is a step, and not an evaluation alone."""
        return "training/global_step" in self.numbers


class DumpedRollout(NamedTuple):
    """A rollout as verl dumps it."""

    step: int
    problem_id: str
    sample: int
    reward: float | None
    """None where nothing was written that could be graded."""

    def row(self) -> dict[str, object]:
        """Returns a line of `rl_rollouts.jsonl`."""
        return {"step": self.step, "problem_id": self.problem_id, "sample": self.sample, "reward": self.reward}


def parse_steps(lines: Iterable[str]) -> list[LoggedStep]:
    """Returns what whole lines of the file logger say."""
    steps = []
    for line in lines:
        try:
            row = json.loads(line)
            data = {name: float(value) for name, value in row["data"].items() if isinstance(value, int | float)}
            number = int(row["step"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WorkError(f"verl's file logger wrote a line that is no step ({error}): {line[:120]}") from None
        steps.append(LoggedStep(number, {name: value for name, value in data.items() if math.isfinite(value)}))
    return steps


def read_rollouts(folder: Path, step: int) -> list[DumpedRollout]:
    """Returns what verl dumped of a step's rollouts, or of an evaluation, so far, in whole lines."""
    path = folder / f"{step}.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [_rollout(json.loads(line)) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _rollout(row: Mapping[str, Any]) -> DumpedRollout:
    _, session, _ = str(row["uid"]).rsplit("_", 2)
    reward = float(row["score"]) if row["output"] else None  # an empty response stands for a failed rollout
    return DumpedRollout(int(row["step"]), str(row["gts"]), int(session), reward)


def rl_step(logged: LoggedStep) -> RlStep:
    """Returns a step of the run.

    Raises:
        WorkError: The trainer was verl's own and not this package's.
    """
    numbers = logged.numbers
    try:
        return RlStep(
            step=logged.step,
            reward=numbers["calm/reward"],
            code_blocks=numbers["calm/code_blocks"],
            response_tokens=numbers["calm/response_tokens"],
            silent_groups=numbers["calm/silent_groups"],
            ungraded=int(numbers["calm/ungraded"]),
            logprob_difference=numbers["calm/logprob_gap"],
            grad_norm=numbers.get("actor/grad_norm", 0.0),
            seconds=numbers["timing_s/step"],
            rollout_seconds=numbers["timing_s/gen"],
        )
    except KeyError as error:
        raise WorkError(
            f"step {logged.step} of verl has no {error}, so calmstorm's plugin was not loaded: install calmstorm in "
            "verl's environment, on every node"
        ) from None
