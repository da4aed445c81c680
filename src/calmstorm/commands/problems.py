"""`calm problems`: published benchmarks and files of one's own: what there is, whether it holds, where it differs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, note, say, table
from calmstorm.commands.problems_sets import audit, split
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.grading import ProblemCheck
    from calmstorm.problems.benchmarks_table import Version

Source = Annotated[
    str, typer.Argument(help=f"{options.PROBLEMS_HELP}.", show_default=False, metavar=options.PROBLEMS_METAVAR)
]
OptionalSource = Annotated[
    str | None, typer.Argument(help=f"{options.PROBLEMS_HELP}.", show_default=False, metavar="[FILE|NAME]")
]


def register(app: typer.Typer) -> None:
    """Adds `problems` with its subcommands."""
    group = typer.Typer(help="List, show, check, audit, split and generate problems.", rich_markup_mode=None)
    group.command("list")(list_problems)
    group.command("show")(show)
    group.command("check")(check)
    group.command("audit")(audit)
    group.command("split")(split)
    group.command("generate")(generate)
    app.add_typer(group, name="problems")


def list_problems(
    source: OptionalSource = None,
    folder: options.Folder = None,
    download: options.Download = False,
    question: options.Question = None,
    answer: options.Answer = None,
    limit: options.Limit = 20,
    as_json: options.AsJson = False,
) -> None:
    """List the published benchmarks, what is there and under which terms; or the problems of one, or of a file."""
    from calmstorm.problems.benchmarks import open_problems

    if source is None:
        _list_versions(folder, as_json)
        return
    problems, _ = open_problems(source, folder, question=question, answer=answer, limit=limit, download=download)
    if as_json:
        rows = [
            {
                "id": problem.id,
                "suite": problem.suite,
                "label": problem.label,
                "status": problem.status.value,
                "question": problem.question,
            }
            for problem in problems
        ]
        emit({"problems": rows})
        return
    table(
        ["id", "label", "problem"],
        [[_beginning(problem.id), str(problem.label), _beginning(problem.question)] for problem in problems],
    )


def show(
    source: Source,
    id: Annotated[str, typer.Argument(help="Id of the problem, or its row number.", show_default=False)],
    folder: options.Folder = None,
    download: options.Download = False,
    question: options.Question = None,
    answer: options.Answer = None,
    as_json: options.AsJson = False,
) -> None:
    """Show one problem whole."""
    from calmstorm.printable import printable
    from calmstorm.problems.benchmarks import open_problems

    problems, version = open_problems(source, folder, question=question, answer=answer, download=download)
    row, problem = next(((row, problem) for row, problem in enumerate(problems) if problem.id == id), (0, None))
    if problem is None:
        raise InputError(f"{source}: has no problem {id!r}; see the ids with: calm problems list {source}")
    if as_json:
        emit(problem)
        return
    origin = problem.label_version if "/" in problem.label_version else problem.suite
    label = f"label: {problem.label}  ({problem.status.value})"
    if problem.tolerance is not None:
        label += f"\ntolerance: {problem.tolerance:g}, as the label is rounded"
    if doubt := _doubt(version, folder, row):
        label += f"\ndoubtful: {doubt}"
    say(printable(f"{problem.id}  ({origin})\n\n{problem.question}\n\n{label}"))


def check(
    source: OptionalSource = None,
    folder: options.Folder = None,
    download: options.Download = False,
    question: options.Question = None,
    answer: options.Answer = None,
    limit: options.Limit = None,
    as_json: options.AsJson = False,
) -> None:
    """Check that each published answer scores 1 and a corrupted one 0, and that a benchmark has its published counts.

    Without a name, every version that is there is checked. Exit status 1 when something is wrong.
    """
    from calmstorm.grading import check_problems
    from calmstorm.problems.benchmarks import open_problems
    from calmstorm.records import LabelStatus

    if source is None:
        _check_all(folder, as_json)
        return
    problems, version = open_problems(source, folder, question=question, answer=answer, limit=limit, download=download)
    result = check_problems(problems)
    if version is not None and limit is None:
        result = _with_counts(version, result)
    if version is None and result.rows == result.statuses[LabelStatus.MISSING]:
        note("no row has an answer; if a column holds one, name it with --answer")
    if as_json:
        emit(result)
    else:
        counts = [[status.value, str(count)] for status, count in result.statuses.items() if count]
        name = version.name if version else Path(source).name
        table([name, "rows"], [*counts, ["all", str(result.rows)], ["answers checked", str(result.checked)]])
    _finish_check([result], as_json)


def generate(
    count: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same problems.")] = 1,
    suite: Annotated[str, typer.Option(help="Name of the suite, and beginning of the ids.")] = "generated",
    sizes: Annotated[
        str, typer.Option(help="Sizes to draw from, such as 2,3; or easy (2,3) or complex (4,5,6).")
    ] = "easy",
    families: Annotated[
        str | None, typer.Option(help="Families to take in turn, such as diet,knapsack; else all.")
    ] = None,
    side: Annotated[
        str, typer.Option(help="evaluate, adapt or pretrain: which of three disjoint sets of texts to draw from.")
    ] = "evaluate",
    out: Annotated[Path | None, typer.Option(help="File to write, as JSON Lines; else standard output.")] = None,
) -> None:
    """Generate word problems whose answers two solvers agree on, as JSON Lines with their reference models."""
    from calmstorm.problems.generator import FAMILIES, Side
    from calmstorm.problems.generator import generate as generated
    from calmstorm.progress import track

    if side not in list(Side):
        raise InputError(f"--side is {side!r}; it must be one of {', '.join(Side)}")
    problems = generated(
        count,
        seed=seed,
        suite=suite,
        sizes=_sizes(sizes),
        side=Side(side),
        families=tuple(part.strip() for part in families.split(",")) if families else tuple(FAMILIES),
    )
    first = next(problems)  # a wrong family is said before a file is made
    with ExitStack() as stack:
        file = stack.enter_context(out.open("w", encoding="utf-8")) if out else None
        advance = stack.enter_context(track("problems", count))
        for problem in chain([first], problems):
            print(problem.model_dump_json(), file=file)
            advance(problem.family)
    if out:
        note(f"{count} problems written to {out}")


def _sizes(text: str) -> tuple[int, ...]:
    from calmstorm.problems.generator import COMPLEX_SIZES, EASY_SIZES

    if text in ("easy", "complex"):
        return EASY_SIZES if text == "easy" else COMPLEX_SIZES
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 2 <= int(part) <= 6 for part in parts):
        raise InputError(f"--sizes is {text!r}; give numbers from 2 to 6 with commas between, or easy, or complex")
    return tuple(map(int, parts))


# ---------------------------------------------------------------- benchmarks


def _doubt(version: Version | None, folder: Path | None, row: int) -> str:
    """Returns why the label of a row may be wrong; nothing where there is no doubt."""
    from calmstorm.problems.benchmarks import benchmark_folder, load_labelled

    if version is None or not version.results:
        return ""
    return next(islice(load_labelled(version, benchmark_folder(folder)), row, None)).doubt


def _with_counts(version: Version, result: ProblemCheck) -> ProblemCheck:
    """Adds where the counts differ from the published ones, and takes away blank texts that were published so."""
    from calmstorm.problems.benchmarks import count_differences

    blank = [problem for problem in result.problems if problem.endswith("the problem text is empty")]
    known = blank if len(blank) == version.blank else []
    others = [problem for problem in result.problems if problem not in known]
    return result.model_copy(update={"problems": (*count_differences(version, result.statuses), *others)})


def _check_all(folder: Path | None, as_json: bool) -> None:
    from calmstorm.grading import check_problems
    from calmstorm.problems.benchmarks import benchmark_folder, load_version, locate
    from calmstorm.problems.benchmarks_table import VERSIONS

    where = benchmark_folder(folder)
    results = {
        version.name: _with_counts(version, check_problems(load_version(version, where)))
        for version in VERSIONS
        if locate(version, where)
    }
    if not results:
        raise InputError("no benchmark data were found; name a file, or their folder with --folder or CALM_BENCHMARKS")
    if as_json:
        emit({"versions": {name: result.model_dump(mode="json") for name, result in results.items()}})
    else:
        rows = [
            [name, str(result.rows), _counts(result), str(result.checked), "no" if result.problems else "yes"]
            for name, result in results.items()
        ]
        table(["benchmark", "rows", "labels", "answers checked", "holds"], rows)
    _finish_check(list(results.values()), as_json)


def _finish_check(results: Sequence[ProblemCheck], as_json: bool) -> None:
    """Prints what is wrong, where it is not in the JSON already, and ends with status 1 if anything is."""
    from calmstorm.printable import printable

    problems = [problem for result in results for problem in result.problems]
    for problem in () if as_json else problems:
        say(printable(problem))
    if problems:
        raise typer.Exit(1)


def _counts(result: ProblemCheck) -> str:
    return ", ".join(f"{count} {status.value}" for status, count in result.statuses.items() if count)


def _list_versions(folder: Path | None, as_json: bool) -> None:
    from calmstorm.problems.benchmarks import benchmark_folder, locate
    from calmstorm.problems.benchmarks_table import VERSIONS

    where = benchmark_folder(folder)
    there = {version.name: locate(version, where) is not None for version in VERSIONS}
    if as_json:
        emit(
            {
                "folder": None if where is None else str(where),
                "versions": [
                    {
                        **version.model_dump(mode="json", exclude={"source"}),
                        "name": version.name,
                        "rows": version.rows,
                        "there": there[version.name],
                        "repository": version.source.repository,
                        "revision": version.source.revision,
                        "address": version.address,
                    }
                    for version in VERSIONS
                ],
            }
        )
        return
    table(
        ["benchmark", "rows", "use", "here", "licence", "published by"],
        [
            [
                version.name + ("  (default)" if version.default else ""),
                str(version.rows),
                version.kind.value,
                "yes" if there[version.name] else "hub" if version.hub else "no",
                version.licence,
                f"{version.source.repository} @ {version.source.revision[:7]}",
            ]
            for version in VERSIONS
        ],
    )
    if not any(there.values()):
        note(
            "no data are here: name their folder with --folder or CALM_BENCHMARKS; where to get each: --json, 'address'"
        )


def _beginning(text: str, characters: int = 90) -> str:
    from calmstorm.printable import printable

    flat = " ".join(printable(text).split())
    return flat if len(flat) <= characters else flat[: characters - 3] + "..."
