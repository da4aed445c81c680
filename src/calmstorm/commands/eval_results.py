"""What `calm eval` collects and shows: rows, one cell for each suite, their macro average, the budget."""

from __future__ import annotations

import sys
import weakref
from array import array
from collections.abc import Iterator, Mapping
from tempfile import SpooledTemporaryFile
from typing import TYPE_CHECKING

from calmstorm.commands.console import as_text, say, table
from calmstorm.printable import percent, percent_interval, printable

if TYPE_CHECKING:
    from calmstorm.evaluation import Comparison, Estimate, Summary, Tally
    from calmstorm.evaluation.answers import Answer, Paired
    from calmstorm.evaluation.versions import VersionScores
    from calmstorm.records import Problem, Trajectory, Verdict


_IN_MEMORY = 1 << 20
"""Characters of rows that are kept in memory; more go to a file."""


class _Rows:
    """Rows as JSON in a temporary file, given back in the order of their keys; 16 bytes a row stay in memory."""

    def __init__(self) -> None:
        self._file = SpooledTemporaryFile(_IN_MEMORY, "w+b")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._keys, self._ends = array("q"), array("q", [0])
        self._in_order = True

    def add(self, row: dict[str, object], key: int | None) -> None:
        """Adds a row; without a key it keeps its place."""
        text = as_text(row).encode()
        key = len(self._keys) if key is None else key
        self._in_order = self._in_order and (not self._keys or self._keys[-1] <= key)
        self._keys.append(key)
        self._ends.append(self._ends[-1] + len(text))
        self._file.write(text)

    def __iter__(self) -> Iterator[str]:
        order = range(len(self._keys))
        for index in order if self._in_order else sorted(order, key=self._keys.__getitem__):
            self._file.seek(self._ends[index])
            yield self._file.read(self._ends[index + 1] - self._ends[index]).decode()


class Results:
    """The small part of each answer, and the tallies: of each suite and of all; memory grows with problems only.

    Args:
        keep_rows: whether the part of each answer is wanted; it goes to a temporary file.
    """

    def __init__(self, keep_rows: bool) -> None:
        from calmstorm.evaluation import Tally

        self.all = Tally()
        self.suites: dict[str, Tally] = {}
        self.answers = self.correct = 0
        self._rows = _Rows() if keep_rows else None
        self._places: dict[str, int] = {}
        """Of problems, in the order in which they were given."""
        self.versions: dict[str, None] = {}
        self.prompt: str | None = None
        """Name and version of the prompt, where we asked."""

    def add_problem(self, problem: Problem) -> None:
        """Notes suite and label version of a problem that is evaluated."""
        self.versions.setdefault(problem.label_version)
        self._places.setdefault(problem.id, len(self._places))
        self._tallies(problem.suite)

    def add(self, trajectory: Trajectory) -> None:
        """Adds a rollout; its row stands in the order of problems and samples, whatever was finished first."""
        place = self._places.setdefault(trajectory.problem_id, len(self._places))
        verdict = trajectory.verdict
        for tally in self._tallies(trajectory.suite):
            tally.add_trajectory(trajectory)
        self._keep(
            {
                "problem_id": trajectory.problem_id,
                "sample": trajectory.sample,
                "answer": trajectory.answer,
                "correct": bool(verdict and verdict.correct),
                "status": verdict.status.value if verdict else "ungraded",
            },
            place << 32 | trajectory.sample,
        )

    def add_answer(self, answer: Answer) -> None:
        """Adds an answer that was made elsewhere."""
        self.add_problem(answer.problem)
        for tally in self._tallies(answer.problem.suite):
            answer.add_to(tally)
        self._keep({"sample": answer.sample, **_row(answer.problem.id, answer.verdict)})

    def summary(self) -> dict[str, object]:
        """Returns the numbers over all answers."""
        summary: dict[str, object] = self.all.summary().model_dump(mode="json")
        summary["label_versions"] = [name for name in self.versions if name]
        summary["prompt_version"] = self.prompt
        if len(self.suites) > 1:
            summary["suites"] = {suite: tally.summary().model_dump(mode="json") for suite, tally in self.suites.items()}
            macro = self._macro()
            summary["macro"] = {"pass_at_1": macro.mean, "ci95": [macro.low, macro.high]} if macro else None
        return summary

    def emit(self, **more: object) -> None:
        """Prints one JSON object: the rows, and `more` after them."""
        if self._rows is None:
            raise ValueError("the rows were not kept")
        sys.stdout.write('{"results": [')
        for number, row in enumerate(self._rows):
            sys.stdout.write(", " + row if number else row)
        sys.stdout.write("], ")
        print(as_text(more).removeprefix("{"), flush=True)

    def show(self, title: str, as_json: bool, budget: Mapping[str, object] | None = None) -> None:
        """Prints everything, for a program or for a person."""
        if as_json:
            self.emit(summary=self.summary(), **({"budget": dict(budget)} if budget else {}))
            return
        if len(self.suites) > 1:
            self._show_suites()
        print_summary(title, self.all.summary())
        versions = [f"labels {name}" for name in self.versions if name]
        if versions or self.prompt:
            say(printable("Versions: " + ", ".join([*versions, f"prompt {self.prompt}"] if self.prompt else versions)))
        if budget:
            say("Attempt budget: " + ", ".join(f"{key} {value}" for key, value in budget.items()))

    def _keep(self, row: dict[str, object], key: int | None = None) -> None:
        if self._rows is not None:
            self._rows.add(row, key)
        self.answers += 1
        self.correct += bool(row["correct"])

    def _tallies(self, suite: str) -> tuple[Tally, Tally]:
        from calmstorm.evaluation import Tally

        return self.all, self.suites.setdefault(suite, Tally())

    def _macro(self) -> Estimate | None:
        """Returns the mean over the suites in which anything was graded."""
        from calmstorm.evaluation import macro_average

        estimates = [tally.summary().estimate for tally in self.suites.values()]
        known = [estimate for estimate in estimates if estimate is not None]
        return macro_average(known) if known else None

    def _show_suites(self) -> None:
        rows = []
        for suite, tally in self.suites.items():
            cell = tally.summary()
            rows.append(
                [suite, str(cell.problems), percent(cell.pass_at_1), percent_interval(cell.ci95), _last_k(cell)]
            )
        macro = self._macro()
        if macro is not None:
            rows.append(["macro average", "", percent(macro.mean), percent_interval((macro.low, macro.high)), ""])
        table(["suite", "problems", "pass@1", "95 % interval", "best of k"], rows)


def _row(problem_id: str, verdict: Verdict) -> dict[str, object]:
    return {
        "id": problem_id,
        "answer": verdict.got,
        "correct": verdict.correct,
        "status": verdict.status.value,
        "protocol_ok": verdict.protocol_ok,
    }


def print_summary(title: str, summary: Summary) -> None:
    """Prints a cell for people."""
    if summary.pass_at_1 is None or summary.ci95 is None:
        rate = "nothing could be graded"
    else:
        rate = f"{percent(summary.pass_at_1)}  (95 % interval {percent_interval(summary.ci95)}, clustered by problem)"
    rows = [
        ["pass@1", rate],
        *([f"pass@{k}", _at_k(summary, k)] for k in summary.pass_at_k if k > 1),
        ["problems x samples", f"{summary.problems} x {summary.samples}"],
        ["code blocks a response", f"{summary.code_blocks:.2f}"],
    ]
    if summary.executions:
        rows.append(["executions a response", f"{summary.executions:.2f}"])
    if summary.response_tokens:
        rows.append(["tokens a response", f"{summary.response_tokens:.0f}"])
    rows += [
        ["no answer", percent(summary.no_answer)],
        ["box as asked for", percent(summary.protocol_ok)],
    ]
    if summary.cut_off:
        rows.append(["cut off at a limit", percent(summary.cut_off)])
    if summary.infrastructure:
        rows.append(["failed by our machinery", f"{summary.infrastructure} responses, in no rate"])
    if summary.ungraded:
        rows.append(["without usable label", f"{summary.ungraded} responses, in no rate"])
    table(["", ""], rows, title)


def print_versions(scores: VersionScores) -> None:
    """Prints the same answers against every version."""
    table(
        ["labels", "problems", "pass@1 (95 %)", "as given", "changed"],
        [
            [
                scored.version,
                str(scored.summary.problems),
                f"{percent(scored.summary.pass_at_1)} ({percent_interval(scored.summary.ci95)})",
                percent(scored.given.pass_at_1),
                str(len(scored.changes)),
            ]
            for scored in scores.versions
        ],
        "The same answers by the labels of each version, and as given",
    )
    if scores.unmatched:
        say(f"{scores.unmatched} of {scores.problems} problems have a text that no version here has")
    for scored in scores.versions:
        for change in scored.changes[:_CHANGES]:
            say(
                printable(
                    f"{scored.version}: {change.problem_id}: label {change.label} where given is {change.given}: "
                    f"{change.correct} of {change.samples} correct, not {change.correct_given}"
                )
            )
        if len(scored.changes) > _CHANGES:
            say(f"{scored.version}: {len(scored.changes) - _CHANGES} more; all of them with --json")


_CHANGES = 5


def print_comparison(first: str, second: str, paired: Paired, macro: Comparison | None) -> None:
    """Prints how a second evaluation compares with a first."""
    rows = {**paired.suites, **({"macro average": macro} if macro else {})}
    table(
        ["suite", "problems", "first", "second", "difference (95 %)", "better / worse"],
        [
            [
                suite,
                str(compared.problems),
                percent(compared.first),
                percent(compared.second),
                f"{100 * compared.difference:+.1f} ({100 * compared.ci95[0]:+.1f} to {100 * compared.ci95[1]:+.1f})",
                f"{compared.better} / {compared.worse}",
            ]
            for suite, compared in rows.items()
        ],
        f"{first} -> {second}: points of pass@1 on the problems of both, paired and clustered by problem",
    )
    for count, what in (
        (paired.only_first, "problems only the first has"),
        (paired.only_second, "problems only the second has"),
        (paired.other_label, "problems graded against different labels, left out"),
        (paired.infrastructure[0], "answers of the first failed by our machinery, in no rate"),
        (paired.infrastructure[1], "answers of the second failed by our machinery, in no rate"),
    ):
        if count:
            say(f"{count} {what}")


def _last_k(cell: Summary) -> str:
    k = max(cell.pass_at_k, default=1)
    return f"pass@{k} {_at_k(cell, k)}" if k > 1 else ""


def _at_k(cell: Summary, k: int) -> str:
    return f"{percent(cell.pass_at_k[k])} ({percent_interval(cell.pass_at_k_ci95[k])})"
