"""Ten thousand damaged replies: the parser either reads them or says why not, and takes none for "no flaw"."""

from __future__ import annotations

import contextlib
import random
import time

from calmstorm.endpoint import AttemptError
from calmstorm.intervener.hint_checks import Unusable, place, require_usable_hint
from calmstorm.intervener.llm.completion import read_answer
from calmstorm.intervener.response_parser import locate, parse_review, parse_triggers
from tests.intervener.workshop_case import WORKSHOP, trajectory_of

DONE = trajectory_of(
    WORKSHOP, "I model it.\n", "Let me try plans by hand: 3 <= 4.\n", "```python\nx = 1\n```\n", "\\boxed{3}"
)
FLAWED = (
    "<action>REPLACE_AND_CONTINUE</action>\n<trigger_type>Trigger 1</trigger_type>\n<analysis>By hand.</analysis>\n"
    "<target_text>Let me try plans by hand</target_text>\n<hint_to_insert>I should code this.\n\n```python"
    "</hint_to_insert>"
)
FLAWLESS = "<action>NO_INTERVENTION</action>"
SCRAPS = ["<action>", "</action>", "<target_text>", "</hint_to_insert>", "<trigger_type>Trigger 9</trigger_type>",
          "<think>", "</think>", "\x00", "\ud800", "\u202e", "```", "\\boxed{400}", "&lt;", "NO", "_", " ", "\n",
          "REPLACE_AND_CONTINUE", "Trigger 1;Trigger 2", "\U0001f600", "400", "<|im_end|>", "<ACTION>", "]]>",
          "<!--"]  # fmt: skip


def damaged(rng: random.Random, text: str) -> str:
    """Truncates, duplicates, swaps, nests, inflates or changes the case of parts of a reply."""
    for _ in range(rng.randint(1, 4)):
        i, j = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        match rng.randrange(9):
            case 0:
                text = text[:i]
            case 1:
                text = text[i:]
            case 2:
                text = text[:i] + text[j:]
            case 3:
                text = text[:j] + text[i:]
            case 4:
                text = text[:i] + rng.choice(SCRAPS) + text[i:]
            case 5:
                text = text[:i] + text[i:j].swapcase() + text[j:]
            case 6:
                text = text[:i] + FLAWED + text[i:]
            case 7:
                text = f"<{rng.choice(['analysis', 'think', 'hint_to_insert'])}>{text}</analysis>"
            case _:
                text = text[:i] + rng.choice(SCRAPS) * rng.choice([2, 50]) + text[j:]
    return text


def test_ten_thousand_damaged_corrections_crash_nothing_and_none_becomes_flawless():
    rng = random.Random(9)
    read = 0
    for _ in range(10_000):
        reply = damaged(rng, FLAWED)
        try:
            replacement = parse_review(reply)
            assert replacement is not None, reply
            start, _end = locate(replacement.target, DONE.response)
            require_usable_hint(replacement.hint, WORKSHOP, DONE, place(DONE, start))
            read += 1
        except Unusable:
            pass
    assert read > 100  # some damage does not matter


def test_damaged_reports_of_no_flaw_are_read_only_where_they_say_so_alone():
    rng = random.Random(10)
    for _ in range(2_000):
        reply = damaged(rng, FLAWLESS)
        try:
            if parse_review(reply) is None:
                bare = reply.upper()
                assert "<ACTION>" in bare
                assert "</ACTION>" in bare
                assert "REPLACE_AND_CONTINUE" not in bare.split("</THINK>")[-1], reply
        except Unusable:
            pass


def test_damaged_annotations_crash_nothing_and_name_two_triggers_at_most():
    rng = random.Random(11)
    for _ in range(2_000):
        with contextlib.suppress(Unusable):
            assert len(parse_triggers(damaged(rng, "<trigger_type>Trigger 1;Trigger 7</trigger_type>"))) in (1, 2)


def test_huge_replies_are_read_in_time():
    for piece in ("<action>", "</think>", "<think>", " ", "\\n", "<target_text>", "9", "one ", "a1"):
        started = time.monotonic()
        with contextlib.suppress(Unusable):
            parse_review(piece * (200_000 // len(piece)) + FLAWED)
        for count in (100_000, 780 // len(piece)):
            with contextlib.suppress(Unusable):
                require_usable_hint(piece * count, WORKSHOP, DONE, 0)
        assert time.monotonic() - started < 5


class Odd:
    """Has any attribute, of the wrong type."""

    def __getattr__(self, name: str) -> object:
        return {"choices": [self], "content": "x", "finish_reason": 4, "prompt_tokens": 1e9}.get(name, self)


def test_answers_of_any_shape_are_read_or_refused():
    for odd in (None, 3, "text", [], {}, object(), b"x"):
        try:
            read_answer(odd, 0.1)
            raise AssertionError(odd)
        except AttemptError:
            pass
    assert read_answer(Odd(), 0.1).usage.prompt_tokens == 0
