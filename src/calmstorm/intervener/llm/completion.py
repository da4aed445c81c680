"""Reads what a chat completions endpoint answered, whatever that is."""

from __future__ import annotations

from dataclasses import dataclass, field

from calmstorm.endpoint import AttemptError
from calmstorm.records import Usage

LONGEST_REPLY = 200_000
"""Characters; a longer reply is not looked at."""


@dataclass(frozen=True)
class Answer:
    """What a model said."""

    text: str
    problem: str = ""
    """Why it says nothing that could be read; empty where it may."""
    usage: Usage = field(default_factory=Usage)
    refused: bool = False
    """The server refuses this very request: asking again is of no use."""


def read_answer(answer: object, seconds: float) -> Answer:
    """Reads a chat completion.

    The client does not check what it receives, so every part may be of any type.

    Args:
        answer: What the client returned.
        seconds: What the request took.

    Raises:
        AttemptError: It is no chat completion; another attempt may give one.
    """
    choices = getattr(answer, "choices", None)
    if not isinstance(choices, list) or not choices:
        raise AttemptError(f"no chat completion: {_shown(answer)} without choices")
    message = getattr(choices[0], "message", None)
    content = getattr(message, "content", None)
    if message is None or not (content is None or isinstance(content, str)):
        raise AttemptError(f"no chat completion: a choice whose content is a {type(content).__name__}")
    text = (content or "").encode("utf-8", "replace").decode()  # half characters could not be written anywhere
    usage = Usage(
        prompt_tokens=_tokens(answer, "prompt_tokens"),
        completion_tokens=_tokens(answer, "completion_tokens"),
        seconds=seconds,
    )
    return Answer(text[:LONGEST_REPLY], _problem(text, getattr(choices[0], "finish_reason", None), message), usage)


def _problem(text: str, finish_reason: object, message: object) -> str:
    if finish_reason == "content_filter":
        return "the provider's content filter stopped it"
    if not text.strip():
        refusal = getattr(message, "refusal", None)
        said = f": {' '.join(refusal.split())[:200]}" if isinstance(refusal, str) and refusal.strip() else ""
        return f"it is empty{said}"
    if finish_reason == "length":
        return "it was cut off at the limit of tokens; be brief"
    if len(text) > LONGEST_REPLY:
        return f"it has {len(text)} characters; at most {LONGEST_REPLY} are read"
    return ""


def _tokens(answer: object, name: str) -> int:
    """Returns a count of tokens; 0 where the server does not give one."""
    count = getattr(getattr(answer, "usage", None), name, None)
    return count if isinstance(count, int) and not isinstance(count, bool) and count > 0 else 0


def _shown(answer: object) -> str:
    text = f" ({' '.join(answer.split())[:60]!r})" if isinstance(answer, str) else ""
    return f"a {type(answer).__name__}{text}"
