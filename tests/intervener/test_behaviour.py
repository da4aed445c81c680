from __future__ import annotations

import asyncio

import pytest

from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.rules import RulesIntervener, annotate, find_flaws
from calmstorm.records import Author, LabelStatus, Problem, StopReason, Trigger
from tests.intervener.workshop_case import trajectory_of

PROBLEM = Problem(id="p", question="How much?", answer=400.0, status=LabelStatus.OPTIMAL)
MODEL = "Maximize profit: 30 * desk + 20 * chair\n- labor: 4 * desk + 2 * chair <= 40\n"
SCRIPT = "```python\nimport pulp\nm = pulp.LpProblem()\nm.solve()\nprint(400.0)\n```\n"
OUTPUT = "```output\n400.0\n```\n"
CHECK = "The status is optimal and the value is plausible.\n"
BOX = "\\boxed{400}"


def triggers(response: str, problem: Problem = PROBLEM, **named) -> list[int]:
    return [int(f.trigger) for f in find_flaws(problem, response, **named)]


def test_a_complete_response_is_flawless():
    assert triggers(MODEL + SCRIPT + OUTPUT + CHECK + BOX) == []


# ------------------------------------------------------------------ trigger 1


@pytest.mark.parametrize(
    "line",
    [
        "There are only 5 combinations, so I can just try them all first without writing python code.",
        "Let me enumerate the corner points of the region.",
        "I'll guess that desks are better.",
        "A greedy choice by profit per hour should do.",
        "Solving by inspection, chairs win.",
        "I will estimate the optimum manually.",
        "I'll guess some plan and improve it.",
        "Let me try x = 3 and see.",
        "Let's try different combinations of the two.",
        "The optimum is at one of the vertices of the feasible region.",
        "Option one: 4 + 3 + 9 + 7 = 23.\nOption two: 4 + 2 + 9 + 5 = 20.\nOption three: 1 + 3 + 8 + 7 = 19.",
        "10 x 30 = 300, that is one.\nAnd 5 \\times 20 = 100.\nAlso 3*(20) = 60 is possible.",
    ],
)
def test_trigger_1_when_the_model_is_solved_in_words_before_code(line):
    findings = find_flaws(PROBLEM, MODEL + line + "\n" + SCRIPT + OUTPUT + CHECK + BOX)
    assert [finding.trigger for finding in findings] == [Trigger.PREMATURE_SOLVING]
    assert findings[0].start == len(MODEL)


@pytest.mark.parametrize(
    "line",
    [
        "I will not do this by hand.",
        "Instead of trying plans by hand, I write code.",
        "Guessing a plan is error-prone, so code it is.",
        "There is no need for manual trials.",
        "Let me try to write the model down.",
        "Let me try a solver for this.",
        "I'll try different solvers if this one fails.",
        "I guess that the question means whole units.",
        "Let me enumerate the constraints first.",
        "The plant has 40 hours of manual labor.",
        "Each edge joins two vertices.",
        "2x1 + 3x2 <= 40\n4x1 + 5x2 <= 60\nx1 + 2x2 = 70\n3x1 + 3x2 >= 5",
        "3*x1 + 2*x2 = 7\n4*x1 + 1*x2 = 9\n5*x1 + 9*x2 = 3",
        "- protein: 12 * rice + 20 * oats >= 20*50\n- fat: 2 * rice >= 3*50\n- fiber: 4 * oats >= 1*50",
        "The total demand is 30 + 40 = 70 units.",
    ],
)
def test_no_trigger_1_when_a_sentence_turns_away_or_only_models(line):
    assert triggers(MODEL + line + "\n" + SCRIPT + OUTPUT + CHECK + BOX) == []


def test_trigger_1_when_there_is_no_code_at_all():
    findings = find_flaws(PROBLEM, "Desks give 30 each.\nThe best plan makes 20 chairs.\nThe answer is \\boxed{400}.")
    assert [int(finding.trigger) for finding in findings] == [1]
    assert "The answer is" in "Desks give 30 each.\nThe best plan makes 20 chairs.\nThe answer is"[findings[0].start :]


def test_trigger_1_when_code_failed_and_the_hand_takes_over():
    failed = "```output\nTypeError: no (line 3)\n```\n"
    assert triggers(MODEL + SCRIPT + failed + "Then I solve it by hand.\n" + BOX)[0] == 1


# ------------------------------------------------------------------ trigger 2


def test_trigger_2_when_a_block_needs_what_an_earlier_one_defined():
    first = "```python\nimport pulp\nx = 3\n```\n```output\n(no output)\n```\n"
    second = (
        "Next I print the ratio.\n```python\nprint(x / 2)\n```\n```output\nNameError: name 'x' is not defined\n```\n"
    )
    findings = find_flaws(PROBLEM, MODEL + first + second + SCRIPT + OUTPUT + CHECK + BOX)
    assert [int(finding.trigger) for finding in findings] == [2]
    assert findings[0].start == len(MODEL)


def test_trigger_2_when_a_later_block_builds_on_a_solved_one():
    ratio = "```python\nprint(h / r)\n```\n```output\nNameError: name 'h' is not defined\n```\n"
    assert triggers(MODEL + SCRIPT + OUTPUT + "I compute the ratio.\n" + ratio + CHECK + BOX) == [2]


def test_no_trigger_2_when_a_second_complete_script_corrects_the_first():
    assert (
        triggers(MODEL + SCRIPT + OUTPUT + "The bound was wrong, I correct it.\n" + SCRIPT + OUTPUT + CHECK + BOX) == []
    )


def test_the_lead_sentence_goes_with_the_fragment():
    lead = "I start with a small piece of code."
    fragment = f"{lead}\n```python\nimport pulp\n```\n```output\n(no output)\n```\n"
    findings = find_flaws(PROBLEM, MODEL + fragment + SCRIPT + OUTPUT + CHECK + BOX)
    assert findings[0].trigger is Trigger.FRAGMENTED_CODING
    assert findings[0].start == len(MODEL)


# ------------------------------------------------------------------ trigger 3


@pytest.mark.parametrize(
    "line",
    [
        "But wait, let me redo the sum by hand.",
        "Let me double-check the arithmetic to be sure.",
        "I want to recompute the objective: the profit again.",
        "Let me verify the total manually.",
        "Chairs bring 20*20 = 400.\nDesks bring 0*30 = 0.",
    ],
)
def test_trigger_3_when_the_result_is_computed_again(line):
    assert triggers(MODEL + SCRIPT + OUTPUT + line + "\n" + CHECK + BOX) == [3]


@pytest.mark.parametrize(
    "line",
    [
        "There is no need to recompute this by hand.",
        "Recalculating manually adds nothing.",
        "The code has the wrong sense, so I redo the script.",
        "I verify the total with the solver once more.",
        "Labor: 4*0 + 2*20 = 40 <= 40, fine.\nDesks: 0*1 + 0*2 = 0 is within the limit.",
        "That is plausible: 20 chairs take 2*20 = 40 hours, all that there are.",
    ],
)
def test_no_trigger_3_when_a_sentence_turns_away_or_only_checks(line):
    assert triggers(MODEL + SCRIPT + OUTPUT + line + "\n" + CHECK + BOX) == []


# ------------------------------------------------------------------ trigger 4


@pytest.mark.parametrize(
    "tail",
    [
        "The maximum profit is ",
        "</think>\n\nThis combination gives a total of 400.\n",
        "The expected profit is ",
        "The solver printed 400.\nThe answer is ",
    ],
)
def test_trigger_4_when_the_output_leads_straight_to_the_answer(tail):
    findings = find_flaws(PROBLEM, MODEL + SCRIPT + OUTPUT + tail + BOX)
    assert [int(finding.trigger) for finding in findings] == [4]
    assert findings[0].start == len(MODEL + SCRIPT + OUTPUT)


@pytest.mark.parametrize(
    "reflection",
    [
        "The value stays under the limit, as expected.",
        "All limits are respected, so this makes sense.",
        "A quick sanity check: 20 chairs at 20 each.",
        "400 is in the expected range.",
        "This solution is feasible and realistic.",
    ],
)
def test_no_trigger_4_when_there_is_a_word_on_plausibility(reflection):
    assert triggers(MODEL + SCRIPT + OUTPUT + reflection + "\n" + BOX) == []


def test_no_trigger_4_when_the_answer_is_wrong():
    assert 4 not in triggers(MODEL + SCRIPT + "```output\n300.0\n```\nSo \\boxed{300}")


def test_a_reflecting_hint_is_not_the_reasoners_reflection():
    hint = (Author.INTERVENER, "Before I finalize, let me check that this is plausible.\n")
    output = (Author.INTERPRETER, OUTPUT)
    silent = trajectory_of(PROBLEM, MODEL + SCRIPT, output, hint, BOX)
    spoken = trajectory_of(PROBLEM, MODEL + SCRIPT, output, hint, CHECK + BOX)
    assert [int(f.trigger) for f in annotate(PROBLEM, silent)] == [4]
    assert annotate(PROBLEM, spoken) == []


def test_a_hint_about_the_hand_is_not_the_reasoners_habit():
    hint = (Author.INTERVENER, "I could guess a plan by hand, so I code.\n\n```python\n")
    done = trajectory_of(
        PROBLEM, MODEL, hint, SCRIPT.removeprefix("```python\n"), (Author.INTERPRETER, OUTPUT), CHECK + BOX
    )
    assert annotate(PROBLEM, done) == []


# ------------------------------------------------------------------ trigger 7


@pytest.mark.parametrize("ending", ["\\boxed{400 dollars in total}", "\\boxed{\\$400}", "\\boxed{Total cost is 400.0}"])
def test_trigger_7_when_the_box_holds_more_than_a_number(ending):
    response = MODEL + SCRIPT + OUTPUT + CHECK + "The answer is " + ending
    findings = find_flaws(PROBLEM, response)
    assert [int(finding.trigger) for finding in findings] == [7]
    assert response[findings[0].start :].startswith("The answer is")


def test_trigger_7_when_there_is_no_box():
    assert 7 in triggers(MODEL + SCRIPT + OUTPUT + CHECK + "The best value is 400.")


def test_no_trigger_7_when_the_response_was_cut_off():
    assert 7 not in triggers(MODEL + SCRIPT + OUTPUT + CHECK, stop_reason=StopReason.LENGTH)


def test_the_contracts_example_shows_only_the_box():
    code = "```python\nprint(15)\n```\n```output\n15\n```\n"
    problem = Problem(id="a", question="How many?", answer=15.0, status=LabelStatus.OPTIMAL)
    response = (
        "I model it.\n" + code + "That is plausible: it stays under the limit of 20.\n"
        "The answer is 15 dollars, \\boxed{15 dollars in total}"
    )
    assert triggers(response, problem) == [7]


# ------------------------------------------------------------------ labels and odd responses


def test_a_label_of_zero_is_a_label():
    problem = Problem(id="z", question="How little?", answer=0.0, status=LabelStatus.OPTIMAL)
    body = MODEL + SCRIPT + "```output\n0.0\n```\n" + CHECK
    assert triggers(body + "\\boxed{0}", problem) == []
    assert triggers(body + "\\boxed{1}", problem) == [5]


def test_a_missing_label_blames_no_model():
    problem = Problem(id="m", question="How much?")
    assert triggers(MODEL + SCRIPT + OUTPUT + CHECK + "\\boxed{7}", problem) == []


def test_an_empty_response_is_no_flawless_one():
    assert triggers("") == [7]
    assert 7 in triggers("   \n")


def test_an_annotation_names_two_triggers_at_most_and_in_order():
    response = (
        MODEL + "I try plans by hand.\n" + SCRIPT + OUTPUT + "I redo it by hand.\nThe answer is \\boxed{400 dollars}"
    )
    assert triggers(response) == [1, 3, 4, 7]
    assert [int(f.trigger) for f in annotate(PROBLEM, trajectory_of(PROBLEM, response))] == [1, 3]


def test_rules_review_opens_a_block_for_the_first_flaw_and_repeats_itself_by_seed():
    response = MODEL + "I try plans by hand.\nPlan one.\n" + BOX
    done = trajectory_of(PROBLEM, response)
    review = asyncio.run(RulesIntervener(3).review(PROBLEM, done)).intervention
    assert review is not None
    assert review.position == len(MODEL)
    assert response[review.position :].startswith(review.target)
    assert review.hint.endswith("\n\n```python\n")
    assert review == asyncio.run(RulesIntervener(3).review(PROBLEM, done)).intervention


def test_rules_review_finds_nothing_in_a_good_response():
    done = trajectory_of(PROBLEM, MODEL + SCRIPT + OUTPUT + CHECK + BOX)
    assert asyncio.run(RulesIntervener().review(PROBLEM, done)) == Reviewed.of(None)


# ------------------------------------------------------------------ other styles


@pytest.mark.parametrize(
    "line",
    [
        "A first thought: 20*20 = 400, which uses all hours.",
        "Three items only, so a program would be overkill.",
        "No solver is required for this.",
        "One: 4 + 3 + 9 = 16. Two: 4 + 2 + 9 = 15. Three: 1 + 3 + 8 = 12.",
        "20 times 20 makes 400.",
    ],
)
def test_trigger_1_in_running_text(line):
    assert triggers(MODEL + line + "\n" + SCRIPT + OUTPUT + CHECK + BOX) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "Recalculating: 20 chairs at 20 each. The code was right.",
        "Another way to see it: what if one desk were made?",
        "Is there a plan with a higher profit? With one desk it is 390.",
        "Can this be seen without the solver? Each chair takes two hours.",
        "Chairs bring 20 * 20 = 400, as the code said.",
        "0 times 30 is 0 and 20 times 20 is 400.",
    ],
)
def test_trigger_3_in_running_text(line):
    assert triggers(MODEL + SCRIPT + OUTPUT + line + "\n" + CHECK + BOX) == [3]


@pytest.mark.parametrize("lead", ["Now another run that prints the plan.", "In a second script I solve it again."])
def test_trigger_2_when_a_further_script_is_announced(lead):
    assert triggers(MODEL + SCRIPT + OUTPUT + lead + "\n" + SCRIPT + OUTPUT + CHECK + BOX) == [2]


def test_trigger_2_when_a_piece_of_code_works_on_after_a_solve():
    more = "The profit of it:\n```python\nprofit = 20 * 20\nprint(profit)\n```\n```output\n400\n```\n"
    assert triggers(MODEL + SCRIPT + OUTPUT + more + CHECK + BOX) == [2]


@pytest.mark.parametrize(
    "reflection",
    [
        "All hours are used up, as it should be.",
        "Labor: 40 of 40 hours.",
        "This is less than the 600 that unlimited labor would allow.",
        "20 chairs and no desks is surprising at first.",
        "The labor limit holds.",
    ],
)
def test_no_trigger_4_when_the_result_is_weighed_in_other_words(reflection):
    assert triggers(MODEL + SCRIPT + OUTPUT + reflection + "\n" + BOX) == []
