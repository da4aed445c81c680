"""`calm flaws --run RUN --keep`: the triggers of evaluated responses, kept in the run so that reports can show them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from calmstorm.commands.console import note
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.intervener.rules import Finding
    from calmstorm.records import Problem

_CURATION = "curation"
_RULES = "rules"


class FlawRow(NamedTuple):
    """A response to annotate."""

    identity: dict[str, object]
    problem: Problem
    response: str
    """Without what hints say."""
    find: Callable[[], list[Finding]]
    """Asks the rules."""


class KeptFlaws:
    """`flaws.jsonl` of a run, added to: one annotator, and nothing is annotated twice."""

    def __init__(self, run: Path) -> None:
        from calmstorm.runs import RunDirectory

        RunDirectory(run, readonly=True)  # a run that is not there is refused, not made
        self._run = RunDirectory(run)
        self._annotator = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run.close()

    def open(self, rows: Iterable[FlawRow], annotator: str) -> Iterator[FlawRow]:
        """Yields the rows that are still to be annotated: of evaluated stages, and not in the file.

        Raises:
            InputError: the file is by another annotator.
        """
        self._annotator = annotator
        done = set()
        for row in self._run.read_rows("flaws"):
            by = row.get("annotator", _RULES)
            if by != annotator:
                raise InputError(
                    f"{self._run.file('flaws')}: is by {by}, and rates by two annotators cannot stand in one table; "
                    f"move the file away, or annotate with {by}"
                )
            done.add((row["stage"], row["problem_id"], row["sample"]))
        if done:
            note(f"{self._run.file('flaws')}: {len(done)} responses are annotated already")
        return (
            row
            for row in rows
            if row.identity["stage"] != _CURATION
            and (row.identity["stage"], row.problem.id, row.identity["sample"]) not in done
        )

    def keep(self, row: FlawRow, triggers: list[int]) -> None:
        """Adds what was found in a response."""
        stage, sample = row.identity["stage"], row.identity["sample"]
        found = {"stage": stage, "suite": row.problem.suite, "problem_id": row.problem.id, "sample": sample}
        self._run.append("flaws", {**found, "triggers": triggers, "annotator": self._annotator})
