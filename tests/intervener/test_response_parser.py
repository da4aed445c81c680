from __future__ import annotations

import pytest

from calmstorm.intervener.hint_checks import (
    LONGEST_HINT,
    Unusable,
    complete_hint,
    place,
    require_usable_hint,
)
from calmstorm.intervener.response_parser import locate, parse_review, parse_triggers
from calmstorm.records import Author, Trigger
from tests.intervener.workshop_case import WORKSHOP, trajectory_of

RESPONSE = "I model it.\nx <= 4 and y <= 4.\nNow I   solve\nit by hand.\nSo \\boxed{3}"


def reply(**changes: str) -> str:
    parts = {
        "action": "REPLACE_AND_CONTINUE",
        "trigger_type": "Trigger 1",
        "analysis": "By hand.",
        "target_text": "Now I solve it by hand.",
        "hint_to_insert": "Wait, I should code it.",
    }
    return "".join(f"<{tag}>{text}</{tag}>\n" for tag, text in {**parts, **changes}.items() if text is not None)


def test_a_reply_in_the_papers_tags_is_read():
    replacement = parse_review(reply())
    assert replacement is not None
    assert (replacement.trigger, replacement.analysis) == (Trigger.PREMATURE_SOLVING, "By hand.")
    assert (replacement.target, replacement.hint) == ("Now I solve it by hand.", "Wait, I should code it.")


@pytest.mark.parametrize(
    "text",
    [
        "<action>NO_INTERVENTION</action>",
        "```xml\n<action>\n  NO_INTERVENTION\n</action>\n```",
        "<think><action>REPLACE_AND_CONTINUE</action> hm</think>\nGood.\n<action>no_intervention</action>",
        "<action>REPLACE_AND_CONTINUE</action> hm</think>\n<action>NO_INTERVENTION</action>",
        "<action>NO_INTERVENTION</action><trigger_type>None</trigger_type><analysis>All is well.</analysis>",
        "<action>NO_INTERVENTION</action><target_text></target_text><hint_to_insert></hint_to_insert>",
    ],
)
def test_no_intervention_is_read_through_white_space_fences_and_thoughts(text):
    assert parse_review(text) is None


@pytest.mark.parametrize("named", ["Trigger 3", "[Trigger 3]", " trigger 3: Redundant Manual Verification", "3", "[3]"])
def test_a_trigger_is_read_however_it_is_dressed(named):
    replacement = parse_review(reply(trigger_type=named))
    assert replacement is not None
    assert replacement.trigger is Trigger.REDUNDANT_VERIFICATION


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I think it is fine.", "<action> occurs 0 times"),
        (reply() + reply(), "<action> occurs 2 times"),
        (reply(action="REWRITE"), "the action is REWRITE"),
        (reply(trigger_type="Trigger 8"), "must name Trigger 1 to Trigger 7"),
        (reply(trigger_type="Trigger 0"), "must name Trigger 1 to Trigger 7"),
        (reply(trigger_type="all of them"), "must name Trigger 1 to Trigger 7"),
        (reply(trigger_type="Trigger 1;Trigger 7"), "exactly one trigger"),
        (reply(action="NO_INTERVENTION"), "but there is a trigger_type"),
        ("<action>NO_INTERVENTION</action><target_text>Now I</target_text>", "but there is a target_text"),
        ("<action>NO_INTERVENTION</action> or REPLACE_AND_CONTINUE", "names both"),
        ("<action>NO_INTERVENTION</action><target_text>Now I", "<target_text> occurs 0 times"),
        ("<think>Perhaps <action>NO_INTERVENTION</action>?", "ends within its thinking"),
        ("Perhaps <action>NO_INTERVENTION</action>?</think> I am not sure.", "tags of thinking"),
        ("<analysis>Not <action>NO_INTERVENTION</action>.</analysis>", "stands within another tag"),
        ("<action>" * 21 + "NO_INTERVENTION</action>", "over and over"),
        (reply().replace("</hint_to_insert>", ""), "<hint_to_insert> occurs 0 times"),
    ],
)
def test_a_reply_that_breaks_the_format_is_refused_with_the_reason(text, reason):
    with pytest.raises(Unusable, match=reason):
        parse_review(text)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Correct", []),
        (" [correct]. ", []),
        ("Trigger 7", [7]),
        ("Trigger 1;Trigger 7", [1, 7]),
        ("Trigger 5; Trigger 5", [5]),
        ("1;7", [1, 7]),
    ],
)
def test_an_annotators_triggers_are_read(said, expected):
    assert [int(t) for t in parse_triggers(f"Because of this.\n<trigger_type>{said}</trigger_type>")] == expected


@pytest.mark.parametrize("said", ["Trigger 1;Trigger 2;Trigger 3", "Trigger 9", "none", "", "1;x"])
def test_an_annotators_other_words_are_refused(said):
    with pytest.raises(Unusable):
        parse_triggers(f"<trigger_type>{said}</trigger_type>")


# ------------------------------------------------------------------ where the target is


@pytest.mark.parametrize(
    "target",
    [
        "Now I   solve\nit by hand.",
        "\n  Now I solve it by hand.  \n",
        "```text\nNow I solve it by hand.\n```",
        "I   solve\nit",
    ],
)
def test_a_target_is_found_verbatim_or_with_other_white_space(target):
    start, end = locate(target, RESPONSE)
    assert "solve\nit" in RESPONSE[start:end]


def test_a_target_with_escaped_signs_is_found():
    assert RESPONSE[slice(*locate("x &lt;= 4 and y", RESPONSE))] == "x <= 4 and y"


@pytest.mark.parametrize(
    ("target", "reason"),
    [("<= 4", "occurs 2 times"), ("", "is empty"), (" \n", "is empty"), ("solve it by code", "does not occur")],
)
def test_a_target_that_is_not_there_once_is_refused(target, reason):
    with pytest.raises(Unusable, match=reason):
        locate(target, RESPONSE)


# ------------------------------------------------------------------ where the hint goes


DONE = trajectory_of(
    WORKSHOP,
    "I model it.\n```python\nprint(1)\nprint(2)\n```\n",
    (Author.INTERPRETER, "```output\n1\n2\n```\n"),
    (Author.INTERVENER, "Let me see.\n\n```python\n"),
    "print(3)\n```\n",
    (Author.INTERPRETER, "```output\n3\n```\n"),
    "So it is.\n```output\nmade up\n```\n\\boxed{3}",
)


@pytest.mark.parametrize(
    ("passage", "cut"),
    [
        ("I model", "I model"),
        ("print(2)", "```python\nprint(1)"),
        ("print(3)", "```python\nprint(3)"),
        ("So it", "So it"),
        ("made up", "```output\nmade up"),
    ],
)
def test_a_hint_replaces_the_whole_block_that_the_passage_is_in(passage, cut):
    position = place(DONE, DONE.response.index(passage))
    assert DONE.response[position:].startswith(cut)


@pytest.mark.parametrize(("passage", "reason"), [("2\n```\n", "a program printed"), ("Let me see", "earlier hint")])
def test_a_hint_does_not_replace_what_others_wrote(passage, reason):
    start = DONE.response.index(passage, DONE.response.index("```output") if passage[0] == "2" else 0)
    with pytest.raises(Unusable, match=reason):
        place(DONE, start)


# ------------------------------------------------------------------ what a hint says


@pytest.mark.parametrize(
    "words",
    [
        "I should code this.",
        "I should code this.\n\n```python",
        "I should code this. \\n\\n```python\\n",
        "I should code this.\n```py\n",
    ],
)
@pytest.mark.parametrize("trigger", [Trigger.PREMATURE_SOLVING, Trigger.FRAGMENTED_CODING])
def test_a_hint_for_code_ends_by_opening_one_block(words, trigger):
    assert complete_hint(words, trigger, "before\n") == "I should code this.\n\n```python\n"


def test_a_hint_stands_on_a_line_of_its_own():
    assert complete_hint(" Wait. ", Trigger.PROTOCOL_VIOLATION, "so") == "\nWait.\n"
    assert complete_hint("Wait.", Trigger.PROTOCOL_VIOLATION, "") == "Wait.\n"


def test_another_hint_may_open_a_block_too():
    assert complete_hint("I check.\n```python", Trigger.NO_SANITY_CHECK, "") == "I check.\n\n```python\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("```python", "is empty"),
        ("x" * (LONGEST_HINT + 1), "at most"),
        ("I run\n```python\nprint(1)\n```\nnow.", "holds a code block"),
        ("I write \\boxed{7}.", "fills in the box"),
        ("I write \\boxed{ 7", "fills in the box"),
        ("I stop.<|im_end|>", "control token"),
        ("I stop.\x00", "control character"),
        ("I stop.\ud800", "control character"),
        ("That is it.</think>", "think tag"),
        ("The profit should be 400.", "ground truth"),
        ("It must be $400.00, so I check.", "ground truth"),
        ("It is -400 with the sign turned.", "ground truth"),
    ],
)
def test_a_hint_that_says_too_much_is_refused(words, reason):
    with pytest.raises(Unusable, match=reason):
        require_usable_hint(words, WORKSHOP, DONE, 0)


@pytest.mark.parametrize(
    "words", ["The answer goes into \\boxed{} alone.", "Labor is limited to 40, as the text says.", "x400 is a name."]
)
def test_a_hint_that_names_other_things_is_usable(words):
    with pytest.raises(Unusable, match="ground truth"):
        require_usable_hint(f"{words} It is 400.", WORKSHOP, DONE, 0)
    require_usable_hint(words, WORKSHOP, DONE, 0)  # the same words without the answer raise nothing
