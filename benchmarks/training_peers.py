"""How others make the rollouts of a step, for `benchmarks/training.py`: in lock step, with code between turns.

All rollouts write a turn together by `generate` of transformers, as TRL calls it; when the last of them has closed its
code block or ended, the code is run; then those that have more to say write the next turn. Prompts, stop strings,
limits, output blocks and grading are those of the package's one loop, which calls what stands here as its Reasoner and
its runner; a turn ends for a row as soon as the row has closed a block, and the batch ends with its last row.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessor, StoppingCriteria

from calmstorm.interpreter import Interpreter
from calmstorm.interpreter.limits import Limits
from calmstorm.reasoner.engine.stops import StopStrings
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling, TokenCodec
from calmstorm.records import Execution, ExecutionStatus
from calmstorm.rollout import CodeRunner, rollout
from calmstorm.settings import RlSettings, RolloutSettings
from calmstorm.training.clock import Activity, RolloutClock, TimedRunner
from calmstorm.training.rollouts import RlRollout, RolloutTask, graded


@dataclass
class Turn:
    """What one row is to write."""

    prefix: tuple[int, ...]
    stops: StopStrings
    most: int
    written: asyncio.Future[Completion]


class RowsStop(StoppingCriteria):
    """Ends a row at its stop string or at its own limit."""

    def __init__(self, turns: Sequence[Turn], width: int) -> None:
        self.turns = turns
        self.width = width
        """Of the padded prefixes."""
        self.ended = torch.zeros(len(turns), dtype=torch.bool)
        self.lengths = [0] * len(turns)
        """Tokens of the rows that have ended."""
        self.reasons = [CompletionStop.END_OF_TURN] * len(turns)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ANN401
        """Returns which rows have ended; of rows that ended by end of turn, `generate` itself knows."""
        written = input_ids.shape[1] - self.width
        for row, token in enumerate(input_ids[:, -1].tolist()):
            if self.ended[row]:
                continue
            turn = self.turns[row]
            tail = input_ids[row, max(self.width, input_ids.shape[1] - turn.stops.window) :]
            if turn.stops.may_complete(token) and turn.stops.occur_in(tail.tolist()):
                self.reasons[row] = CompletionStop.STOP_STRING
            elif written >= turn.most:
                self.reasons[row] = CompletionStop.LENGTH
            else:
                continue
            self.ended[row], self.lengths[row] = True, written
        return self.ended.clone()


class Logprobs(LogitsProcessor):
    """Keeps the log-probability of each drawn token: the last processor sees the distribution that is drawn from."""

    def __init__(self) -> None:
        self.drawn: list[torch.Tensor] = []
        self._last: torch.Tensor | None = None

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Looks up the tokens drawn last and keeps the new distribution."""
        self.keep(input_ids)
        self._last = torch.log_softmax(scores.float(), dim=-1)
        return scores

    def keep(self, input_ids: torch.Tensor) -> None:
        """Looks up the tokens drawn last."""
        if self._last is not None:
            self.drawn.append(self._last.gather(1, input_ids[:, -1:]).squeeze(1))


@contextmanager
def _without_autocast(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Takes off the autocast that a trainer wraps a model's `forward` in: at one token a row it halves the speed."""
    wrapped = vars(model).pop("forward", None)
    try:
        yield
    finally:
        if wrapped is not None:
            model.forward = wrapped


@dataclass
class LockStepReasoner:
    """Waits until every unfinished rollout asks for its next turn, and then writes them all by one `generate`."""

    policy: LocalReasoner
    clock: RolloutClock
    unfinished: int
    """Rollouts that will ask again, or leave."""
    turns: list[Turn] = field(default_factory=list)
    name: str = "lock step"

    @property
    def codec(self) -> TokenCodec | None:
        """The policy's."""
        return self.policy.codec

    def render(self, question: str) -> Prefix:
        """Returns the policy's prompt."""
        return self.policy.render(question)

    async def close(self) -> None:
        """Nothing was opened."""

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Waits for all others, and for the whole batch."""
        assert prefix.token_ids is not None
        future = asyncio.get_running_loop().create_future()
        stops = StopStrings(stop, self.policy.codec.decode)
        self.turns.append(Turn(prefix.token_ids, stops, max_tokens, future))
        self._write_if_complete(sampling)
        completion: Completion = await future
        return completion

    def leave(self, sampling: Sampling) -> None:
        """Says that a rollout has ended."""
        self.unfinished -= 1
        self._write_if_complete(sampling)

    def _write_if_complete(self, sampling: Sampling) -> None:
        if self.turns and len(self.turns) == self.unfinished:
            turns, self.turns = self.turns, []
            with self.clock.during(Activity.GENERATE):
                completions = self._write(turns, sampling)
            for turn, completion in zip(turns, completions, strict=True):
                turn.written.set_result(completion)

    def _write(self, turns: Sequence[Turn], sampling: Sampling) -> list[Completion]:
        model: Any = self.policy.model
        tokenizer = self.policy.codec.tokenizer
        width = max(len(turn.prefix) for turn in turns)
        pad = tokenizer.pad_token_id
        ids = torch.tensor([[pad] * (width - len(turn.prefix)) + list(turn.prefix) for turn in turns])
        seen = torch.tensor([[0] * (width - len(turn.prefix)) + [1] * len(turn.prefix) for turn in turns])
        stop, logprobs = RowsStop(turns, width), Logprobs()
        config = GenerationConfig(
            max_new_tokens=max(turn.most for turn in turns),
            do_sample=True,
            pad_token_id=pad,
            eos_token_id=sorted(self.policy.end_of_turn),
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=0,
            use_cache=True,
            disable_compile=True,
        )
        with torch.no_grad(), _without_autocast(model):
            out = model.generate(
                input_ids=ids,
                attention_mask=seen,
                generation_config=config,
                stopping_criteria=[stop],
                logits_processor=[logprobs],
            )
        logprobs.keep(out)
        drawn = torch.stack(logprobs.drawn, dim=1)
        return [
            self._completion(row, out[row, width:].tolist(), drawn[row].tolist(), stop) for row in range(len(turns))
        ]

    def _completion(self, row: int, ids: list[int], logprobs: list[float], stop: RowsStop) -> Completion:
        length = stop.lengths[row] if stop.ended[row] else len(ids)
        end = next((at for at, token in enumerate(ids[:length]) if token in self.policy.end_of_turn), None)
        reason = stop.reasons[row]
        if end is not None:
            length, reason = end + 1, CompletionStop.END_OF_TURN
        shown = ids[: length - 1] if end is not None else ids[:length]
        return Completion(
            text=self.policy.codec.decode(shown),
            token_ids=tuple(ids[:length]),
            logprobs=tuple(logprobs[:length]),
            stop=reason,
        )


class BlockingRunner:
    """Runs scripts in the warm interpreter, one after the other; nothing else happens meanwhile."""

    def __init__(self, interpreter: Interpreter) -> None:
        """Takes the interpreter, which stays open."""
        self._interpreter = interpreter

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Runs a script; the event loop waits."""
        return self._interpreter.run(code, limits)


class ColdRunner:
    """Starts `python script.py` for each script, in as many processes at once as the interpreter has workers."""

    def __init__(self, workers: int) -> None:
        """Takes the number of processes."""
        self._slots = asyncio.Semaphore(workers)

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Runs a script in a Python of its own, without isolation."""
        limits = limits or Limits()
        source = code.encode() if isinstance(code, str) else code
        async with self._slots:
            started = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="calm-cold-") as folder:
                script = Path(folder) / "script.py"
                script.write_bytes(source)
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-W", "ignore::DeprecationWarning", str(script)),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                    cwd=folder,
                )
                try:
                    out, errors = await asyncio.wait_for(process.communicate(), limits.wall_seconds)
                    status = ExecutionStatus.ERROR if process.returncode else ExecutionStatus.OK
                except TimeoutError:
                    process.kill()
                    out, errors = await process.communicate()
                    status = ExecutionStatus.TIMEOUT
            return Execution(
                status=status,
                stdout=out.decode(errors="replace"),
                stderr=errors.decode(errors="replace"),
                wall_seconds=time.monotonic() - started,
                tier="unsafe",
            )


async def roll_out_in_lock_step(
    tasks: Sequence[RolloutTask],
    policy: LocalReasoner,
    runner: CodeRunner,
    settings: RlSettings,
    rollouts: RolloutSettings,
    clock: RolloutClock,
) -> list[RlRollout]:
    """Makes and grades all rollouts of a step together; in the order of `tasks`."""
    limits = rollouts.model_copy(update={"response_tokens": settings.response_tokens})
    sampling = Sampling(temperature=settings.temperature, top_p=settings.top_p)
    reasoner = LockStepReasoner(policy, clock, len(tasks))
    timed = TimedRunner(runner, clock)

    async def make(task: RolloutTask) -> RlRollout:
        made = await rollout(reasoner, timed, task.prompt, limits=limits, sampling=sampling)
        reasoner.leave(sampling)
        with clock.during(Activity.SCORE):
            return graded(task, made)

    return list(await asyncio.gather(*map(make, tasks)))
