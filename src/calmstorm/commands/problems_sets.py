"""`calm problems audit` and `calm problems split`: what takes several benchmarks at once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands.console import emit, note, say, table
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.problems.audit import Audit
    from calmstorm.problems.benchmarks import Version
    from calmstorm.problems.contamination import Finding, TextIndex
    from calmstorm.problems.splits import Candidate, Sizes, Split
    from calmstorm.records import Problem

_Folder = Annotated[Path | None, typer.Option(help="Folder of benchmark data; else that of CALM_BENCHMARKS.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def audit(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks, or versions (nl4opt/llmopt); else all.", show_default=False)
    ] = None,
    folder: _Folder = None,
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
    as_json: _Json = False,
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
            for number, each in enumerate(audits):
                write_csv(file, each, header=not number)
        note(f"written to {out}")
    if as_json:
        emit({"benchmarks": {each.benchmark: _audit_as_json(each) for each in audits}})
        return
    for each in audits:
        _print_audit(each, limit)


def _chosen(names: Sequence[str] | None, folder: Path | None) -> dict[str, list[Version]]:
    """Returns the versions to compare by benchmark: those named that are there."""
    from calmstorm.problems.benchmarks import VERSIONS, Kind, locate, require, versions_of

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
        "problems": len(audit.items),
        "shared_texts": audit.shared,
        "disagreeing": audit.disagreeing,
        "pairs": [pair.model_dump(mode="json") for pair in audit.pairs],
        "items": [
            {
                "key": item.key,
                "agreement": item.agreement.value,
                "labels": {name: each.problem.label for name, each in item.labels.items()},
                "ids": {name: each.problem.id for name, each in item.labels.items()},
                "edited": sorted(item.edited),
                "suspects": item.suspects,
                "reference": None if item.reference is None else shown(item.reference),
                "reference_agrees_with": item.agrees_with_reference,
            }
            for item in audit.items
        ],
    }


def _print_audit(audit: Audit, limit: int) -> None:
    from calmstorm.printable import printable
    from calmstorm.problems.audit import Agreement, shown

    counts = Counter(item.agreement for item in audit.items)
    summary = ", ".join(f"{counts[kind]} {kind.value}" for kind in Agreement if counts[kind])
    say(f"{audit.benchmark}: {len(audit.items)} problems in {len(audit.versions)} versions: {summary}")
    say(f"of {audit.shared} texts that versions share to the letter, {audit.disagreeing} have labels that disagree")
    rows = [
        [f"{pair.first} / {pair.second}", *(str(getattr(pair, column)) for column in _PAIR_COLUMNS)]
        for pair in audit.pairs
        if pair.differs or pair.no_number or pair.rounding
    ]
    if rows:
        table(["versions", *(column.replace("_", " ") for column in _PAIR_COLUMNS)], rows)
    bad = [item for item in audit.items if item.agreement in (Agreement.DIFFERS, Agreement.NO_NUMBER) or item.suspects]
    columns = ["problem", "labels", "agreement", "suspects"]
    columns += ["reference"] if any(item.reference for item in audit.items) else []
    if bad[:limit]:
        table(
            columns,
            [
                [
                    item.key,
                    printable(
                        "\n".join(
                            f"{name} {each.problem.id}: {shown(each.problem)}" for name, each in item.labels.items()
                        )
                    ),
                    item.agreement.value,
                    printable("\n".join(item.suspects)),
                    ""
                    if item.reference is None
                    else f"{shown(item.reference)}: as {', '.join(item.agrees_with_reference) or 'none'}",
                ][: len(columns)]
                for item in bad[:limit]
            ],
        )
    if len(bad) > limit:
        say(f"{len(bad) - limit} more; all of them with --out FILE.csv or --json")
    say("")


_PAIR_COLUMNS = ("paired", "edited", "same", "rounding", "differs", "differs_edited", "no_number", "neither")


# ---------------------------------------------------------------- split


def split(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Benchmarks, or versions (nl4opt/llmopt); else the paper's eight.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write sft, rl and test.jsonl and splits.json to.")] = None,
    folder: _Folder = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same split.")] = 1,
    sizes: Annotated[
        list[str] | None, typer.Option(help="Other sizes than the paper's: nl4opt=8/8/30 is SFT/RL/test; repeatable.")
    ] = None,
    against: Annotated[
        list[Path] | None, typer.Option(help="Training file to look for the problems in; repeatable.")
    ] = None,
    exclude: Annotated[bool, typer.Option("--exclude", help="Leave out what occurs in the training files.")] = False,
    suspects: Annotated[bool, typer.Option("--suspects", help="Draw problems with doubtful labels too.")] = False,
    as_json: _Json = False,
) -> None:
    """Split benchmarks into SFT, RL and test parts that share no text, within or across benchmarks."""
    from calmstorm.problems.benchmarks import benchmark_folder
    from calmstorm.problems.contamination import TextIndex, normalised
    from calmstorm.problems.splits import draw_splits

    where = benchmark_folder(folder)
    versions, amounts = _wanted(names, sizes)
    if out and any((out / f"{name}.jsonl").exists() for name in ("sft", "rl", "test")):
        raise InputError(f"{out}: holds a split already; name another folder with --out")
    pools = {name: _pool(version, where, suspects) for name, version in versions.items()}
    index = TextIndex()
    texts = {}
    for pool in pools.values():
        for candidate in pool if against else ():
            name = f"{candidate.problem.suite}-{candidate.problem.id}"
            texts[name] = normalised(candidate.problem.question)
            index.add(name, candidate.problem.question)
    findings = _scan(against or [], index)
    found = {texts[finding.match.name] for each in findings.values() for finding in each}
    result = draw_splits(pools, amounts, seed, found if exclude else ())
    report = _report(result, versions, seed, findings)
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


def _pool(version: Version, folder: Path | None, suspects: bool) -> list[Candidate]:
    from calmstorm.problems.benchmarks import doubts, load_version
    from calmstorm.problems.splits import Candidate

    rows = zip(load_version(version, folder), doubts(version, folder), strict=True)
    return [Candidate(problem, bool(doubt) and not suspects) for problem, doubt in rows]


def _scan(paths: Sequence[Path], index: TextIndex) -> dict[str, list[Finding]]:
    from calmstorm.problems.contamination import scan

    return {str(path): list(scan(path, index)) for path in paths}


def _report(
    result: Split, versions: dict[str, Version], seed: int, findings: dict[str, list[Finding]]
) -> dict[str, object]:
    from calmstorm.problems.splits import shared_texts

    where = {problem.id: part for part, problems in result.parts.items() for problem in problems}
    return {
        "seed": seed,
        "versions": {
            name: {"version": version.name, "revision": version.source.revision, "licence": version.licence}
            for name, version in versions.items()
        },
        "parts": {part.value: len(problems) for part, problems in result.parts.items()},
        "benchmarks": [each.model_dump(mode="json") for each in result.benchmarks],
        "shared_texts": {f"{one}/{other}": count for (one, other), count in shared_texts(_by_part(result)).items()},
        "contamination": {
            path: {
                "found": [
                    {
                        "problem": each.match.name,
                        "part": where[each.match.name].value if each.match.name in where else None,
                        "likeness": each.match.likeness.value,
                        "share": round(each.match.share, 3),
                        "place": each.place,
                    }
                    for each in found
                ],
                "problems": len({each.match.name for each in found}),
                "drawn": dict(
                    Counter(where[name].value for name in {each.match.name for each in found} if name in where)
                ),
            }
            for path, found in findings.items()
        },
    }


def _by_part(result: Split) -> dict[str, list[Problem]]:
    return {part.value: problems for part, problems in result.parts.items()}


def _write(out: Path, result: Split, report: dict[str, object]) -> None:
    from calmstorm.problems.files import write_problems

    out.mkdir(parents=True, exist_ok=True)
    for part, problems in result.parts.items():
        write_problems(out / f"{part.value}.jsonl", problems)
    (out / "splits.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    note(f"written to {out}")


def _print_split(result: Split, report: dict[str, object]) -> None:
    from calmstorm.problems.splits import Part

    rows = []
    for each in result.benchmarks:
        parts = [
            str(each.drawn[part]) + ("" if each.drawn[part] == each.asked[part] else f" of {each.asked[part]}")
            for part in (Part.SFT, Part.RL, Part.TEST)
        ]
        left = {
            "without number": each.without_number,
            "suspect": each.suspect,
            "in training": each.contaminated,
            "elsewhere": each.elsewhere,
        }
        why = ", ".join(f"{count} {what}" for what, count in left.items() if count)
        rows.append([each.benchmark, str(each.rows), *parts, why])
    table(["benchmark", "rows", "SFT", "RL", "test", "left out"], rows)
    shared = report["shared_texts"]
    assert isinstance(shared, dict)  # noqa: S101
    say("texts shared: " + ", ".join(f"{pair} {count}" for pair, count in shared.items()))
    found = report["contamination"]
    assert isinstance(found, dict)  # noqa: S101
    for path, each in found.items():
        drawn = ", ".join(f"{count} drawn for {part}" for part, count in each["drawn"].items()) or "none of them drawn"
        say(f"{path}: holds {each['problems']} of the problems, {drawn}")
