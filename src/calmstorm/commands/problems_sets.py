"""`calm problems audit` and `calm problems split`: what takes several benchmarks at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, note, say, table
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.problems.audit import Audit, AuditedProblem
    from calmstorm.problems.benchmarks_table import Version
    from calmstorm.problems.contamination import Occurrence
    from calmstorm.problems.splits import Sizes, Split


def audit(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks, or versions (nl4opt/llmopt); else all.", show_default=False)
    ] = None,
    folder: options.Folder = None,
    reference: Annotated[
        Path | None, typer.Option(help="A reference solution: rows of a text (or key) and an answer.")
    ] = None,
    as_published: Annotated[
        bool,
        typer.Option(
            "--as-published",
            help="Count as others do: of several named results the last, magic numbers (-99999) as numbers.",
        ),
    ] = False,
    out: Annotated[Path | None, typer.Option(help="CSV file: one line for each problem and version.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Problems to show of each benchmark.")] = 20,
    as_json: options.AsJson = False,
) -> None:
    """Set the labels of all versions side by side: where they agree, and which are suspect."""
    from calmstorm.problems.audit import audit_benchmark, read_reference, write_csv
    from calmstorm.problems.benchmarks import benchmark_folder

    where = benchmark_folder(folder)
    solution = read_reference(reference) if reference else {}
    audits = [
        audit_benchmark(benchmark, versions, where, as_published=as_published, reference=solution)
        for benchmark, versions in _chosen(names, where).items()
    ]
    if out:
        with out.open("w", encoding="utf-8", newline="") as file:
            write_csv(file, audits)
        note(f"written to {out}")
    if as_json:
        emit({"benchmarks": {result.benchmark: _audit_as_json(result) for result in audits}})
        return
    for result in audits:
        _print_audit(result, limit)


def _chosen(names: Sequence[str] | None, folder: Path | None) -> dict[str, list[Version]]:
    """Returns the versions to compare by benchmark: those named that are there."""
    from calmstorm.problems.benchmarks import locate, require, versions_of
    from calmstorm.problems.benchmarks_table import VERSIONS, Kind

    if names:
        wanted = [version for name in names for version in versions_of(name)]
        for name in names:
            if "/" in name:
                require(versions_of(name)[0], folder)
    else:
        wanted = list(VERSIONS)
    chosen: dict[str, list[Version]] = {}
    for version in wanted:
        if version.kind is Kind.TEST and locate(version, folder) and version not in chosen.get(version.benchmark, []):
            chosen.setdefault(version.benchmark, []).append(version)
    if not chosen:
        raise InputError("none of these benchmarks is there; name the folder with --folder or CALM_BENCHMARKS")
    return chosen


def _audit_as_json(audit: Audit) -> dict[str, object]:
    from calmstorm.problems.audit import shown

    return {
        "versions": list(audit.versions),
        "problems": len(audit.problems),
        "shared_texts": audit.shared,
        "disagreeing": audit.disagreeing,
        "pairs": [pair.model_dump(mode="json") for pair in audit.pairs],
        "items": [
            {
                "key": audited.matched.key,
                "agreement": audited.agreement.value,
                "labels": {name: problem.label for name, problem in audited.matched.problems.items()},
                "ids": {name: problem.id for name, problem in audited.matched.problems.items()},
                "edited": sorted(audited.matched.edited),
                "suspects": audited.suspects,
                "reference": None if audited.reference is None else shown(audited.reference),
                "reference_agrees_with": audited.agrees_with_reference,
            }
            for audited in audit.problems
        ],
    }


def _print_audit(audit: Audit, limit: int) -> None:
    from calmstorm.problems.audit import DISAGREE, LabelAgreement

    counts = Counter(audited.agreement for audited in audit.problems)
    summary = ", ".join(f"{counts[kind]} {kind.value}" for kind in LabelAgreement if counts[kind])
    say(f"{audit.benchmark}: {len(audit.problems)} problems in {len(audit.versions)} versions: {summary}")
    say(f"of {audit.shared} texts that versions share to the letter, {audit.disagreeing} have labels that disagree")
    pairs = [
        [f"{pair.first} / {pair.second}", *(str(getattr(pair, column)) for column in _PAIR_COLUMNS)]
        for pair in audit.pairs
        if pair.differs or pair.no_number or pair.rounding
    ]
    if pairs:
        table(["versions", *(column.replace("_", " ") for column in _PAIR_COLUMNS)], pairs)
    bad = [audited for audited in audit.problems if audited.agreement in DISAGREE or audited.suspects]
    columns = ["problem", "labels", "agreement", "suspects"]
    columns += ["reference"] if any(audited.reference for audited in audit.problems) else []
    if bad[:limit]:
        table(columns, [_cells(audited)[: len(columns)] for audited in bad[:limit]])
    if len(bad) > limit:
        say(f"{len(bad) - limit} more; all of them with --out FILE.csv or --json")
    say("")


def _cells(audited: AuditedProblem) -> list[str]:
    from calmstorm.printable import printable
    from calmstorm.problems.audit import shown

    labels = [f"{name} {problem.id}: {shown(problem)}" for name, problem in audited.matched.problems.items()]
    reference = ""
    if audited.reference is not None:
        reference = f"{shown(audited.reference)}: as {', '.join(audited.agrees_with_reference) or 'none'}"
    return [
        audited.matched.key,
        printable("\n".join(labels)),
        audited.agreement.value,
        printable("\n".join(audited.suspects)),
        reference,
    ]


_PAIR_COLUMNS = ("paired", "edited", "same", "rounding", "differs", "differs_edited", "no_number", "neither")


# ---------------------------------------------------------------- split


def split(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Benchmarks, or versions (nl4opt/llmopt); else the paper's eight.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write sft, rl and test.jsonl and splits.json to.")] = None,
    folder: options.Folder = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 1,
    sizes: Annotated[
        list[str] | None, typer.Option(help="Other sizes than the paper's: nl4opt=8/8/30 is SFT/RL/test; repeatable.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Training file to look for the problems in; repeatable.")
    ] = None,
    exclude: Annotated[bool, typer.Option("--exclude", help="Leave out what occurs in the training files.")] = False,
    suspects: Annotated[bool, typer.Option("--suspects", help="Draw problems with doubtful labels too.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Split benchmarks into SFT, RL and test parts that share no text, within or across benchmarks."""
    from calmstorm.problems.benchmarks import Labelled, benchmark_folder, load_labelled
    from calmstorm.problems.contamination import TextIndex, scan
    from calmstorm.problems.splits import draw_splits
    from calmstorm.problems.texts import normalised

    where = benchmark_folder(folder)
    versions, amounts = _wanted(names, sizes)
    if out and any((out / f"{name}.jsonl").exists() for name in ("sft", "rl", "test")):
        raise InputError(f"{out}: holds a split already; name another folder with --out")
    pools = {
        name: [Labelled(problem, "" if suspects else doubt) for problem, doubt in load_labelled(version, where)]
        for name, version in versions.items()
    }
    index = TextIndex()
    texts = {}
    for problem in (problem for pool in pools.values() for problem, _ in pool if against):
        name = f"{problem.suite}-{problem.id}"
        texts[name] = normalised(problem.question)
        index.add(name, problem.question)
    occurrences = {str(path): list(scan(path, index)) for path in against or ()}
    contaminated = {texts[occurrence.match.name] for found in occurrences.values() for occurrence in found}
    result = draw_splits(pools, amounts, seed, contaminated if exclude else ())
    report = _report(result, versions, seed, occurrences)
    if out:
        _write(out, result, report)
    if as_json:
        emit(report)
    else:
        _print_split(result, report)


def _wanted(names: Sequence[str] | None, sizes: Sequence[str] | None) -> tuple[dict[str, Version], dict[str, Sizes]]:
    from calmstorm.problems.benchmarks import find_version
    from calmstorm.problems.splits import PAPER_SIZES, Sizes

    given = {}
    for text in sizes or ():
        name, _, numbers = text.partition("=")
        parts = numbers.split("/")
        if len(parts) != 3 or not all(part.isdecimal() for part in parts):
            raise InputError(f"--sizes is {text!r}; give it as BENCHMARK=SFT/RL/TEST, such as nl4opt=8/8/30")
        given[find_version(name).benchmark] = Sizes(*map(int, parts))
    versions = {}
    for name in names or dict.fromkeys([*PAPER_SIZES, *given]):
        version = find_version(name)
        if version.benchmark in versions:
            raise InputError(f"{name!r}: {version.benchmark} is named twice; a split takes one version of a benchmark")
        versions[version.benchmark] = version
    known = {**PAPER_SIZES, **given}
    lacking = [name for name in versions if name not in known]
    if lacking:
        raise InputError(
            f"{lacking[0]!r}: the paper has no sizes for it; give them with --sizes {lacking[0]}=SFT/RL/TEST"
        )
    return versions, {name: known[name] for name in versions}


class _SplitReport(TypedDict):
    """What `splits.json` and `--json` hold."""

    seed: int
    versions: dict[str, dict[str, str]]
    parts: dict[str, int]
    benchmarks: list[dict[str, object]]
    shared_texts: dict[str, int]
    contamination: dict[str, _Contamination]


class _Contamination(TypedDict):
    """Which of the problems one training file holds."""

    found: list[dict[str, object]]
    problems: int
    drawn: dict[str, int]


def _report(
    result: Split, versions: dict[str, Version], seed: int, occurrences: dict[str, list[Occurrence]]
) -> _SplitReport:
    from calmstorm.problems.splits import shared_texts

    shared = shared_texts({part.value: problems for part, problems in result.parts.items()})
    part_of = {problem.id: part.value for part, problems in result.parts.items() for problem in problems}
    return {
        "seed": seed,
        "versions": {
            name: {"version": version.name, "revision": version.source.revision, "licence": version.licence}
            for name, version in versions.items()
        },
        "parts": {part.value: len(problems) for part, problems in result.parts.items()},
        "benchmarks": [benchmark.model_dump(mode="json") for benchmark in result.benchmarks],
        "shared_texts": {f"{one}/{other}": count for (one, other), count in shared.items()},
        "contamination": {path: _contamination(found, part_of) for path, found in occurrences.items()},
    }


def _contamination(occurrences: Sequence[Occurrence], part_of: Mapping[str, str]) -> _Contamination:
    names = {match.name for match, _ in occurrences}
    return {
        "found": [
            {
                "problem": match.name,
                "part": part_of.get(match.name),
                "likeness": match.likeness.value,
                "share": round(match.share, 3),
                "place": place,
            }
            for match, place in occurrences
        ],
        "problems": len(names),
        "drawn": dict(Counter(part_of[name] for name in names if name in part_of)),
    }


def _write(out: Path, result: Split, report: _SplitReport) -> None:
    from calmstorm.problems.files import write_problems

    out.mkdir(parents=True, exist_ok=True)
    for part, problems in result.parts.items():
        write_problems(out / f"{part.value}.jsonl", problems)
    (out / "splits.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    note(f"written to {out}")


def _print_split(result: Split, report: _SplitReport) -> None:
    from calmstorm.problems.splits import Part

    rows = []
    for benchmark in result.benchmarks:
        asked, drawn = benchmark.asked, benchmark.drawn
        parts = [
            str(drawn[part]) if drawn[part] == asked[part] else f"{drawn[part]} of {asked[part]}"
            for part in (Part.SFT, Part.RL, Part.TEST)
        ]
        left_out = {
            "without number": benchmark.without_number,
            "suspect": benchmark.suspect,
            "in training": benchmark.contaminated,
            "elsewhere": benchmark.elsewhere,
        }
        why = ", ".join(f"{count} {what}" for what, count in left_out.items() if count)
        rows.append([benchmark.benchmark, str(benchmark.rows), *parts, why])
    table(["benchmark", "rows", "SFT", "RL", "test", "left out"], rows)
    say("texts shared: " + ", ".join(f"{pair} {count}" for pair, count in report["shared_texts"].items()))
    for path, held in report["contamination"].items():
        drawn_for = ", ".join(f"{count} drawn for {part}" for part, count in held["drawn"].items())
        say(f"{path}: holds {held['problems']} of the problems, {drawn_for or 'none of them drawn'}")
