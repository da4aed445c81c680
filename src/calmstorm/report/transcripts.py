"""Trajectories as the templates show them: plain text by author, with what became of each script."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from calmstorm.algebra import formulation_lines
from calmstorm.records import Execution, Formulation, Trajectory
from calmstorm.report.examples import Example
from calmstorm.report.passages import Passage
from calmstorm.report.triggers import TRIGGER_NAMES

AUTHORS = {
    "text": "Reasoner",
    "code": "Reasoner, code",
    "output": "Interpreter",
    "dropped": "Dropped",
    "hint": "Intervener",
}


def verdict_words(trajectory: Trajectory) -> str:
    """What grading came to, in words."""
    verdict = trajectory.verdict
    return "not graded" if verdict is None else verdict.status.value.replace("_", " ")


def is_correct(trajectory: Trajectory) -> bool:
    """Whether it was graded correct."""
    return trajectory.verdict is not None and trajectory.verdict.correct


def example_view(example: Example) -> dict[str, Any]:
    """What the page shows of an example."""
    trajectory = example.trajectory
    verdict = trajectory.verdict
    tokens = f"{trajectory.usage.completion_tokens:,}"
    if example.first is not None:
        tokens = f"{example.first.usage.completion_tokens:,} before, {tokens} after"
    facts = [
        ("Stage", f"{trajectory.stage}, sample {trajectory.sample}, round {trajectory.round}"),
        ("Answer", written(trajectory.answer)),
        ("Label", written(verdict.expected if verdict else None)),
        ("Tokens", tokens),
    ]
    if example.first is not None:
        before = "correct" if is_correct(example.first) else "wrong"
        facts.insert(1, ("Before the hint", f"{before} ({written(example.first.answer)})"))
    return {
        "title": example.title,
        "problem_id": trajectory.problem_id,
        "golden": example.golden,
        "correct": is_correct(trajectory),
        "status": verdict_words(trajectory),
        "facts": facts,
        "question": example.problem.question if example.problem else "",
        "passages": passage_views(example.passages, trajectory.executions),
        "replaced_hints": example.replaced_hints,
    }


def written(answer: float | str | None) -> str:
    """An answer or a label for people: whole numbers without a point."""
    if answer is None:
        return "none"
    if isinstance(answer, str):
        return answer
    return str(int(answer)) if answer.is_integer() and abs(answer) < 1e15 else repr(answer)


def plain_passages(trajectory: Trajectory) -> tuple[Passage, ...]:
    """The spans of a trajectory, one by one."""
    return tuple(Passage(span.kind.value, span.text) for span in trajectory.spans)


def passage_views(passages: Sequence[Passage], executions: Sequence[Execution] = ()) -> list[dict[str, Any]]:
    """What the page shows of passages; the executions stand with the outputs, in order."""
    remaining = iter(executions)
    return [_passage(each, next(remaining, None) if each.kind == "output" else None) for each in passages]


def _passage(passage: Passage, execution: Execution | None) -> dict[str, Any]:
    hint = passage.intervention
    return {
        "kind": passage.kind,
        "who": AUTHORS.get(passage.kind, passage.kind),
        "text": unfenced(passage.text) if passage.kind in ("code", "output") else passage.text.strip("\n"),
        "rest": passage.rest.strip("\n"),
        "trigger": "" if hint is None else f"Trigger {int(hint.trigger)}: {TRIGGER_NAMES[hint.trigger].lower()}.",
        "why": "" if hint is None else hint.analysis,
        "run": ""
        if execution is None
        else f"{execution.status.value.replace('_', ' ')}, {execution.wall_seconds:.2f} s",
        "models": [] if execution is None else [_model(each) for each in execution.formulations],
    }


def _model(formulation: Formulation) -> dict[str, Any]:
    """A model that a script handed to a solver."""
    status = formulation.solver_status or "status unknown"
    objective = "" if formulation.objective is None else f", objective {written(formulation.objective)}"
    solver = f" by {formulation.solver}" if formulation.solver else ""
    cut = "; too large to be recorded whole" if formulation.truncated else ""
    return {
        "title": f"Model that was solved{solver}: {status}{objective}{cut}",
        "lines": "\n".join(formulation_lines(formulation)),
    }


def unfenced(text: str) -> str:
    """A code or output span without its Markdown fence, which the page shows by colour instead."""
    return re.sub(r"\n?```\s*\Z", "", re.sub(r"\A\s*```[a-z]*\n", "", text)).strip("\n")
