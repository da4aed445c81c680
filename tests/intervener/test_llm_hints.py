"""The hints of `hint_cases` as a chat model gives them: over HTTP, through the parser, into a trajectory."""

from __future__ import annotations

import asyncio
import re

from calmstorm.intervener.llm import LlmIntervener
from calmstorm.intervener.protocol import Reviewed
from calmstorm.records import Author, Problem, ReviewOutcome, Trajectory, Trigger
from calmstorm.settings import IntervenerSettings
from tests.intervener.chat_server import ChatServer
from tests.intervener.hint_cases import CLEAN, LEAKS, PAPER_HINTS
from tests.intervener.workshop_case import trajectory_of

TARGET = "So the answer is clear."


def attempt(problem: Problem, printed: str = "") -> Trajectory:
    pieces: list[str | tuple[Author, str]] = ["I model it.\n"]
    if printed:
        pieces += ["```python\nsolve()\n```\n", (Author.INTERPRETER, f"```output\n{printed}```\n")]
    return trajectory_of(problem, *pieces, f"{TARGET}\n\\boxed{{7777}}")


def reviews(cases: list[tuple[Problem, str, Trigger, str]]) -> list[Reviewed]:
    """Reviews one attempt at each problem; the model gives the hint of the case that the question is numbered by."""

    def answer(request: dict) -> str:
        index = int(re.findall(r"\(case (\d+)\)", request["messages"][0]["content"])[-1])
        _, _, trigger, words = cases[index]
        return (
            f"<action>REPLACE_AND_CONTINUE</action>\n<trigger_type>Trigger {int(trigger)}</trigger_type>\n"
            f"<analysis>It is.</analysis>\n<target_text>{TARGET}</target_text>\n"
            f"<hint_to_insert>{words}</hint_to_insert>"
        )

    async def work(url: str) -> list[Reviewed]:
        intervener = LlmIntervener(IntervenerSettings(model="m", attempts=1), url)
        numbered = [
            (p.model_copy(update={"question": f"{p.question}\n(case {i})"}), text)
            for i, (p, text, _, _) in enumerate(cases)
        ]
        try:
            return await asyncio.gather(*(intervener.review(p, attempt(p, text)) for p, text in numbered))
        finally:
            await intervener.close()

    with ChatServer(answer) as server:
        return asyncio.run(work(server.url))


def test_the_papers_own_hints_are_accepted():
    made = reviews(PAPER_HINTS)
    assert [(m.outcome, m.reason) for m in made] == [(ReviewOutcome.FLAWED, "")] * len(PAPER_HINTS)
    hints = [m.intervention.hint for m in made if m.intervention]
    opening = [hint for hint in hints if hint.endswith("\n\n```python\n")]
    assert len(opening) == 2  # trigger 1, and the code-assisted alternative for trigger 4
    assert all(
        words.removesuffix("\n\n```python") in hint for hint, (*_, words) in zip(hints, PAPER_HINTS, strict=True)
    )


def test_the_papers_hints_for_trigger_4_are_leaks_before_the_cost_was_printed():
    cases = [(problem, "", trigger, words) for problem, printed, trigger, words in PAPER_HINTS if "392" in words]
    made = reviews(cases)
    assert [m.outcome for m in made] == [ReviewOutcome.FAILED] * 2
    assert all("states the ground truth" in m.reason for m in made)


def test_a_hundred_leaking_hints_are_refused():
    made = reviews([(problem, "", Trigger.FLAWED_MODELING, words) for problem, words in LEAKS])
    assert len(made) == 100
    assert {m.outcome for m in made} == {ReviewOutcome.FAILED}
    assert all("states the ground truth" in m.reason for m in made)


def test_none_of_two_hundred_clean_hints_is_refused():
    made = reviews([(problem, "", Trigger.FLAWED_MODELING, words) for problem, words in CLEAN])
    assert len(made) == 200
    assert [m.reason for m in made if m.outcome is not ReviewOutcome.FLAWED] == []
