from __future__ import annotations

import asyncio
import io
import sys
import threading

import pytest

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.human import HumanIntervener
from calmstorm.printable import printable
from calmstorm.records import Author, Trigger
from tests.intervener.workshop_case import WORKSHOP, trajectory_of

MODEL = "I write the model.\nMaximize profit: 30 * desk + 20 * chair\n"
GUESS = "I can just try some plans by hand.\nSo the best plan gives 300.\n\\boxed{300}"


def ask(answers: str, *pieces, problem=WORKSHOP):
    shown = io.StringIO()
    person = HumanIntervener(io.StringIO(answers), shown)
    done = trajectory_of(problem, *(pieces or (MODEL, GUESS)))
    return asyncio.run(person.review(problem, done)).intervention, shown.getvalue(), done


def test_enter_finds_the_response_flawless():
    review, shown, _ = ask("\n")
    assert review is None
    assert "Maximize the total profit." in shown
    assert "Label 400.0; answered 300.0, wrong" in shown
    assert "3   I can just try some plans by hand." in shown
    assert "suggestion: line 3, trigger 1" in shown


def test_line_trigger_and_hint_make_an_intervention():
    review, _, done = ask("4\n5\nWait, I guessed. I read the limits again.\n")
    assert review is not None
    assert (review.trigger, review.intervener) == (Trigger.FLAWED_MODELING, "human")
    assert review.position == done.response.index("So the best plan")
    assert done.response[review.position :].startswith(review.target)
    assert review.hint == "Wait, I guessed. I read the limits again.\n"


def test_enter_takes_the_suggested_trigger_and_hint():
    review, shown, _ = ask("3\n\n\n")
    assert review is not None
    assert review.trigger is Trigger.PREMATURE_SOLVING
    assert review.hint.endswith("\n\n```python\n")
    assert review.hint.split("\n")[0] in shown
    assert "400" not in review.hint


def test_a_hint_with_the_ground_truth_is_asked_for_again():
    review, shown, _ = ask("4\n5\nThe profit is 400.\nI read the limits again.\n")
    assert review is not None
    assert review.hint == "I read the limits again.\n"
    assert "states the ground truth" in shown


def test_nonsense_is_asked_for_again():
    review, shown, _ = ask("0\n99\nx\n\u00b2\n4\n\n8\n7\nI box it.\n")
    assert review is not None
    assert review.trigger is Trigger.PROTOCOL_VIOLATION
    assert "give a line number from 1 to 5" in shown
    assert "'8' is none of: 1 premature natural-language solving" in shown


def test_what_a_program_printed_cannot_be_replaced():
    output = (Author.INTERPRETER, "```output\n300\n```\n")
    review, shown, done = ask("7\n9\n5\nI look again.\n", MODEL + "```python\nprint(300)\n```\n", output, GUESS)
    assert "a program printed" in shown
    assert "7 > 300" in shown
    assert review is not None
    assert done.response[review.position :].startswith("I can just")


def test_a_line_of_code_takes_its_block_along():
    review, _, done = ask("4\n6\n\n", MODEL + "```python\nprint(1)\n```\n", GUESS)
    assert review is not None
    assert done.response[review.position :].startswith("```python\nprint(1)")
    assert "print(1)" in review.target


def test_text_of_a_model_cannot_steer_the_terminal():
    hostile = "\x1b[2Jgone\x1b]0;title\x07 \u202eturned\u200b\x07\r\n\x9b31mred\n"
    _, shown, _ = ask("\n", hostile, GUESS)
    assert not [c for c in shown if c != "\n" and not c.isprintable()]
    assert "gone turned" in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\tb\nc", "a    b\nc"),
        ("\x1b[31;1mred\x1b[0m", "red"),
        ("\x1bMup", "up"),
        ("a\x00\x08b\x7f", "ab"),
        ("\u00e9\u4e2d", "\u00e9\u4e2d"),
    ],
)
def test_printable_keeps_what_can_be_seen(text, expected):
    assert printable(text) == expected


def test_the_end_of_the_input_is_no_verdict():
    for answers in ("", "3\n", "3\n1\n"):
        with pytest.raises(InfrastructureError, match="--resume"):
            ask(answers)


def test_without_a_terminal_it_refuses(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    with pytest.raises(InputError, match="no terminal"):
        HumanIntervener()


class SlowStream(io.StringIO):
    """A person who thinks: reading waits until somebody else got on with their work."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__("\n" * 4)
        self.gate, self.inside, self.most = gate, 0, 0

    def readline(self, size: int = -1, /) -> str:  # type: ignore[override]  # typeshed has it both ways
        self.inside += 1
        self.most = max(self.most, self.inside)
        assert self.gate.wait(10)
        self.inside -= 1
        return super().readline()


def test_questions_come_one_at_a_time_and_do_not_hold_up_others():
    gate = threading.Event()
    stream = SlowStream(gate)
    person = HumanIntervener(stream, io.StringIO())
    done = trajectory_of(WORKSHOP, MODEL, GUESS)

    async def work():
        reviews = [asyncio.create_task(person.review(WORKSHOP, done)) for _ in range(3)]
        await asyncio.sleep(0.05)  # the loop goes on while a person is thinking
        assert not any(task.done() for task in reviews)
        gate.set()
        return await asyncio.gather(*reviews)

    assert [reviewed.intervention for reviewed in asyncio.run(work())] == [None, None, None]
    assert stream.most == 1
