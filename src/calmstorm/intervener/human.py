"""A person as Intervener, asked in the terminal.

Shown are the problem, its label, the response with numbered lines and what the rule engine would say. Asked are the
line of the first flaw, its trigger and the hint. Reviews are asked one at a time; rollouts of other samples go on
meanwhile.
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import TextIO

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.hint_checks import Unusable, author_at, intervention_at, place, require_usable_hint
from calmstorm.intervener.hints import Correction, hint
from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.rules import Finding, annotate
from calmstorm.intervener.segments import Line
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
_MARKS: dict[Author | None, str] = {Author.REASONER: " ", Author.INTERPRETER: ">", Author.INTERVENER: "*"}


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

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        """Asks the person.

        Raises:
            InfrastructureError: The input ended.
        """
        async with self._turn:
            return Reviewed.of(await asyncio.to_thread(self._ask, problem, trajectory))

    def _ask(self, problem: Problem, trajectory: Trajectory) -> Intervention | None:
        lines = _lines(trajectory.response)
        findings = annotate(problem, trajectory)
        self._show(problem, trajectory, lines, findings)
        chosen = self._ask_line(trajectory, lines)
        if chosen is None:
            return None
        line, start = chosen
        finding = next((f for f in findings if line.start <= f.start < line.end or f.start == start), None)
        trigger = self._ask_trigger(finding)
        suggested = finding if finding and finding.trigger is trigger else None
        return intervention_at(
            trajectory,
            start,
            max(line.end, start),
            trigger,
            analysis=suggested.analysis if suggested else "",
            words=self._ask_hint(problem, trajectory, start, trigger, suggested),
            intervener=self.name,
        )

    def _show(self, problem: Problem, trajectory: Trajectory, lines: list[Line], findings: list[Finding]) -> None:
        verdict = trajectory.verdict
        judged = "" if verdict is None else f", {verdict.status.value}"
        self._print(f"\n{'=' * 78}\n{problem.id}, sample {trajectory.sample}, round {trajectory.round}\n")
        self._print(problem.question)
        self._print(f"\nLabel {problem.label}; answered {trajectory.answer}{judged}; {trajectory.stop_reason.value}\n")
        width = len(str(len(lines)))
        for number, line in enumerate(lines, 1):
            mark = _MARKS.get(author_at(trajectory, line.start), " ")
            self._print(f"{number:>{width}} {mark} {line.text}")
        self._print("\n(lines with > were printed by a program, lines with * are earlier hints)")
        for finding in findings:
            number = next((i for i, line in enumerate(lines, 1) if finding.start < line.end), len(lines))
            self._print(f"suggestion: line {number}, trigger {int(finding.trigger)}: {finding.analysis}")

    def _print(self, text: str, end: str = "\n") -> None:
        print(printable(text), end=end, file=self._out, flush=True)

    def _read(self, question: str) -> str:
        self._print(question, end="")
        answer = self._in.readline()
        if not answer:
            raise InfrastructureError("the input ended before the review did; what was finished is kept: use --resume")
        return answer.strip()

    def _ask_line(self, trajectory: Trajectory, lines: list[Line]) -> tuple[Line, int] | None:
        """Returns the line of the first flaw and where the response is cut; None for a flawless response."""
        while answer := self._read("line of the first flaw (Enter: there is none): "):
            if not answer.isascii() or not answer.isdigit() or not 1 <= int(answer) <= len(lines):
                self._print(f"{answer}: give a line number from 1 to {len(lines)}, or nothing")
                continue
            line = lines[int(answer) - 1]
            try:
                return line, place(trajectory, line.start)
            except Unusable as why:
                self._print(f"{answer}: {why}")
        return None

    def _ask_trigger(self, finding: Finding | None) -> Trigger:
        default = f" (Enter: {int(finding.trigger)})" if finding else ""
        while True:
            answer = self._read(f"trigger 1 to 7{default}: ")
            if not answer and finding:
                return finding.trigger
            if len(answer) == 1 and answer in "1234567":
                return Trigger(int(answer))
            self._print(f"'{answer}' is none of: {', '.join(f'{int(t)} {t.label.lower()}' for t in Trigger)}")

    def _ask_hint(
        self, problem: Problem, trajectory: Trajectory, start: int, trigger: Trigger, finding: Finding | None
    ) -> str:
        """Returns the words of the hint."""
        rng = random.Random(derive_seed(self._seed, trajectory.problem_id, trajectory.sample, trajectory.round))
        correction = finding.correction if finding else _SUGGESTED[trigger]
        suggestion = hint(rng, correction, **(finding.names if finding else {}))
        self._print(f"suggested hint: {suggestion}")
        while True:
            words = self._read("hint, in the first person (Enter: as suggested): ") or suggestion
            try:
                require_usable_hint(words, problem, trajectory, start)
            except Unusable as why:
                self._print(str(why))
            else:
                return words

    async def close(self) -> None:
        """Nothing to free; the streams belong to whoever gave them."""


def _lines(response: str) -> list[Line]:
    """Returns all lines as they are; an empty last one is left out."""
    lines, start = [], 0
    for text in response.split("\n"):
        end = min(start + len(text) + 1, len(response))
        lines.append(Line(start, end, text))
        start = end
    return lines[:-1] if len(lines) > 1 and not lines[-1].text else lines
