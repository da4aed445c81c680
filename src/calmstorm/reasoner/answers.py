"""What a completions server may answer, checked field by field, and what a rollout takes from it.

Servers say in different ways what ended a completion: vLLM in `stop_reason`, SGLang in `matched_stop`, others not at
all. An answer that is no completion raises `AttemptError`, so that it is asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from calmstorm.endpoint import AttemptError
from calmstorm.reasoner.codec import TokenizerCodec
from calmstorm.reasoner.protocol import Completion, CompletionStop


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Logprobs(_Part):
    """Log-probabilities of an answer."""

    token_logprobs: list[FiniteFloat | None] | None = None


class Choice(_Part):
    """One completion; a stream has it in pieces."""

    text: str
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    matched_stop: int | str | None = None
    token_ids: list[int] | None = None
    logprobs: Logprobs | None = None

    @property
    def stopped_by(self) -> int | str | None:
        """The stop string or the id that ended the completion; None where it was neither or the server doesn't say."""
        return self.stop_reason if self.stop_reason is not None else self.matched_stop

    @property
    def says_what_stopped(self) -> bool:
        """Whether the server is one that says what ended a completion."""
        return bool({"stop_reason", "matched_stop"} & self.model_fields_set)


class Tokens(_Part):
    """How many tokens a request took."""

    completion_tokens: Annotated[int, Field(ge=0)] | None = None


class Answer(_Part):
    """The body of an answer."""

    choices: Annotated[list[Choice], Field(min_length=1)]
    usage: Tokens | None = None


class Piece(_Part):
    """A piece of a stream; the last may hold no choice."""

    choices: list[Choice] = []
    usage: Tokens | None = None


def read_answer(body: bytes) -> Answer:
    """Reads the body of an answer.

    Raises:
        AttemptError: It is no completion that has ended.
    """
    try:
        answer = Answer.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise AttemptError(
            f"the answer is no completion: {f'{place}: ' if place else ''}{first['msg'][:200]}"
        ) from None
    finish = answer.choices[0].finish_reason
    if finish not in ("stop", "length"):
        raise AttemptError(f"the completion was not finished: finish_reason is {finish!r}")
    return answer


def completion_of_ids(
    answer: Answer, codec: TokenizerCodec, stop: Sequence[str], max_tokens: int, *, logprobs: bool
) -> Completion:
    """Returns the completion of an answer that has token ids, with its log-probabilities where they are wanted.

    Raises:
        AttemptError: The ids are none of the tokenizer's, too many, or end without a reason.
    """
    choice = answer.choices[0]
    ids = choice.token_ids or []
    if ids and not 0 <= min(ids) <= max(ids) < codec.size:
        raise AttemptError(f"the answer has token ids outside the vocabulary of {codec.size}")
    if len(ids) > max_tokens:
        raise AttemptError(f"the answer has {len(ids)} tokens, more than the {max_tokens} asked for")
    text = codec.decode(ids)
    if choice.finish_reason == "length":
        reason = CompletionStop.LENGTH
    elif isinstance(choice.stopped_by, str) or (not choice.says_what_stopped and any(s in text for s in stop)):
        reason = CompletionStop.STOP_STRING
    else:
        reason = CompletionStop.END_OF_TURN
    if reason is CompletionStop.STOP_STRING and not text:
        raise AttemptError("the answer is empty, and not the end of a turn")
    if reason is CompletionStop.END_OF_TURN and ids and (ids[-1] == choice.stopped_by or ids[-1] in codec.special_ids):
        text = codec.decode(ids[:-1])
    given = _logprobs(choice, len(ids)) if logprobs else None
    return Completion(text=text, token_ids=tuple(ids), logprobs=given, stop=reason)


def _logprobs(choice: Choice, count: int) -> tuple[float, ...] | None:
    values = (choice.logprobs and choice.logprobs.token_logprobs) or []
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) == count else None


def completion_of_text(answer: Answer, stop: Sequence[str]) -> Completion | None:
    """Returns the completion of an answer in text; None when the server doesn't say what ended it.

    Raises:
        AttemptError: It is empty and not the end of a turn.
    """
    choice = answer.choices[0]
    text = choice.text
    if any(s in text for s in stop):
        reason = CompletionStop.STOP_STRING
    elif choice.finish_reason == "length":
        reason = CompletionStop.LENGTH
    elif isinstance(choice.stopped_by, str) and choice.stopped_by:
        text += choice.stopped_by
        reason = CompletionStop.STOP_STRING
    elif choice.says_what_stopped or not stop:
        reason = CompletionStop.END_OF_TURN
    else:
        return None
    tokens = answer.usage.completion_tokens if answer.usage is not None else None
    return Completion(text=text, stop=reason, tokens=tokens)
