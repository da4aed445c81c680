"""Attempts at problems: spans by author, verdicts, stages, and the trajectory that holds them."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self

from pydantic import ConfigDict, Field

from calmstorm.records.base import Record
from calmstorm.records.execution import Execution, Formulation, is_backed

SCHEMA = 2
"""Version of the trajectory record, written into every line of `trajectories.jsonl`."""


class Author(StrEnum):
    """Who wrote a span. The response mask of training is `author == reasoner`."""

    REASONER = "reasoner"
    INTERPRETER = "interpreter"
    INTERVENER = "intervener"


class SpanKind(StrEnum):
    """What a span is, for the eye."""

    TEXT = "text"
    CODE = "code"
    OUTPUT = "output"
    HINT = "hint"


class Span(Record):
    """A run of the response by one author."""

    author: Author
    kind: SpanKind
    text: str
    token_ids: tuple[int, ...] | None = None
    """Ids as the Reasoner saw them; None when the Reasoner gives text only."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each token under the sampling distribution; only spans of the Reasoner have them."""


class StopReason(StrEnum):
    """Why a rollout ended."""

    FINISHED = "finished"
    """The Reasoner ended its turn."""
    LENGTH = "length"
    """The response reached its token limit."""
    EXECUTIONS = "executions"
    """The Reasoner asked for another execution after it was told that none is left."""
    REVIEWED = "reviewed"
    """A review of its last step found a flaw, so that nothing more was written."""
    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed, after retries."""


class VerdictStatus(StrEnum):
    """What grading came to."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    """Nothing could be extracted; counts as wrong."""
    UNGRADED = "ungraded"
    """The problem has no usable label; counts as neither."""
    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed; counts as neither."""

    @property
    def is_judged(self) -> bool:
        """Whether it counts: as right or as wrong."""
        return self not in (VerdictStatus.UNGRADED, VerdictStatus.INFRASTRUCTURE)


class Verdict(Record):
    """The grade of one trajectory against one label."""

    correct: bool
    expected: float | str | None
    got: float | str | None
    """The extracted answer: a number, a status word, or None."""
    tolerance: float
    """Relative tolerance used (paper eq. 3)."""
    status: VerdictStatus
    protocol_ok: bool = True
    """The final box holds one plain number (or status word) and nothing else."""


class Usage(Record):
    """What a rollout cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens of the response, whoever wrote them."""
    seconds: float = 0.0
    cost: float = 0.0
    """US dollars, where a priced server was used."""

    def __add__(self, other: Usage) -> Usage:
        """Returns what two pieces of work took together."""
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            seconds=self.seconds + other.seconds,
            cost=self.cost + other.cost,
        )


class Stage(StrEnum):
    """The part of a run that a trajectory or a model belongs to."""

    BASE = "base"
    CURATION = "curation"
    SFT = "sft"
    RL = "rl"
    PILOT = "pilot"
    """Fine-tuned on non-reflective pairs (paper table 1)."""
    CONTROL_SFT = "control_sft"
    """Fine-tuned on unguided attempts (paper figure 6)."""
    CONTROL_RL = "control_rl"
    SOLVE = "solve"
    """One problem solved for a person."""

    @property
    def is_evaluated(self) -> bool:
        """Whether its trajectories measure a model."""
        return self not in (Stage.CURATION, Stage.SOLVE)


class Requested(NamedTuple):
    """Tokens that one round sent to the Reasoner and got from it, over all its requests."""

    sent: int
    drawn: int


class TrajectoryKey(NamedTuple):
    """What makes a trajectory unique within a run."""

    stage: str
    problem_id: str
    sample: int
    round: int = 0


class Trajectory(Record):
    """One attempt at one problem: the reasoning flow of paper eq. 1, as spans."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    problem_id: str
    sample: int
    round: int = 0
    """Number of interventions made so far on this sample."""
    stage: Stage
    suite: str = ""
    spans: tuple[Span, ...]
    stop_reason: StopReason
    executions: tuple[Execution, ...] = ()
    answer: float | str | None = None
    verdict: Verdict | None = None
    usage: Usage = Usage()

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    @property
    def key(self) -> TrajectoryKey:
        """What makes it unique within a run."""
        return TrajectoryKey(self.stage, self.problem_id, self.sample, self.round)

    @property
    def formulations(self) -> tuple[Formulation, ...]:
        """The models that its scripts handed to solvers, in order."""
        return tuple(formulation for execution in self.executions for formulation in execution.formulations)

    @property
    def is_backed(self) -> bool:
        """Whether what scripts did backs the answer, see `is_backed`; a status word needs no backing."""
        return not isinstance(self.answer, float | int) or is_backed(self.answer, self.executions)

    @property
    def response(self) -> str:
        """The whole response as text, whoever wrote it."""
        return "".join(span.text for span in self.spans)

    @property
    def is_failure(self) -> bool:
        """Whether our machinery failed it: runs of older versions hold such lines, which count as not yet tried."""
        return self.stop_reason is StopReason.INFRASTRUCTURE

    def requested(self) -> Requested:
        """Returns what this round alone asked of the Reasoner; what stands before the last hint was there already.

        The Reasoner is asked anew behind every output, with all that stands before. Tokens are counted where there are
        ids, and else by characters in proportion to `usage`.
        """
        rate = self.usage.completion_tokens / max(1, sum(len(span.text) for span in self.spans))
        sizes = [len(s.text) * rate if s.token_ids is None else len(s.token_ids) for s in self.spans]
        hints = [i for i, span in enumerate(self.spans) if span.author is Author.INTERVENER]
        begun = hints[-1] + 1 if hints and self.round else 0
        before, sent, drawn, asked = self.usage.prompt_tokens + sum(sizes[:begun]), 0.0, 0.0, False
        for span, size in zip(self.spans[begun:], sizes[begun:], strict=True):
            own = span.author is Author.REASONER
            sent += before if own and not asked else 0
            drawn += size if own else 0
            asked = own
            before += size
        return Requested(round(sent), round(drawn))

    def without_logprobs(self) -> Self:
        """Returns it as it is stored: nothing that reads a stored trajectory asks for log-probabilities."""
        if all(span.logprobs is None for span in self.spans):
            return self
        return self.model_copy(
            update={"spans": tuple(span.model_copy(update={"logprobs": None}) for span in self.spans)}
        )

    def to_json(self) -> str:
        """One line for `trajectories.jsonl`."""
        return self.model_dump_json(by_alias=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Reads a line that `to_json` wrote."""
        return cls.model_validate_json(line)
