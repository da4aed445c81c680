from __future__ import annotations

import asyncio
import json

import pytest

from calmstorm.cli import main
from calmstorm.errors import InfrastructureError
from calmstorm.grading import grade
from calmstorm.reasoner import opening
from calmstorm.reasoner.scripted import ScriptedReasoner
from calmstorm.records import (
    Author,
    Constraint,
    Domain,
    Execution,
    ExecutionStatus,
    Formulation,
    Problem,
    Sense,
    Span,
    SpanKind,
    StopReason,
    Trajectory,
    Variable,
)
from calmstorm.solving import Solution, attempt, choose, examine

QUESTION = (
    "A workshop makes desks and chairs. A desk earns $30 and takes 4 hours of labor; a chair earns $20 and takes 2 "
    "hours. There are 40 hours. Maximize profit."
)
SCRIPT = (
    "from pulp import *\nm = LpProblem('m', LpMaximize)\n"
    "d, c = [LpVariable(n, 0, cat='Integer') for n in ('desk', 'chair')]\n"
    "m += 30 * d + 20 * c\nm += 4 * d + 2 * c <= 40\nm.solve(PULP_CBC_CMD(msg=0))\nprint(value(m.objective))\n"
)


def solved(**changes) -> Formulation:
    parts = {
        "source": "pulp",
        "sense": Sense.MAXIMIZE,
        "costs": {"desk": 30.0, "chair": 20.0},
        "variables": (
            Variable(name="desk", domain=Domain.INTEGER, lower=0, upper=None, value=0),
            Variable(name="chair", domain=Domain.INTEGER, lower=0, upper=None, value=20),
        ),
        "constraints": (Constraint(name="labor", coefficients={"desk": 4.0, "chair": 2.0}, operator="<=", bound=40.0),),
        "solver_status": "Optimal",
        "objective": 400.0,
    }
    return Formulation(**{**parts, **changes})


def tried(answer: str = "\\boxed{400}", *formulations: Formulation, stop=StopReason.FINISHED) -> Trajectory:
    text = f"```python\n{SCRIPT}```\n"
    spans = (
        Span(author=Author.REASONER, kind=SpanKind.CODE, text=text),
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text=answer),
    )
    verdict = grade(Problem(id="p", question=QUESTION), answer)
    execution = Execution(
        status=ExecutionStatus.OK, stdout="400", wall_seconds=0.1, tier="unsafe", formulations=formulations
    )
    return Trajectory(
        problem_id="p",
        sample=0,
        stage="solve",
        spans=spans,
        stop_reason=stop,
        executions=(execution,),
        answer=verdict.got,
        verdict=verdict,
    )


def failing(solution: Solution) -> list[str]:
    return [name for name, passed, _ in solution.checks if not passed]


def examined(answer: str = "\\boxed{400}", *formulations: Formulation, question: str = QUESTION) -> Solution:
    return examine(question, tried(answer, *formulations), votes=1, attempts=1)


def test_an_answer_is_backed_when_every_check_passes():
    solution = examined("\\boxed{400}", solved())
    assert failing(solution) == []
    assert solution.backed
    assert solution.code == SCRIPT


@pytest.mark.parametrize(
    ("answer", "changes", "failed"),
    [
        ("\\boxed{500}", {}, ["the answer is the solver's objective"]),
        ("\\boxed{400 dollars}", {}, ["a single number or status is boxed"]),
        (
            "400",
            {},
            ["a single number or status is boxed", "the answer is the solver's objective", "most attempts agree"],
        ),
        (
            "\\boxed{400}",
            {"solver_status": "Infeasible"},
            ["a solver found an optimum", "HiGHS confirms it independently"],
        ),
        ("\\boxed{410}", {"objective": 410.0}, ["HiGHS confirms it independently"]),
    ],
)
def test_an_answer_without_a_sound_solve_is_not_backed(answer, changes, failed):
    solution = examined(answer, solved(**changes))
    assert failing(solution) == failed
    assert not solution.backed


def test_the_wrong_direction_is_noticed():
    least = solved(
        sense=Sense.MINIMIZE,
        objective=0.0,
        variables=tuple(v.model_copy(update={"value": 0.0}) for v in solved().variables),
    )
    solution = examined("\\boxed{0}", least)
    assert failing(solution) == ["the direction fits the text"]
    assert not solution.backed


def test_minimizing_the_negative_is_maximizing():
    turned = solved(sense=Sense.MINIMIZE, costs={"desk": -30.0, "chair": -20.0}, objective=-400.0)
    assert examined("\\boxed{400}", turned).backed
    assert failing(examined("\\boxed{-400}", turned)) == ["the answer is the solver's objective"]


def test_a_number_that_is_not_in_the_model_is_noticed():
    solution = examined("\\boxed{400}", solved(), question=QUESTION + " At most 1,200 kg of wood can be used.")
    assert failing(solution) == ["the model uses the numbers of the text"]
    assert "not found: 1,200" in [remark for _, _, remark in solution.checks]


@pytest.mark.parametrize(
    "extra",
    [
        "There is 1 workshop.",
        "A share of 30 percent costs 30% more.",
        "Up to 4000 hours were planned once, then 40.",
    ],
)
def test_numbers_are_looked_for_as_they_may_stand_in_a_model(extra):
    shares = Constraint(name="s", coefficients={"desk": 0.3, "chair": 0.7}, operator="<=", bound=4000.0)
    model = solved(constraints=(*solved().constraints, shares))
    assert "the model uses the numbers of the text" not in failing(
        examined("\\boxed{400}", model, question=QUESTION + extra)
    )


def test_an_unbacked_box_is_shown_as_such():
    solution = examined("\\boxed{400}")
    assert not solution.backed
    assert solution.formulation is None
    assert solution.as_data()["answer"] == 400.0


def test_the_best_backed_attempt_wins_over_the_more_frequent_answer():
    attempts = [tried("\\boxed{500}"), tried("\\boxed{500}"), tried("\\boxed{400}", solved())]
    solution = choose(QUESTION, attempts)
    assert (solution.answer, solution.backed) == (400.0, True)
    assert "most attempts agree" in failing(solution)


def test_the_more_frequent_answer_wins_among_equals():
    attempts = [tried("\\boxed{500}"), tried("\\boxed{300}"), tried("\\boxed{300.00001}")]
    assert choose(QUESTION, attempts).answer == pytest.approx(300)


# ------------------------------------------------------------------ rollouts


def test_attempts_run_the_code_and_close_the_reasoner():
    class Closing(ScriptedReasoner):
        closed = 0

        async def close(self) -> None:
            self.closed += 1

    def script(prefix, sampling):
        return "It looks right.\n\\boxed{400}" if "```output" in prefix.text else f"```python\n{SCRIPT}```\n"

    reasoner = Closing(script)
    done = asyncio.run(attempt(QUESTION, reasoner, attempts=2, response_tokens=2000, seed=1))
    assert reasoner.closed == 1
    assert choose(QUESTION, done).backed


def test_attempts_that_our_machinery_failed_are_no_answers():
    def dead(prefix, sampling):
        raise InfrastructureError("gone")

    with pytest.raises(InfrastructureError, match="all 3 attempts failed"):
        asyncio.run(attempt(QUESTION, ScriptedReasoner(dead), attempts=3, response_tokens=500, seed=1))


# ------------------------------------------------------------------ the command


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture
def reciting(monkeypatch):
    def script(prefix, sampling):
        return "\x1b[2JIt looks right.\n\\boxed{400}" if "```output" in prefix.text else f"```python\n{SCRIPT}```\n"

    monkeypatch.setattr(opening, "open_for", lambda recipe: opening.OpenedReasoner(ScriptedReasoner(script), 2048))


@pytest.mark.usefixtures("reciting")
def test_solve_prints_answer_model_and_checks_and_saves_the_model(capsys, tmp_path):
    model = tmp_path / "model.lp"
    assert calm("solve", QUESTION, "--attempts", "1", "--save", str(model), "--show-reasoning") == 0
    shown = capsys.readouterr().out
    assert "Answer: 400" in shown
    assert "4 desk + 2 chair <= 40" in shown
    assert "\x1b" not in shown
    assert "max\n obj: +20 chair +30 desk" in model.read_text()


@pytest.mark.usefixtures("reciting")
def test_solve_ends_with_1_when_nothing_backs_the_answer(capsys):
    assert calm("solve", "Minimize the cost of 7 plans.", "--attempts", "1", "--json") == 1
    got = json.loads(capsys.readouterr().out)
    assert (got["answer"], got["backed"]) == (400.0, False)


@pytest.mark.parametrize(("text", "reason"), [("  ", "the problem is empty"), ("x" * 20_001, "at most 20000")])
def test_solve_refuses_what_is_no_problem(text, reason, capsys):
    assert calm("solve", text) == 2
    assert reason in capsys.readouterr().err
