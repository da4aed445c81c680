"""What `calm eval --problems` names: files and benchmarks, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.commands.console import note
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.problems.benchmarks_table import Version
    from calmstorm.records import Problem


class Sources:
    """The problems of files and benchmarks, read once to see that all is good and once more to run them.

    With several sources an id may occur in two of them, so each gets its suite before it.
    """

    def __init__(
        self,
        sources: list[str],
        folder: Path | None,
        download: bool,
        question: str | None,
        answer: str | None,
        limit: int | None,
    ) -> None:
        from calmstorm.grading import is_gradable
        from calmstorm.problems.benchmarks_table import Kind

        self._sources = sources
        self._how = {"question": question, "answer": answer, "limit": limit, "download": download}
        self._folder = folder
        self.rows = self.gradable = 0
        names, ids = [], set()
        for source in sources:
            rows = gradable = 0
            problems, version = self._open(source)
            names.append(version.name if version else Path(source).name)
            if version and version.kind is not Kind.TEST:
                note(f"{version.name} is published for training: a score on it says nothing about new problems")
            for problem in problems:
                rows += 1
                gradable += is_gradable(problem)
                if len(sources) > 1:
                    if problem.id in ids:
                        raise InputError(
                            f"{source}: problem {problem.id} is in a source before it, too; name each source once"
                        )
                    ids.add(problem.id)
            if not gradable:
                raise InputError(f"{source}: no row has a usable label; name the column of the answer with --answer")
            if gradable < rows:
                note(f"{source}: {rows - gradable} of {rows} rows have no usable label and are left out")
            self.rows += rows
            self.gradable += gradable
        self.title = ", ".join(names)

    def __iter__(self) -> Iterator[Problem]:
        from calmstorm.grading import is_gradable

        return (problem for source in self._sources for problem in self._open(source)[0] if is_gradable(problem))

    def _open(self, source: str) -> tuple[Iterator[Problem], Version | None]:
        from calmstorm.problems.benchmarks import open_problems

        problems, version = open_problems(source, self._folder, **self._how)  # type: ignore[arg-type]
        if len(self._sources) == 1:
            return problems, version
        return (p.model_copy(update={"id": f"{p.suite}-{p.id}"}) for p in problems), version
