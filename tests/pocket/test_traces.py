from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from calmstorm.grading import grade
from calmstorm.interpreter import Interpreter
from calmstorm.intervener.hint_checks import LONGEST_HINT, require_usable_hint
from calmstorm.intervener.hints import OPEN_BLOCK, WORDINGS, Correction, hint
from calmstorm.intervener.leaks import gives_away
from calmstorm.intervener.rules import assess, find_flaws
from calmstorm.pocket.flaws import NO_FLAWS
from calmstorm.pocket.traces import Trace, read_result, write_trace
from calmstorm.problems.generator import FAMILIES, draw
from calmstorm.records import Author, Formulation, LabelStatus, Problem, StopReason
from calmstorm.rollout.fences import unrun_code
from calmstorm.rollout.output_block import output_block
from tests.intervener.workshop_case import trajectory_of


@pytest.fixture(scope="module")
def interpreter() -> Iterator[Interpreter]:
    with Interpreter(workers=1) as running:
        yield running


def written(interpreter: Interpreter, seed: str, family: str, hints: float = 0.0, **rates: float):
    """Returns problem, trace and the models its scripts solved, run as model-written code is."""
    rng = random.Random(seed)
    case, optimum = draw(rng, family, rng.choice((2, 3, 4, 5)))
    formulations: list[Formulation] = []

    def run(script: str) -> str:
        execution = interpreter.run(script)
        formulations.extend(execution.formulations)
        return output_block(execution, 800)

    trace = write_trace(rng, case, optimum, replace(NO_FLAWS, **rates), run, hints=hints)
    problem = Problem(id=seed, question=case.question, answer=optimum, status=LabelStatus.OPTIMAL, reference=case.model)
    return problem, trace, formulations


def masked(trace: Trace) -> str:
    """The trace with the words of hints blanked out."""
    pieces = []
    for author, text in trace.segments:
        head, fence, tail = text.partition("```") if author is Author.INTERVENER else ("", "", text)
        pieces.append("".join(c if c == "\n" else " " for c in head) + fence + tail)
    return "".join(pieces)


def graded(problem: Problem, trace: Trace, formulations: list[Formulation]) -> tuple[bool, set[int]]:
    flaws = find_flaws(problem, masked(trace), formulations=formulations)
    return grade(problem, trace.text).correct, {int(flaw.trigger) for flaw in flaws}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_clean_trace_is_correct_and_flawless(interpreter, family):
    for k in range(3):
        problem, trace, formulations = written(interpreter, f"clean/{family}/{k}", family)
        assert graded(problem, trace, formulations) == (True, set()), trace.text


@pytest.mark.parametrize(
    ("flaw", "trigger"),
    [("by_hand", 1), ("fragments", 2), ("recheck", 3), ("no_reflection", 4), ("no_box", 7)],
)
def test_a_flaw_at_rate_1_is_in_every_trace(interpreter, flaw, trigger):
    for family in FAMILIES:
        problem, trace, formulations = written(interpreter, f"{flaw}/{family}", family, **{flaw: 1.0, "recover": 0.0})
        _, triggers = graded(problem, trace, formulations)
        assert triggers == {trigger}, trace.text


@pytest.mark.parametrize(("flaw", "trigger"), [("modeling", 5), ("coding", 6)])
def test_a_mistake_is_detected_where_it_makes_the_answer_wrong(interpreter, flaw, trigger):
    wrong: Counter[tuple[int, ...]] = Counter()
    for family in FAMILIES:
        for k in range(3):
            problem, trace, formulations = written(
                interpreter, f"{flaw}/{family}/{k}", family, **{flaw: 1.0, "notice": 0.0}
            )
            correct, triggers = graded(problem, trace, formulations)
            if not correct:
                wrong[tuple(triggers)] += 1
    assert wrong.total() >= 10
    assert wrong[(trigger,)] >= 0.95 * wrong.total(), wrong


def test_a_mistake_that_is_noticed_is_corrected(interpreter):
    for family in ("diet", "blending", "fixed_charge"):
        problem, trace, _ = written(interpreter, f"mend/{family}", family, coding=1.0, notice=1.0)
        assert grade(problem, trace.text).correct
        assert trace.text.count("```python") == 2


def test_a_flaw_is_given_up_when_the_recovery_rate_is_1(interpreter):
    for flaw in ("by_hand", "fragments", "recheck"):
        problem, trace, _ = written(interpreter, f"recover/{flaw}", "diet", **{flaw: 1.0, "recover": 1.0})
        assert grade(problem, trace.text).correct


def hinted(interpreter) -> list[tuple[Problem, Trace, list[Formulation]]]:
    return [
        written(interpreter, f"hinted/{family}/{k}", family, hints=0.9, modeling=0.5, coding=0.5, no_box=0.5)
        for family in FAMILIES
        for k in range(3)
    ]


def test_a_hint_says_neither_the_optimum_nor_more_than_a_hint_may(interpreter):
    hints = [
        (p, text)
        for p, trace, _ in hinted(interpreter)
        for author, text in trace.segments
        if author is Author.INTERVENER
    ]
    assert len(hints) > 40
    for problem, text in hints:
        assert not gives_away(text, problem), text
        require_usable_hint(text, problem, trajectory_of(problem, "x"), 0)
        assert text.endswith((OPEN_BLOCK, "\n"))


def test_what_follows_a_hint_is_right(interpreter):
    for family in FAMILIES:
        for k in range(3):
            problem, trace, formulations = written(interpreter, f"followed/{family}/{k}", family, hints=0.9)
            assert graded(problem, trace, formulations) == (True, set()), trace.text


def test_segments_alternate_as_in_a_rollout(interpreter):
    for _, trace, _ in hinted(interpreter)[:12]:
        words = ""
        for author, text in trace.segments:
            if author is Author.INTERPRETER:
                assert unrun_code(words) is not None
                assert text.startswith("```output\n")
                words = ""
            else:
                assert unrun_code(words) is None
                words += text


def test_the_same_seed_writes_the_same_trace(interpreter):
    one, two = (written(interpreter, "same", "fleet", hints=0.5, recheck=0.5)[1] for _ in range(2))
    assert one.segments == two.segments


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("```output\nOptimal 400.0\n[1.0]\n```\n", ("Optimal", 400.0)),
        ("```output\nInfeasible -1e+30\n```\n", ("Infeasible", -1e30)),
        ("```output\nNameError: no\n```\n", ("", None)),
    ],
)
def test_status_and_value_are_read_from_output(block, expected):
    assert read_result(block) == expected


@pytest.mark.parametrize("correction", Correction)
def test_every_wording_of_a_hint_is_short_and_complete(correction):
    names = {"direction": "maximize", "objective": "profit", "domain": "whole numbers", "row": "labor"}
    hints = {hint(random.Random(i), correction, **names) for i in range(200)}
    assert hints == {wording.format(**names) for wording in WORDINGS[correction]}
    assert len(hints) >= 6
    for words in hints:
        assert len(words) <= LONGEST_HINT / 4
        assert words.endswith((".", "?"))
        assert not {"{", "}"} & set(words.replace("\\boxed{}", ""))


PLANTED = {"by_hand": 1, "fragments": 2, "recheck": 3, "no_reflection": 4, "modeling": 5, "coding": 6, "no_box": 7}


def test_what_the_rules_are_sure_of_is_what_was_planted(interpreter):
    sure: Counter[str] = Counter()
    for flaw, trigger in PLANTED.items():
        for family in FAMILIES:
            rates = {flaw: 1.0, "recover": 0.0, "notice": 0.0}
            problem, trace, formulations = written(interpreter, f"sure/{flaw}/{family}", family, **rates)
            if trigger in (5, 6) and grade(problem, trace.text).correct:
                continue  # a mistake that does not show is no flaw
            assessment = assess(problem, masked(trace), formulations=formulations)
            if assessment.sure:
                sure[flaw] += 1
                assert [int(finding.trigger) for finding in assessment.findings][:1] == [trigger], trace.text
    assert sure["modeling"] + sure["coding"] >= 5
    assert sure["no_reflection"] >= 5


def test_nothing_is_found_in_a_clean_trace_while_it_is_being_written(interpreter):
    for family in FAMILIES:
        problem, trace, formulations = written(interpreter, f"clean/{family}/0", family)
        text = masked(trace)
        for number, end in enumerate(re.finditer(r"```output\n.*?```\n", text, re.DOTALL), 1):
            flaws = find_flaws(
                problem, text[: end.end()], formulations=formulations[:number], stop_reason=StopReason.REVIEWED
            )
            assert flaws == [], text
