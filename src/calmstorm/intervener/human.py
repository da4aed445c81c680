"""A person as Intervener, asked in the terminal.

Shown are the problem, its label, the response with numbered lines and what the rule engine would say. Asked are the
line of the first flaw, its trigger and the hint. Questions come one at a time, whatever else is going on; rollouts of
other samples go on meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import sys
from dataclasses import dataclass
from typing import TextIO

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.findings import Finding
from calmstorm.intervener.hints import Correction, hint
from calmstorm.intervener.placing import Unusable, complete_hint, intervention_at, place, require_usable_hint
from calmstorm.intervener.rules import annotate
from calmstorm.printable import printable
from calmstorm.records import Author, Intervention, Problem, Trajectory, Trigger
from calmstorm.settings import derive_seed

_SUGGESTED = {
    Trigger.PREMATURE_SOLVING: Correction.USE_SOLVER,
    Trigger.FRAGMENTED_CODING: Correction.ONE_SCRIPT,
    Trigger.REDUNDANT_VERIFICATION: Correction.TRUST,
    Trigger.NO_SANITY_CHECK: Correction.REFLECT,
    Trigger.FLAWED_MODELING: Correction.REREAD,
    Trigger.IMPLEMENTATION_ERROR: Correction.CODE,
    Trigger.PROTOCOL_VIOLATION: Correction.BOX,
}
_MARKS = {Author.REASONER: " ", Author.INTERPRETER: ">", Author.INTERVENER: "*"}


@dataclass(frozen=True)
class _Numbered:
    """A line of the response."""

    start: int
    end: int
    text: str


class HumanIntervener:
    """An Intervener that is a person; see `calmstorm.intervener.protocol.Intervener`."""

    name = "human"

    def __init__(self, stream: TextIO | None = None, out: TextIO | None = None, seed: int = 0) -> None:
        """Gets ready to ask.

        Args:
            stream: Where answers are read; None is the terminal.
            out: Where questions are written; None is standard error.
            seed: Of the suggested wordings.

        Raises:
            InputError: No stream is given and standard input is no terminal.
        """
        if stream is None and not sys.stdin.isatty():
            raise InputError(
                "the Intervener is human, but standard input is no terminal; "
                "run the command in one, or choose --intervener rules or llm"
            )
        self._in = stream if stream is not None else sys.stdin
        self._out = out if out is not None else sys.stderr
        self._seed = seed
        self._turn = asyncio.Lock()

    async def review(self, problem: Problem, trajectory: Trajectory) -> Intervention | None:
        """Asks the person.

        Raises:
            InfrastructureError: The input ended.
        """
        async with self._turn:
            return await asyncio.to_thread(self._ask, problem, trajectory)

    def _ask(self, problem: Problem, trajectory: Trajectory) -> Intervention | None:
        numbered = _numbered(trajectory.response)
        found = annotate(problem, trajectory)
        self._show(problem, trajectory, numbered, found)
        chosen = self._line(trajectory, numbered)
        if chosen is None:
            return None
        line, start = chosen
        finding = next((f for f in found if line.start <= f.start < line.end or f.start == start), None)
        trigger = self._trigger(finding)
        words = self._hint(problem, trajectory, trigger, finding if finding and finding.trigger is trigger else None)
        before = trajectory.response[:start]
        return intervention_at(
            trajectory,
            start,
            max(line.end, start),
            trigger,
            analysis=finding.analysis if finding and finding.trigger is trigger else "",
            hint=complete_hint(words, trigger, before),
            intervener=self.name,
        )

    # ------------------------------------------------------------------ showing

    def _show(self, problem: Problem, trajectory: Trajectory, numbered: list[_Numbered], found: list[Finding]) -> None:
        verdict = trajectory.verdict
        judged = "" if verdict is None else f", {verdict.status.value}"
        self._say(f"\n{'=' * 78}\n{problem.id}, sample {trajectory.sample}, round {trajectory.round}\n")
        self._say(problem.question)
        self._say(f"\nLabel {problem.label}; answered {trajectory.answer}{judged}; {trajectory.stop_reason.value}\n")
        width = len(str(len(numbered)))
        for number, line in enumerate(numbered, 1):
            self._say(f"{number:>{width}} {_mark(trajectory, line.start)} {line.text}")
        self._say("\n(lines with > were printed by a program, lines with * are earlier hints)")
        for finding in found:
            number = _line_number(numbered, finding.start)
            self._say(f"suggestion: line {number}, trigger {int(finding.trigger)}: {finding.analysis}")

    def _say(self, text: str) -> None:
        print(printable(text), file=self._out, flush=True)

    # ------------------------------------------------------------------ asking

    def _answer(self, question: str) -> str:
        print(printable(question), end="", file=self._out, flush=True)
        answer = self._in.readline()
        if not answer:
            raise InfrastructureError("the input ended before the review did; what was finished is kept: use --resume")
        return answer.strip()

    def _line(self, trajectory: Trajectory, numbered: list[_Numbered]) -> tuple[_Numbered, int] | None:
        """Returns the line of the first flaw and where the response is cut; None for a flawless response."""
        while answer := self._answer("line of the first flaw (Enter: there is none): "):
            if not answer.isascii() or not answer.isdigit() or not 1 <= int(answer) <= len(numbered):
                self._say(f"{answer}: give a line number from 1 to {len(numbered)}, or nothing")
                continue
            line = numbered[int(answer) - 1]
            try:
                return line, place(trajectory, line.start)
            except Unusable as why:
                self._say(f"{answer}: {why}")
        return None

    def _trigger(self, finding: Finding | None) -> Trigger:
        default = f" (Enter: {int(finding.trigger)})" if finding else ""
        while True:
            answer = self._answer(f"trigger 1 to 7{default}: ")
            if not answer and finding:
                return finding.trigger
            if len(answer) == 1 and answer in "1234567":
                return Trigger(int(answer))
            names = ", ".join(f"{int(t)} {t.name.lower().replace('_', ' ')}" for t in Trigger)
            self._say(f"'{answer}' is none of: {names}")

    def _hint(self, problem: Problem, trajectory: Trajectory, trigger: Trigger, finding: Finding | None) -> str:
        """Returns the words of the hint."""
        rng = random.Random(derive_seed(self._seed, trajectory.problem_id, trajectory.sample, trajectory.round))
        correction = finding.correction if finding else _SUGGESTED[trigger]
        suggestion = hint(rng, correction, **(finding.names if finding else {}))
        self._say(f"suggested hint: {suggestion}")
        while True:
            words = self._answer("hint, in the first person (Enter: as suggested): ") or suggestion
            try:
                require_usable_hint(words, problem)
            except Unusable as why:
                self._say(str(why))
            else:
                return words

    async def close(self) -> None:
        """Nothing to free; the streams belong to whoever gave them."""


def _numbered(response: str) -> list[_Numbered]:
    found, start = [], 0
    for text in response.split("\n"):
        end = min(start + len(text) + 1, len(response))
        found.append(_Numbered(start, end, text))
        start = end
    return found[:-1] if len(found) > 1 and not found[-1].text else found


def _line_number(numbered: list[_Numbered], position: int) -> int:
    return next((i for i, line in enumerate(numbered, 1) if position < line.end), len(numbered))


def _mark(trajectory: Trajectory, position: int) -> str:
    for span in trajectory.spans:
        if position < len(span.text):
            return _MARKS[span.author]
        position -= len(span.text)
    return " "
