"""The rollout loop: generate, run the code, append its output, go on (paper eq. 2).

The one loop of the program: curation, reinforcement and evaluation differ only in the Reasoner behind it and in where
they resume. A closed Python block is run as soon as it stands, in a fresh state; what it printed is appended as a span
of the interpreter, tokenised alone. Nothing is ever decoded and tokenised again. What a Reasoner wrote behind a closed
block before it could be stopped is dropped: it is to see the output first. When the runs are spent it is told so once,
in an output block of its own; only if it asks again does the rollout end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.interpreter.limits import Limits
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Reasoner, Sampling, TokenCodec
from calmstorm.records import Author, Execution, ExecutionStatus, Record, Span, SpanKind, StopReason, Usage
from calmstorm.rollout.fences import CLOSINGS, Fence, code_of, first_closed, opened_python, unrun_code
from calmstorm.rollout.output_block import output_block, spent_block
from calmstorm.rollout.spans import make_span, split, through
from calmstorm.settings import RolloutLimits

CHARACTERS_PER_TOKEN = 4
"""Estimate for Reasoners that give text only, where the server does not count tokens either."""


class CodeRunner(Protocol):
    """What the loop needs of an interpreter; `calmstorm.interpreter.Interpreter` is one."""

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        """Runs a script in a fresh state; a failing script is an outcome, not an exception."""
        ...


AfterOutput = Callable[[Sequence[Span], Sequence[Execution]], Awaitable[bool]]
"""Called with the response so far after each execution output; true stops the rollout there."""


class Rollout(Record):
    """A finished rollout, not yet graded."""

    prompt: Prefix
    spans: tuple[Span, ...]
    stop_reason: StopReason
    executions: tuple[Execution, ...]
    usage: Usage
    failure: str = ""
    """What failed, where `stop_reason` is `INFRASTRUCTURE`."""


async def rollout(
    reasoner: Reasoner,
    interpreter: CodeRunner,
    prompt: Prefix,
    *,
    limits: RolloutLimits,
    sampling: Sampling,
    spans: Sequence[Span] = (),
    executions: Sequence[Execution] = (),
    after_output: AfterOutput | None = None,
) -> Rollout:
    """Lets the Reasoner solve one problem, or go on where an earlier round was cut.

    Args:
        reasoner: who writes.
        interpreter: who runs what is written.
        prompt: rendered prompt (`reasoner.render`).
        limits: bounds of the whole response; what `spans` and `executions` used up counts.
        sampling: how to draw.
        spans: response so far; it may end in a hint, which may have opened a Python block.
        executions: outcomes of the blocks in `spans`.
        after_output: looks at the response after each output, and may stop it (`StopReason.REVIEWED`).

    Returns:
        The response with everything in it. A failure of the Reasoner or the interpreter, after retries, is recorded as
        `StopReason.INFRASTRUCTURE`.

    Raises:
        InputError: the prompt has token ids but a span has none.
    """
    loop = _Loop(reasoner, interpreter, prompt, limits, sampling, list(spans), list(executions), after_output)
    started = time.monotonic()
    reason = await loop.run()
    usage = Usage(
        prompt_tokens=_count(prompt.text, prompt.token_ids, reasoner.codec),
        completion_tokens=loop.used,
        seconds=time.monotonic() - started,
    )
    return Rollout(
        prompt=prompt,
        spans=tuple(loop.spans),
        stop_reason=reason,
        executions=tuple(loop.executions),
        usage=usage,
        failure=loop.failure if reason is StopReason.INFRASTRUCTURE else "",
    )


@dataclass
class _Loop:
    """The state of one rollout."""

    reasoner: Reasoner
    interpreter: CodeRunner
    prompt: Prefix
    limits: RolloutLimits
    sampling: Sampling
    spans: list[Span]
    executions: list[Execution]
    after_output: AfterOutput | None = None
    used: int = 0
    """Tokens of the response so far."""
    failure: str = ""
    """What failed last, of our machinery."""
    ids: list[int] | None = field(init=False)
    """Prompt and response as token ids; None where the Reasoner gives text only."""

    def __post_init__(self) -> None:
        self.ids = None if self.prompt.token_ids is None else list(self.prompt.token_ids)
        given, self.spans = self.spans, []
        for span in given:
            self._append(span)

    async def run(self) -> StopReason:
        code = unrun_code(self._tail())
        while self.used < self.limits.response_tokens:
            if code is not None:
                ended = await self._execute(code)
                if ended is not None:
                    return ended
            remaining = self.limits.response_tokens - self.used
            if not remaining:
                break
            try:
                completion = await self.reasoner.generate(
                    self._prefix(), stop=CLOSINGS, max_tokens=remaining, sampling=self.sampling
                )
            except InfrastructureError as error:
                self.failure = str(error)
                return StopReason.INFRASTRUCTURE
            code = self._take(completion)
            if code is not None:
                continue
            if completion.stop is CompletionStop.END_OF_TURN:
                return StopReason.FINISHED
            if completion.stop is CompletionStop.LENGTH:
                return StopReason.LENGTH
            if not completion.text:  # neither written anything nor ended: it would be asked for ever
                self.failure = "the Reasoner wrote nothing and did not end its turn"
                return StopReason.INFRASTRUCTURE
        return StopReason.LENGTH

    async def _execute(self, code: str) -> StopReason | None:
        """Runs a block and appends its output; returns the reason when the rollout ends here."""
        done = sum(execution.status is not ExecutionStatus.INFRASTRUCTURE for execution in self.executions)
        if done >= self.limits.executions:
            # Whoever was told has one output more than scripts were run.
            is_told = sum(span.author is Author.INTERPRETER for span in self.spans) > done
            return StopReason.EXECUTIONS if is_told else await self._show(spent_block(self.limits.executions))
        execution = await self._run_with_retry(code)
        if execution is None:
            return StopReason.INFRASTRUCTURE
        self.executions.append(execution)
        if execution.status is ExecutionStatus.INFRASTRUCTURE:
            return StopReason.INFRASTRUCTURE
        return await self._show(output_block(execution, self.limits.output_characters))

    async def _show(self, block: str) -> StopReason | None:
        """Appends an output block on a line of its own; returns the reason when there is no room for it."""
        lead = "" if self._tail().endswith("\n") else "\n"
        span = make_span(Author.INTERPRETER, SpanKind.OUTPUT, lead + block, self.reasoner.codec)
        if self.used + _count(span.text, span.token_ids, self.reasoner.codec) > self.limits.response_tokens:
            return StopReason.LENGTH
        self._append(span)
        if self.after_output is not None and await self.after_output(tuple(self.spans), tuple(self.executions)):
            return StopReason.REVIEWED
        return None

    async def _run_with_retry(self, code: str) -> Execution | None:
        """Runs a block, once more when our machinery failed; None when it raised twice."""
        limits = Limits(wall_seconds=self.limits.wall_seconds, memory_mb=self.limits.memory_mb)
        execution = None
        for _ in range(2):
            try:
                execution = await self.interpreter.arun(code, limits)
            except InfrastructureError as error:
                self.failure = str(error)
                continue
            if execution.status is not ExecutionStatus.INFRASTRUCTURE:
                break
            self.failure = f"the interpreter failed: {execution.stderr.strip()[:200] or 'its worker died'}"
        return execution

    def _take(self, completion: Completion) -> str | None:
        """Appends what the model wrote, as spans of text and code; returns the script of the block that it closed."""
        if not completion.text and not completion.token_ids:
            return None
        span = Span(
            author=Author.REASONER,
            kind=SpanKind.TEXT,
            text=completion.text,
            token_ids=completion.token_ids,
            logprobs=completion.logprobs,
        )
        before = self._tail()
        written = before + completion.text
        fence = _closed(written, len(before), completion.stop)
        if fence is not None:
            behind = written[fence.end :]
            if behind.strip() or completion.stop is CompletionStop.END_OF_TURN:
                span = through(span, fence.end - len(before), self.reasoner.codec)
        opened = opened_python(written) if fence is None else fence.start
        used = self.used
        if opened is None:
            self._append(span)
        elif opened < len(before):  # an earlier span, such as a hint, opened the block
            self._append(span.model_copy(update={"kind": SpanKind.CODE}))
        else:
            text, code = split(span, opened - len(before), self.reasoner.codec)
            if text is not None:
                self._append(text)
            if code is not None:
                self._append(code.model_copy(update={"kind": SpanKind.CODE}))
        if completion.tokens is not None and completion.token_ids is None:
            self.used = used + math.ceil(completion.tokens * len(span.text) / max(1, len(completion.text)))
        return None if fence is None else code_of(written, fence)

    def _append(self, span: Span) -> None:
        if self.ids is not None:
            if span.token_ids is None:
                raise InputError(
                    f"a span of the {span.author} has no token ids but the prompt has: make it with spans.make_span()"
                )
            self.ids += span.token_ids
        self.used += _count(span.text, span.token_ids, self.reasoner.codec)
        self.spans.append(span)

    def _prefix(self) -> Prefix:
        text = self.prompt.text + "".join(span.text for span in self.spans)
        return Prefix(text=text, token_ids=None if self.ids is None else tuple(self.ids))

    def _tail(self) -> str:
        """The response since the last execution output."""
        tail: list[str] = []
        for span in reversed(self.spans):
            if span.kind is SpanKind.OUTPUT:
                break
            tail.append(span.text)
        return "".join(reversed(tail))


def _closed(text: str, position: int, stop: CompletionStop) -> Fence | None:
    """Returns the first Python block that is closed behind a position; a line that may go on closes none."""
    fence = first_closed(text, position)
    if fence is None or text[: fence.end].endswith("\n") or stop is CompletionStop.END_OF_TURN:
        return fence
    return None


def _count(text: str, token_ids: Sequence[int] | None, codec: TokenCodec | None) -> int:
    """Tokens of a text: counted where there are ids or a codec, else estimated."""
    if token_ids is not None:
        return len(token_ids)
    if codec is not None:
        return len(codec.encode(text))
    return math.ceil(len(text) / CHARACTERS_PER_TOKEN)
