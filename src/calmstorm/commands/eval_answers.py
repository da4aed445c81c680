"""`calm eval --responses` and `--compare`: answers that are there, scored, by other labels too, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.commands.console import emit
from calmstorm.commands.eval_results import Results, print_comparison, print_versions
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.problems.benchmarks_table import Version


def score(
    source: str, labels: str | None, folder: Path | None, limit: int | None, tolerance: float, as_json: bool
) -> None:
    """Grades responses that were made elsewhere, or shows the grades of a run; and, if asked, by all versions."""
    from calmstorm.evaluation.answers import is_run, read_answers
    from calmstorm.evaluation.versions import score_by_versions

    results = Results(keep_rows=as_json)
    for response in read_answers(source, limit, tolerance):
        results.add_answer(response)
    scores = None
    if labels is not None:
        versions, where = _versions(labels, folder)
        scores = score_by_versions(read_answers(source, limit, tolerance), versions, where, tolerance)
        if not scores.versions:
            raise InputError(f"{source}: no version of {labels} that is here has any of its problem texts")
    if as_json:
        summary = results.summary()
        if not is_run(source):
            for unknown in ("response_tokens", "executions"):
                summary.pop(unknown)
        results.emit(summary=summary, **({} if scores is None else {"labels": scores.model_dump(mode="json")}))
        return
    results.show(source if is_run(source) else Path(source).name, as_json)
    if scores is not None:
        print_versions(scores)


def _versions(labels: str, folder: Path | None) -> tuple[list[Version], Path | None]:
    """Returns the versions that `--labels` means and that are there."""
    from calmstorm.problems.benchmarks import benchmark_folder, locate, require, versions_of
    from calmstorm.problems.benchmarks_table import VERSIONS, Kind

    where = benchmark_folder(folder)
    if labels == "all":
        present = [version for version in VERSIONS if version.kind is Kind.TEST and locate(version, where)]
    else:
        named = [version for version in versions_of(labels) if version.kind is not Kind.DECLARATIONS]
        if not named:
            raise InputError(f"--labels is {labels!r}, which is published without answers; name another version")
        present = [version for version in named if locate(version, where)]
        if not present:
            require(named[0], where)
    if not present:
        raise InputError("no benchmark data are here; name their folder with --folder or CALM_BENCHMARKS")
    return present, where


def compare(first: str, second: str, limit: int | None, tolerance: float, as_json: bool) -> None:
    """Compares two evaluations problem by problem."""
    from calmstorm.evaluation import macro_comparison
    from calmstorm.evaluation.answers import compare_answers, read_answers

    paired = compare_answers(read_answers(first, limit, tolerance), read_answers(second, limit, tolerance))
    macro = macro_comparison(paired.suites) if len(paired.suites) > 1 else None
    if as_json:
        shown = paired.model_dump(mode="json")
        emit({"first": first, "second": second, **shown, "macro": macro.model_dump(mode="json") if macro else None})
        return
    print_comparison(first, second, paired, macro)
