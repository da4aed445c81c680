"""Solving one word problem for a person: several attempts, the best-backed answer, and checks that can fail.

An answer is called backed only when an optimal solve produced it, an independent solver agrees, the direction is the
one the text asks for and the model uses the numbers of the text. A model that was not trained on a wording like the
user's will often fail one of these; then the outcome says so instead of showing a number with confidence.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from calmstorm.errors import InfrastructureError
from calmstorm.grading import graded_trajectory
from calmstorm.interpreter import Interpreter, verify
from calmstorm.intervener.rules.direction import wanted_sense
from calmstorm.intervener.rules.model_diff import minimizes_negative
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import Formulation, Problem, Sense, SpanKind, Stage, StopReason, Trajectory, agrees
from calmstorm.rollout import RolloutLimits, rollout
from calmstorm.rollout.fences import script_of
from calmstorm.settings import derive_seed

_NUMBER = re.compile(r"(?<![\w.])\$?(\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(\s?%|\s?percent\b)?")


class Check(NamedTuple):
    """One question put to an answer and the model behind it."""

    name: str
    passed: bool
    remark: str = ""


@dataclass(frozen=True)
class Solution:
    """What came of a problem."""

    question: str
    answer: float | str | None
    backed: bool
    """Every check on the answer itself passed; agreement of the attempts is shown but not asked for."""
    formulation: Formulation | None
    code: str
    checks: list[Check] = field(default_factory=list)
    trajectory: Trajectory | None = None
    attempts: int = 0

    def as_data(self) -> dict[str, object]:
        """Returns the solution as plain data."""
        return {
            "answer": self.answer,
            "backed": self.backed,
            "checks": [check._asdict() for check in self.checks],
            "formulation": self.formulation.model_dump(mode="json") if self.formulation else None,
            "code": self.code,
            "response": self.trajectory.response if self.trajectory else "",
            "attempts": self.attempts,
        }


async def attempt(
    question: str, reasoner: Reasoner, *, attempts: int, response_tokens: int, seed: int
) -> list[Trajectory]:
    """Makes several rollouts of a problem without a label, and closes the Reasoner.

    Attempts that our machinery failed are left out.

    Raises:
        InfrastructureError: every attempt failed that way.
    """
    problem = Problem(id="problem", question=question)
    limits = RolloutLimits(response_tokens=response_tokens)
    with Interpreter(workers=2) as interpreter:

        async def try_once(sample: int) -> Trajectory:
            sampling = Sampling(seed=derive_seed(seed, "solve", sample))
            finished = await rollout(reasoner, interpreter, reasoner.render(question), limits=limits, sampling=sampling)
            return graded_trajectory(problem, finished, stage=Stage.SOLVE, sample=sample)

        try:
            tried = await asyncio.gather(*(try_once(sample) for sample in range(attempts)))
        finally:
            await reasoner.close()
    done = [trajectory for trajectory in tried if trajectory.stop_reason is not StopReason.INFRASTRUCTURE]
    if not done:
        raise InfrastructureError(
            f"all {attempts} attempts failed in the Reasoner or the interpreter, not in the problem: see calm doctor"
        )
    return done


def choose(question: str, tried: list[Trajectory]) -> Solution:
    """Returns the attempt that passes the most checks; among equals, the answer most attempts share."""
    votes = Counter(_rounded(t.answer) for t in tried)
    solutions = [examine(question, t, votes[_rounded(t.answer)], len(tried)) for t in tried]
    return max(solutions, key=lambda s: (sum(check.passed for check in s.checks), votes[_rounded(s.answer)]))


def examine(question: str, trajectory: Trajectory, votes: int, attempts: int) -> Solution:
    """Runs the checks on one attempt."""
    formulation = _formulation(trajectory)
    answer = trajectory.answer
    optimal = formulation is not None and formulation.is_optimal
    sense, objective = _as_asked(question, formulation) if formulation is not None else (None, None)
    close = isinstance(answer, int | float) and objective is not None and agrees(answer, objective)
    boxed = trajectory.verdict is not None and trajectory.verdict.protocol_ok
    solver_status = formulation.solver_status if formulation is not None and not optimal else ""
    solver_objective = "" if close or objective is None else f"the solver says {objective:g}"
    checks = [
        Check("a single number or status is boxed", boxed, "" if answer is not None else "no box"),
        Check("a solver found an optimum", optimal, solver_status),
        Check("the answer is the solver's objective", close, solver_objective),
    ]
    if formulation is not None:
        verification = verify(formulation)
        checks.append(Check("HiGHS confirms it independently", verification.holds, ", ".join(verification.doubts)))
        checks.append(_direction_check(question, sense))
        checks.append(_numbers_check(question, formulation))
    scripts = [script_of(span.text) for span in trajectory.spans if span.kind is SpanKind.CODE]
    code = next((f"{script}\n" for script in reversed(scripts) if script), "")
    backed = formulation is not None and all(check.passed for check in checks)
    agreed = answer is not None and 2 * votes > attempts
    checks.append(Check("most attempts agree", agreed, f"{votes} of {attempts}"))
    return Solution(question, answer, backed, formulation, code, checks, trajectory, attempts)


def _formulation(trajectory: Trajectory) -> Formulation | None:
    """Returns the last model that was solved to optimality, else the last one."""
    solved = trajectory.formulations
    return next((f for f in reversed(solved) if f.is_optimal), solved[-1] if solved else None)


def _as_asked(question: str, formulation: Formulation) -> tuple[Sense, float | None]:
    """Returns direction and objective value of a model, turned where it minimizes the negative of what is asked for."""
    if wanted_sense(question) is not Sense.MAXIMIZE or not minimizes_negative(formulation):
        return formulation.sense, formulation.objective
    return Sense.MAXIMIZE, None if formulation.objective is None else -formulation.objective


def _direction_check(question: str, sense: Sense | None) -> Check:
    wanted = wanted_sense(question)
    if wanted is None:
        return Check("the direction fits the text", True, "the text does not say it in words known here")
    return Check("the direction fits the text", sense is wanted, f"the text asks to {wanted.value}")


def _numbers_check(question: str, formulation: Formulation) -> Check:
    """Every number of the text should occur in the model, as it stands, as a share, or inside a product."""
    present = {abs(c) for c in formulation.costs.values()}
    for row in formulation.constraints:
        present |= {abs(c) for c in row.coefficients.values()} | {abs(row.bound)}
    present |= {abs(b) for v in formulation.variables for b in (v.lower, v.upper) if b}
    missing = []
    for text, percent in _NUMBER.findall(question):
        value = float(text.replace(",", ""))
        forms = [value, value / 100, 1 - value / 100] if percent else [value]
        if value in (0.0, 1.0) or any(_occurs(form, present) for form in forms):
            continue
        missing.append(text)
    shown = ", ".join(dict.fromkeys(missing))
    return Check("the model uses the numbers of the text", not missing, f"not found: {shown}" if missing else "")


def _occurs(value: float, present: set[float]) -> bool:
    """Whether a number is in a model, also as a factor of a bound (20 percent of 50 kg is written 20*50)."""
    if any(abs(value - p) <= 1e-6 * max(1.0, value) for p in present):
        return True
    return value >= 2 and any(
        p > value and abs(p / value - round(p / value)) < 1e-9 and p / value in present for p in present
    )


def _rounded(answer: float | str | None) -> float | str | None:
    return float(f"{answer:.4g}") if isinstance(answer, int | float) else answer
