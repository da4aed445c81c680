from __future__ import annotations

from calmstorm.grading import grade
from calmstorm.records import (
    Author,
    Domain,
    Formulation,
    LabelStatus,
    LinearModel,
    Problem,
    ReferenceConstraint,
    Sense,
    Span,
    SpanKind,
    StopReason,
    Trajectory,
    Variable,
)
from calmstorm.records import Constraint as Captured

QUESTION = (
    "A workshop makes desks and chairs. A desk earns $30 and takes 4 hours of labor; a chair earns $20 and takes 2 "
    "hours of labor. There are 40 hours of labor. At most 8 desks can be sold. Only whole units are possible. "
    "Maximize the total profit."
)
REFERENCE = LinearModel(
    sense=Sense.MAXIMIZE,
    objective="profit",
    variables=("desk", "chair"),
    costs=(30.0, 20.0),
    rows=(
        ReferenceConstraint(name="labor", coefficients=(4.0, 2.0), operator="<=", bound=40.0),
        ReferenceConstraint(name="max desk", coefficients=(1.0, 0.0), operator="<=", bound=8.0),
    ),
    domains=(Domain.INTEGER, Domain.INTEGER),
)


WORKSHOP = Problem(id="w", question=QUESTION, answer=400.0, status=LabelStatus.OPTIMAL, reference=REFERENCE)


def captured(**changes) -> Formulation:
    """The workshop as a script would have solved it, with names of its own."""
    parts = {
        "source": "pulp",
        "sense": Sense.MAXIMIZE,
        "costs": {"a": 30.0, "b": 20.0},
        "variables": (
            Variable(name="a", domain=Domain.INTEGER, lower=0, upper=None, value=0),
            Variable(name="b", domain=Domain.INTEGER, lower=0, upper=None, value=20),
        ),
        "constraints": (
            Captured(name="c1", coefficients={"a": 4.0, "b": 2.0}, operator="<=", bound=40.0),
            Captured(name="c2", coefficients={"a": 1.0}, operator="<=", bound=8.0),
        ),
        "solver_status": "Optimal",
        "objective": 400.0,
    }
    return Formulation(**{**parts, **changes})


def trajectory_of(problem: Problem, *pieces: str | tuple[Author, str], round: int = 0) -> Trajectory:
    """A text-only trajectory; plain strings are the Reasoner's."""
    kinds = {Author.REASONER: SpanKind.TEXT, Author.INTERPRETER: SpanKind.OUTPUT, Author.INTERVENER: SpanKind.HINT}
    pairs = [(Author.REASONER, piece) if isinstance(piece, str) else piece for piece in pieces]
    spans = tuple(Span(author=author, kind=kinds[author], text=text) for author, text in pairs)
    verdict = grade(problem, "".join(span.text for span in spans))
    return Trajectory(
        problem_id=problem.id,
        sample=0,
        round=round,
        stage="curation",
        spans=spans,
        stop_reason=StopReason.FINISHED,
        answer=verdict.got,
        verdict=verdict,
    )
