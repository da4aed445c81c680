"""What a hint may say about the answer: the paper's own hints, leaks in ten styles, and clean hints."""

from __future__ import annotations

import pytest

from calmstorm.intervener.leaks import gives_away, printed_before
from calmstorm.records import Author, LabelStatus, Problem
from calmstorm.rollout.output_block import spent_block
from tests.intervener.hint_cases import CLEAN, LEAKS, PAPER_HINTS
from tests.intervener.workshop_case import WORKSHOP, trajectory_of


def labelled(answer: float | None, status: LabelStatus = LabelStatus.OPTIMAL, question: str = "?") -> Problem:
    return Problem(id="g", question=question, answer=answer, status=status)


@pytest.mark.parametrize(("problem", "printed", "trigger", "words"), PAPER_HINTS)
def test_the_papers_own_hints_give_nothing_away(problem, printed, trigger, words):
    assert not gives_away(words, problem, printed)


def test_a_hundred_leaks_in_ten_styles_are_found():
    assert len(LEAKS) == 100
    missed = [(problem.label, words) for problem, words in LEAKS if not gives_away(words, problem)]
    assert missed == []


def test_of_two_hundred_clean_hints_none_is_a_leak():
    assert len(CLEAN) == 200
    refused = [(problem.label, words) for problem, words in CLEAN if gives_away(words, problem)]
    assert refused == []


@pytest.mark.parametrize(
    ("answer", "status", "text", "given_away"),
    [
        (392760.0, LabelStatus.OPTIMAL, "about 392,760 dollars", True),
        (392760.0, LabelStatus.OPTIMAL, "about 392 dollars and 760 cents", False),
        (15.0, LabelStatus.OPTIMAL, "15kg", True),
        (0.0, LabelStatus.OPTIMAL, "it is 0", True),
        (0.0, LabelStatus.OPTIMAL, "I forgot the constraint x >= 0.", False),
        (0.0, LabelStatus.OPTIMAL, "each y is 0 or 1", False),
        (1.0, LabelStatus.OPTIMAL, "I should write one complete script.", False),
        (3.0, LabelStatus.OPTIMAL, "I look at step 3 again.", False),
        (3.0, LabelStatus.OPTIMAL, "three of them suffice", True),
        (3.0, LabelStatus.OPTIMAL, "The answer is three of them.", True),
        (-5.5, LabelStatus.OPTIMAL, "it is -5.5.", True),
        (-5.5, LabelStatus.OPTIMAL, "it is \u22125.5", True),
        (480.0, LabelStatus.OPTIMAL, "the constraint 3x + 2y <= 480 is missing", False),
        (480.0, LabelStatus.OPTIMAL, "profit <= 480", True),
        (60.0, LabelStatus.OPTIMAL, "5 dozen", True),
        (60.0, LabelStatus.OPTIMAL, "There are 60 minutes in an hour.", False),
        (1.0, LabelStatus.OPTIMAL, "Each job goes to one machine, so the sum must equal 1.", False),
        (45.0, LabelStatus.OPTIMAL, "45 should go into the box", True),
        (None, LabelStatus.INFEASIBLE, "Maybe it is infeasible?", True),
        (None, LabelStatus.INFEASIBLE, "I should check whether it is infeasible.", False),
        (None, LabelStatus.INFEASIBLE, "No plan can meet all limits.", True),
        (None, LabelStatus.INFEASIBLE, "Is it feasible at all?", False),
        (None, LabelStatus.UNBOUNDED, "The profit can grow without limit.", True),
        (None, LabelStatus.UNBOUNDED, "I left a variable without its bound.", False),
        (None, LabelStatus.NO_OPTIMUM, "There is no optimum.", True),
        (None, LabelStatus.NO_OPTIMUM, "It looks unbounded.", True),
        (None, LabelStatus.MISSING, "It is 7.", False),
        (None, LabelStatus.INFEASIBLE, "I see that it is infeasible.", True),
        (None, LabelStatus.INFEASIBLE, "I should see if it is infeasible.", False),
        (None, LabelStatus.UNBOUNDED, "The profit grows forever.", True),
        (100.0, LabelStatus.OPTIMAL, "I should use 100 as the big-M and write x <= 100 y.", False),
        (1000.0, LabelStatus.OPTIMAL, "The big-M constant must be at least 1000 here.", False),
        (1000.0, LabelStatus.OPTIMAL, "With the big-M set right, 1000 comes out.", True),
        (1.0, LabelStatus.OPTIMAL, "The binary variable is 1 if the plant opens.", False),
        (1.0, LabelStatus.OPTIMAL, "The binary variables hide that 1 truck suffices.", True),
        (0.0, LabelStatus.OPTIMAL, "I divided by 0 in the code.", False),
        (10.0, LabelStatus.OPTIMAL, "The bound is made up: x must be between 0 and 10.", False),
        (10.0, LabelStatus.OPTIMAL, "The upper bound of 10 is made up; the text has none.", False),
        (10.0, LabelStatus.OPTIMAL, "The profit has an upper bound of 10.", True),
    ],
)
def test_a_text_gives_a_label_away_when_it_names_it_as_such(answer, status, text, given_away):
    assert gives_away(text, labelled(answer, status)) is given_away


def test_a_coarser_tolerance_of_a_label_makes_more_numbers_leaks():
    coarse = labelled(1000.0).model_copy(update={"tolerance": 0.01})
    assert gives_away("around 1005", coarse)
    assert not gives_away("around 1005", labelled(1000.0))


@pytest.mark.parametrize(
    "words",
    [
        "The answer should be 40.",
        "Hold on, the optimal value is actually 40.",
        "So the correct result: 40.",
        "I should box 40.",
        "40 is the answer.",
        "The result is not 38 but 40.",
        "The final answer 38 is too small; it should be 40.",
        "The maximum profit must be $40.",
        "It should come out as 40.",
    ],
)
def test_a_number_of_the_problem_is_a_leak_where_it_is_called_the_answer(words):
    problem = labelled(40.0, question="There are 40 hours of labor.")
    assert gives_away(words, problem)
    assert not gives_away(words, problem, "Objective: 40.0\n")
    assert not gives_away("Labor is limited to 40 hours.", problem)


def test_a_status_may_be_named_once_a_program_printed_it():
    problem = labelled(None, LabelStatus.INFEASIBLE)
    assert gives_away("The solver says that it is infeasible.", problem)
    assert not gives_away("The solver says that it is infeasible.", problem, "Status: Infeasible\n")


def test_printed_is_what_programs_printed_before_the_hint():
    done = trajectory_of(
        WORKSHOP, "a\n", (Author.INTERPRETER, "1\n"), (Author.INTERVENER, "2\n"), "3\n", (Author.INTERPRETER, "4\n")
    )
    assert printed_before(done, done.response.index("3")) == "1\n"
    assert printed_before(done, len(done.response)) == "1\n\n4\n"
    assert printed_before(done, 0) == ""


def test_that_no_run_is_left_was_printed_by_no_program():
    told = trajectory_of(WORKSHOP, "a\n", (Author.INTERPRETER, "1\n"), (Author.INTERPRETER, spent_block(4)), "b\n")
    assert printed_before(told, len(told.response)) == "1\n"
