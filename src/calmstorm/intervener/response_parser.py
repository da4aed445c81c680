"""Parses what a model replies about a response: the tags of an Intervener, and the triggers of an annotator.

The tags are the paper's (appendices I and J). Parsing is strict about what they hold, above all about what is taken for
"no flaw", and lenient about white space, code fences around texts and thinking before the reply.
"""

from __future__ import annotations

import html
import re
from dataclasses import dataclass

from calmstorm.intervener.hint_checks import Unusable
from calmstorm.intervener.protocol import MOST_TRIGGERS
from calmstorm.records import Trigger

ACT, PASS = "REPLACE_AND_CONTINUE", "NO_INTERVENTION"

_TAGS = ("action", "trigger_type", "analysis", "target_text", "hint_to_insert")
_MOST_TAGS = 20
_THOUGHT_TAG = re.compile(r"</?(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THINKING = re.compile(r"\s*<(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_THOUGHT = re.compile(r"</(?:think|thinking|thought|reasoning)>", re.IGNORECASE)
_QUOTING = re.compile(r"<(analysis|target_text|hint_to_insert)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_NOTHING = re.compile(
    r"[\s\[\](){}`\"'*.\-]*(?:none|n/?a|null|nothing|correct|empty)?[\s\[\](){}`\"'*.\-]*", re.IGNORECASE
)
"""What stands in a tag that says nothing."""
_WRAPPED = re.compile(r"\A\s*```[^\n`]*\n(.*?)\n?[ \t]*```\s*\Z", re.DOTALL)
"""A text in a fence of its own, as models put around what they quote; further fences may stand in it."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_TRIGGER = re.compile(r"\btrigger\s*#?\s*(\d+)\b", re.IGNORECASE)
_BARE_TRIGGER = re.compile(r"[\[(]?\s*(\d+)\s*[\])]?")


@dataclass(frozen=True)
class Replacement:
    """What a model wants to replace, as it said it."""

    trigger: Trigger
    analysis: str
    target: str
    """Quoted passage, not yet looked for in the response."""
    hint: str


def parse_review(reply: str) -> Replacement | None:
    """Returns the replacement a reply asks for, or None when it finds no flaw.

    Raises:
        Unusable: The reply does not keep to the format.
    """
    reply = _said(reply)
    action = re.sub(r"[\s\[\]`\"'*]", "", _tag(reply, "action")).upper()
    if action == PASS:
        _require_no_flaw_named(reply)
        return None
    if action != ACT:
        raise Unusable(f"the action is {action[:40] or 'empty'}; it must be {ACT} or {PASS}")
    triggers = _triggers(_tag(reply, "trigger_type"))
    if len(triggers) != 1:
        raise Unusable("trigger_type must name exactly one trigger, the one of the first flaw")
    analysis = " ".join(_tag(reply, "analysis").split()) if _has(reply, "analysis") else ""
    hint = _unfenced(_tag(reply, "hint_to_insert"))
    analysis = _UNPRINTABLE.sub("", analysis)
    return Replacement(triggers[0], analysis[:2000], _tag(reply, "target_text"), hint)


def parse_triggers(reply: str) -> list[Trigger]:
    """Returns the triggers an annotator names, in its order; none for "Correct".

    Raises:
        Unusable: The reply does not keep to the format.
    """
    said = _tag(_said(reply), "trigger_type")
    if re.fullmatch(r"[\s\[\]`\"'*.]*correct[\s\[\]`\"'*.]*", said, re.IGNORECASE):
        return []
    triggers = list(dict.fromkeys(_triggers(said)))
    if len(triggers) > MOST_TRIGGERS:
        raise Unusable(f"trigger_type names {len(triggers)} triggers; name the {MOST_TRIGGERS} that matter most")
    return triggers


def locate(target: str, response: str) -> tuple[int, int]:
    """Returns where a quoted passage stands in a response: (start, end), characters.

    It must stand there exactly once: verbatim, or else with other white space.

    Raises:
        Unusable: It does not, or stands there several times.
    """
    bare = target.strip()
    if not bare:
        raise Unusable("target_text is empty; quote the flawed passage word for word")
    for text in dict.fromkeys((bare, _unfenced(target).strip(), html.unescape(bare))):
        if not text:
            continue
        any_space = r"\s+".join(map(re.escape, text.split()))
        spans = _occurrences(re.escape(text), response) or _occurrences(any_space, response)
        if len(spans) == 1:
            return spans[0]
        if spans:
            raise Unusable(
                f"target_text occurs {len(spans)} times in the response; quote more of it, so that it is unique"
            )
    raise Unusable("target_text does not occur in the response; quote it word for word, without leaving anything out")


def _occurrences(pattern: str, text: str) -> list[tuple[int, int]]:
    return [match.span() for match in re.finditer(pattern, text)]


def _triggers(text: str) -> list[Trigger]:
    numbers = _TRIGGER.findall(text)
    if not numbers:
        bare = [_BARE_TRIGGER.fullmatch(part.strip()) for part in re.split(r"[;,]", text)]
        numbers = [match.group(1) for match in bare if match is not None] if all(bare) else []
    if not numbers or not all(1 <= int(n) <= 7 for n in numbers):
        raise Unusable(f"trigger_type is '{' '.join(text.split())[:60]}'; it must name Trigger 1 to Trigger 7")
    return [Trigger(int(n)) for n in numbers]


def _said(reply: str) -> str:
    """Returns a reply without the thinking before it.

    Raises:
        Unusable: It ends within its thinking, or what belongs to the thinking cannot be told.
    """
    lowered = reply.lower()
    if any(lowered.count(f"<{name}>") > _MOST_TAGS for name in _TAGS):
        raise Unusable("it repeats its tags over and over; reply with each of them once")
    if (opening := _THINKING.match(reply)) is not None:
        ended = _THOUGHT.search(reply, opening.end())
        if ended is None:
            raise Unusable("it ends within its thinking; reply with the tags")
        reply = reply[ended.end() :]
    else:  # some servers swallow the opening tag
        acting = lowered.rfind("<action>")
        ends = [match.end() for match in _THOUGHT.finditer(reply, 0, acting if acting >= 0 else len(reply))]
        reply = reply[ends[-1] :] if ends else reply
    if _THOUGHT_TAG.search(_QUOTING.sub("", reply)):
        raise Unusable("it has tags of thinking behind or around the reply; reply with the tags alone")
    return reply


def _require_no_flaw_named(reply: str) -> None:
    """Checks that a reply which finds no flaw names none either.

    Raises:
        Unusable: It does, so that it may mean the opposite.
    """
    for name in ("trigger_type", "target_text", "hint_to_insert"):
        if _has(reply, name) and not _NOTHING.fullmatch(_tag(reply, name)):
            raise Unusable(f"the action is {PASS}, but there is a {name}: reply with the action alone, or with {ACT}")
    if ACT in reply.upper():
        raise Unusable(f"it names both {PASS} and {ACT}; decide for one")


def _has(reply: str, name: str) -> bool:
    return re.search(rf"</?{name}\b", reply, re.IGNORECASE) is not None


def _tag(reply: str, name: str) -> str:
    """Returns what stands between the tags of a name, which must be there once and within no other tag."""
    opening = [match.span() for match in re.finditer(rf"<{name}>", reply, re.IGNORECASE)]
    closing = [match.span() for match in re.finditer(rf"</{name}>", reply, re.IGNORECASE)]
    if len(opening) != 1 or len(closing) != 1 or closing[0][0] < opening[0][1]:
        count = min(len(opening), len(closing))
        raise Unusable(f"<{name}> occurs {count} times with its closing tag; it must occur exactly once")
    if _opens_a_tag(reply[: opening[0][0]]):
        raise Unusable(f"<{name}> stands within another tag; put the tags one after another")
    return reply[opening[0][1] : closing[0][0]]


def _opens_a_tag(text: str) -> bool:
    """Whether a text ends within one of the tags."""
    lowered = text.lower()
    return any(lowered.count(f"<{name}>") > lowered.count(f"</{name}>") for name in _TAGS)


def _unfenced(text: str) -> str:
    match = _WRAPPED.match(text)
    return match.group(1) if match else text
