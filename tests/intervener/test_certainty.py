"""How sure the rules are: by the kind of evidence, and by what may stand unseen before the first flaw."""

from __future__ import annotations

import asyncio

import pytest

from calmstorm.intervener.rules import RulesIntervener, assess
from calmstorm.records import LabelStatus, Problem, ReviewOutcome, StopReason
from tests.intervener.workshop_case import trajectory_of

QUESTION = "Maximize profit. A desk earns 30 and takes 4 hours; a chair earns 20 and takes 2. There are 40 hours."
PROBLEM = Problem(id="p", question=QUESTION, answer=400.0, status=LabelStatus.OPTIMAL)
MODEL = "Maximize 30 d + 20 c with 4 d + 2 c <= 40.\n"
SCRIPT = (
    "```python\nimport pulp\nm = pulp.LpProblem('w', pulp.LpMaximize)\nm += 30 * d + 20 * c\nm += 4 * d + 2 * c <= 40\n"
    "m.solve()\nprint(v)\n```\n"
)
OUTPUT = "```output\n0.0 20.0 400.0\n```\n"
CHECK = "Chairs earn more per hour than desks, so making chairs alone is plausible.\n"
BOX = "\\boxed{400}"
GOOD = MODEL + SCRIPT + OUTPUT + CHECK + BOX


def said(response: str, problem: Problem = PROBLEM, stop: StopReason = StopReason.FINISHED) -> tuple[list[int], bool]:
    assessment = assess(problem, response, stop_reason=stop)
    return [int(finding.trigger) for finding in assessment.findings], assessment.sure


def test_a_checked_answer_that_a_solve_bears_out_is_flawless_for_sure():
    assert said(GOOD) == ([], True)


@pytest.mark.parametrize(
    ("response", "why"),
    [
        (MODEL + SCRIPT + OUTPUT + "Looks plausible.\n" + BOX, "a nod is hardly a check of the result"),
        (MODEL + SCRIPT + OUTPUT + "The solver status is optimal, so it is valid.\n" + BOX, "a nod is hardly"),
        (MODEL + SCRIPT + "```output\ndone\n```\n" + CHECK + BOX, "no solve that was seen to succeed"),
        (MODEL + "Ten desks give 10 * 30 = 300 then.\n" + SCRIPT + OUTPUT + CHECK + BOX, "a calculation in words"),
        (MODEL + SCRIPT + OUTPUT + "Let me see it again.\n" + SCRIPT + OUTPUT + CHECK + BOX, "a second script"),
    ],
)
def test_what_may_hide_a_flaw_makes_the_rules_abstain_from_flawless(response, why):
    assessment = assess(PROBLEM, response)
    assert assessment.findings == ()
    assert assessment.doubt.startswith(why)


def test_nothing_is_flawless_for_sure_without_a_label():
    unlabelled = PROBLEM.model_copy(update={"answer": None, "status": LabelStatus.MISSING})
    assert said(GOOD, unlabelled) == ([], False)


@pytest.mark.parametrize(
    ("words", "sure"),
    [
        ("I could do this by hand first.\n", False),
        ("By hand: chairs give 10 per hour, 40 hours make 400.\n", True),
    ],
)
def test_trigger_1_is_sure_where_the_words_come_to_the_answer(words, sure):
    assert said(MODEL + words + SCRIPT + OUTPUT + CHECK + BOX) == ([1], sure)


def test_trigger_1_is_sure_where_there_is_no_code_unless_a_wrong_model_may_stand_before_it():
    assert said("Chairs are best, 20 of them. The answer is \\boxed{400}") == ([1], True)
    assert said("Desks are best, 10 of them. The answer is \\boxed{300}") == ([1], True)
    assert said("Maximize 30 d with 4 d <= 40.\nDesks by hand: ten.\nThe answer is \\boxed{300}") == ([1], False)


def test_trigger_2_is_sure_where_a_block_only_prepares_or_fails_for_want_of_another():
    prepares = "```python\nhours = 40\nprint(hours)\n```\n```output\n40\n```\n"
    assert said(MODEL + prepares + SCRIPT + OUTPUT + CHECK + BOX) == ([2], True)
    searches = "```python\nbest = max(20 * c for c in range(21))\nprint(best)\n```\n```output\n400\n```\n"
    assert said(MODEL + searches + SCRIPT + OUTPUT + CHECK + BOX) == ([2], False)
    depends = SCRIPT + "```output\nNameError: name 'd' is not defined\n```\n"
    assert said(MODEL + SCRIPT + OUTPUT + CHECK + depends + BOX)[0] == [2]


@pytest.mark.parametrize(
    ("words", "sure"),
    [
        ("Double-check the total? It respects the hours.\n", False),
        ("Manually: 20 chairs at 20 each, so 400.\n", True),
        ("20 * 20 = 400, as printed.\n", True),
    ],
)
def test_trigger_3_is_sure_where_the_answer_is_computed_again(words, sure):
    assert said(MODEL + SCRIPT + OUTPUT + words + BOX) == ([3], sure)


@pytest.mark.parametrize(
    ("words", "sure"),
    [
        ("", True),
        ("So 20 chairs, 400 in all.\n", False),
        ("The plan makes 20 chairs for 400.\n", True),
        ("The plan makes 20 chairs, which fully occupies the workers.\n", False),
        ("The plan makes 20 chairs, 2 hours of work for each.\n", False),
    ],
)
def test_trigger_4_is_sure_where_the_words_only_repeat_the_output(words, sure):
    assert said(MODEL + SCRIPT + OUTPUT + words + BOX) == ([4], sure)


WRONG = "```output\n0.0 10.0 300.0\n```\n" + CHECK + "\\boxed{300}"


def test_trigger_5_is_sure_where_a_stated_model_leaves_out_data():
    limited = PROBLEM.model_copy(update={"question": QUESTION + " At most 17 chairs sell."})
    assert said(MODEL + SCRIPT + WRONG, limited) == ([5], True)
    assert said(MODEL + SCRIPT + WRONG, PROBLEM) == ([5], False)
    assert said("Here is the code.\n" + SCRIPT + WRONG, limited) == ([5], False)


def test_trigger_6_is_sure_where_the_question_bears_out_the_text():
    turned = SCRIPT.replace("LpMaximize", "LpMinimize")
    assert said(MODEL + turned + WRONG) == ([6], True)
    silent = PROBLEM.model_copy(update={"question": "What profit can be had?"})
    assert said(MODEL + turned + WRONG, silent) == ([6], False)
    foreign = MODEL.replace("<= 40", "<= 44")
    assert said(foreign + SCRIPT + WRONG) == ([6], False)


def test_a_script_that_failed_is_evidence_where_nothing_else_ran():
    failed = SCRIPT + "```output\nTypeError: unsupported operand\n```\n"
    guess = "It must be 300.\n\\boxed{300}"
    assert said(MODEL + failed + guess) == ([6], True)
    assert said(MODEL + SCRIPT + OUTPUT + failed + guess)[1] is False


def test_trigger_7_is_sure_unless_the_answer_is_wrong_for_an_unknown_reason():
    assert said(MODEL + SCRIPT + OUTPUT + CHECK + "\\boxed{400 dollars}") == ([7], True)
    assert said(MODEL + SCRIPT + OUTPUT + CHECK + "The profit is 400.") == ([7], True)
    assert said(MODEL + SCRIPT + WRONG.replace("{300}", "{300 dollars}"))[1] is False
    assert said("") == ([7], True)


def test_a_sure_flaw_behind_a_doubt_is_not_the_first_for_sure():
    again = "Manually: 10 chairs at 30 each, so 300.\n"
    assert said(MODEL + SCRIPT + "```output\n0.0 10.0 300.0\n```\n" + again + "\\boxed{300}") == ([3], False)


def test_a_response_that_was_cut_off_is_not_flawless_for_sure():
    assert said(GOOD, stop=StopReason.LENGTH) == ([], False)


def test_the_intervener_abstains_where_the_rules_do_and_reviews_as_ever():
    rules = RulesIntervener()
    good = trajectory_of(PROBLEM, GOOD)
    sure = rules.sure_review(PROBLEM, good)
    assert sure is not None
    assert sure.outcome is ReviewOutcome.FLAWLESS
    assert sure == asyncio.run(rules.review(PROBLEM, good))
    bare = trajectory_of(PROBLEM, MODEL + SCRIPT + OUTPUT + BOX)
    reviewed = rules.sure_review(PROBLEM, bare)
    assert reviewed is not None
    assert reviewed.outcome is ReviewOutcome.FLAWED
    assert reviewed == asyncio.run(rules.review(PROBLEM, bare))
    nod = trajectory_of(PROBLEM, MODEL + SCRIPT + OUTPUT + "Looks plausible.\n" + BOX)
    assert rules.sure_review(PROBLEM, nod) is None
    assert asyncio.run(rules.review(PROBLEM, nod)).outcome is ReviewOutcome.FLAWLESS
