from __future__ import annotations

import pytest

from calmstorm.intervener.hints import Correction
from calmstorm.intervener.rules import find_flaws
from calmstorm.records import Constraint, Domain, Problem, Sense, Trigger, Variable
from tests.intervener.workshop_case import WORKSHOP, captured

OBJECTIVE = "Maximize profit: 30 * desk + 20 * chair\n"
LABOR = "- labor: 4 * desk + 2 * chair <= 40\n"
DESKS = "- max desk: desk <= 8\n"
DOMAIN = "The variables are whole numbers.\n"
CODE = "```python\nimport pulp\nm.solve()\n```\n```output\nOptimal 360.0\n```\n"
END = "This looks right.\n\\boxed{360}"
ALL_ROWS = captured().constraints
ONLY_LABOR = ALL_ROWS[:1]
CONTINUOUS = tuple(v.model_copy(update={"domain": Domain.CONTINUOUS}) for v in captured().variables)


def first(plan: str, problem: Problem = WORKSHOP, code: str = CODE, **changes):
    response = plan + code + END
    findings = find_flaws(problem, response, formulations=[captured(objective=360.0, **changes)])
    assert len(findings) == 1
    return findings[0], response


@pytest.mark.parametrize(
    ("plan", "changes", "at", "correction"),
    [
        (OBJECTIVE.replace("Max", "Min") + LABOR + DESKS + DOMAIN, {"sense": Sense.MINIMIZE}, "Minimize", "sense"),
        (
            OBJECTIVE.replace("20", "25") + LABOR + DESKS + DOMAIN,
            {"costs": {"a": 30, "b": 25}},
            "Maximize",
            "objective",
        ),
        (OBJECTIVE + LABOR + DESKS + "The variables are continuous.\n", {"variables": CONTINUOUS}, "The var", "domain"),
        (OBJECTIVE + LABOR + DOMAIN, {"constraints": ONLY_LABOR}, "The variables", "missing_row"),
        (
            OBJECTIVE + LABOR.replace("<=", ">=") + DESKS + DOMAIN,
            {"constraints": (ALL_ROWS[0].model_copy(update={"operator": ">="}), ALL_ROWS[1])},
            "- labor",
            "row",
        ),
        (
            OBJECTIVE + LABOR.replace("40", "60") + DESKS + DOMAIN,
            {"constraints": (ALL_ROWS[0].model_copy(update={"bound": 60.0}), ALL_ROWS[1])},
            "- labor",
            "row",
        ),
    ],
)
def test_trigger_5_at_the_line_that_is_wrong_in_text_and_code(plan, changes, at, correction):
    finding, response = first(plan, **changes)
    assert (finding.trigger, finding.correction) == (Trigger.FLAWED_MODELING, Correction(correction))
    assert response[finding.start :].startswith(at)


@pytest.mark.parametrize(
    ("changes", "correction"),
    [
        ({"sense": Sense.MINIMIZE}, "code_sense"),
        ({"variables": CONTINUOUS}, "code_domain"),
        ({"constraints": ONLY_LABOR}, "code_row"),
        ({"costs": {"a": 30.0, "b": 2.0}}, "code"),
        (
            {"variables": (Variable(name="a", domain=Domain.INTEGER, lower=None, upper=None), captured().variables[1])},
            "code",
        ),
    ],
)
def test_trigger_6_at_the_code_when_the_text_has_it_right(changes, correction):
    finding, response = first(OBJECTIVE + LABOR + DESKS + DOMAIN, **changes)
    assert (finding.trigger, finding.correction) == (Trigger.IMPLEMENTATION_ERROR, Correction(correction))
    assert response[finding.start :].startswith("```python")


@pytest.mark.parametrize(
    "labor",
    [
        "Labor: 4 desk + 2 chair \\le 40\n",
        "**Labor** 4 desk + 2 chair \u2264 40\n",
        "- labor: at most 40 hours, 4 for a desk and 2 for a chair\n",
        "- labor: 4 * desk + 2 * chair <= 8*5\n",
    ],
)
def test_a_constraint_in_other_notation_is_right(labor):
    wrong = (Constraint(name="c", coefficients={"a": 4.0, "b": 2.0}, operator=">=", bound=40.0), ALL_ROWS[1])
    finding, _ = first(OBJECTIVE + labor + DESKS + DOMAIN, constraints=wrong)
    assert finding.correction is Correction.CODE_ROW


def test_no_modeling_flaw_when_the_answer_is_right():
    response = OBJECTIVE + LABOR + DOMAIN + CODE + "This looks right.\n\\boxed{400}"
    assert find_flaws(WORKSHOP, response, formulations=[captured(constraints=ONLY_LABOR)]) == []


def test_everything_is_read_again_when_a_wrong_answer_has_no_visible_reason():
    finding, _ = first(OBJECTIVE + LABOR + DESKS + DOMAIN)
    assert (finding.trigger, finding.correction) == (Trigger.FLAWED_MODELING, Correction.REREAD)
    assert finding.start == 0


def test_a_record_that_was_cut_short_is_not_compared():
    finding, _ = first(OBJECTIVE + LABOR + DESKS + DOMAIN, constraints=(), truncated=True)
    assert finding.correction is Correction.REREAD


def test_trigger_6_when_the_script_failed_and_the_answer_is_wrong():
    failed = "```python\nimport pulp\nm.solve()\n```\n```output\nTypeError: unsupported operand (line 4)\n```\n"
    response = OBJECTIVE + failed + "This looks right.\n\\boxed{1}"
    findings = find_flaws(WORKSHOP, response)
    assert [f.trigger for f in findings] == [Trigger.IMPLEMENTATION_ERROR]
    assert response[findings[0].start :].startswith("```python")


WORDS = Problem(id="own", question=WORKSHOP.question, answer=400.0, status=WORKSHOP.status)


def test_the_words_of_the_problem_tell_the_direction_without_a_reference():
    finding, response = first(OBJECTIVE.replace("Max", "Min") + LABOR, WORDS, sense=Sense.MINIMIZE)
    assert finding.correction is Correction.SENSE
    assert finding.names["direction"] == "maximize"
    assert response[finding.start :].startswith("Minimize")


def test_a_fractional_solution_is_a_flaw_where_the_words_ask_for_whole_units():
    fractional = tuple(v.model_copy(update={"domain": Domain.CONTINUOUS, "value": 2.5}) for v in captured().variables)
    finding, _ = first(OBJECTIVE + LABOR, WORDS, variables=fractional)
    assert finding.correction is Correction.DOMAIN


@pytest.mark.parametrize("opening", ["**Objective:** ", "The objective is to ", "- Goal: "])
def test_an_objective_line_is_known_by_what_it_says(opening):
    plan = opening + OBJECTIVE.replace("Max", "Min") + LABOR + DESKS + DOMAIN
    finding, response = first(plan, sense=Sense.MINIMIZE)
    assert (finding.trigger, finding.correction) == (Trigger.FLAWED_MODELING, Correction.SENSE)
    assert response[finding.start :].startswith(opening.strip())


def test_minimizing_the_negative_is_no_wrong_direction():
    words = Problem(id="own", question="Maximize the profit.", answer=400.0, status=WORKSHOP.status)
    finding, _ = first(OBJECTIVE + LABOR, words, sense=Sense.MINIMIZE, costs={"a": -30.0, "b": -20.0})
    assert finding.correction is Correction.REREAD


FAILED = "```python\nimport pulp\nm.solve()\n```\n```output\nValueError: too many values (line 3)\n```\n"


@pytest.mark.parametrize(
    ("plan", "at", "correction"),
    [
        (OBJECTIVE.replace("30", "20", 1).replace("20 * chair", "30 * chair") + LABOR + DESKS, "Maximize", "objective"),
        (OBJECTIVE + LABOR.replace("4 *", "5 *") + DESKS + DOMAIN, "- labor", "row"),
        (OBJECTIVE + LABOR + DOMAIN, "The variables", "missing_row"),
        (OBJECTIVE + LABOR + DESKS + DOMAIN, "```python", "code"),
        ("I call desks x and chairs y.\nMaximize 30x + 20y\n4x + 2y <= 40\n", "```python", "code"),
    ],
)
def test_when_the_code_fails_the_text_is_read_first(plan, at, correction):
    response = plan + FAILED + "This looks right.\n\\boxed{1}"
    findings = find_flaws(WORKSHOP, response)
    assert [f.correction for f in findings] == [Correction(correction)]
    assert response[findings[0].start :].startswith(at)
