"""Published benchmarks by name: finds a version's file, reads it by the version's own rules, checks its counts.

The data are looked for under a folder of the user's (`--folder` or the variable CALM_BENCHMARKS), either in the layout
of the table or as clones of the repositories that publish them; a few files can be fetched from the Hugging Face hub.
Nothing is shipped, as several licences forbid it. Texts are passed on verbatim, row by row.
"""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from calmstorm.errors import InputError, MissingExtraError, ProblemFileError, WorkError
from calmstorm.problems.benchmarks_results import choose_objective
from calmstorm.problems.benchmarks_table import VERSIONS, Version
from calmstorm.problems.files import load_problems, problems_with_rows, published_label
from calmstorm.problems.labels import Label, parse_label, status_word
from calmstorm.problems.rows import read_rows
from calmstorm.records import LabelStatus, Problem

FOLDER_VARIABLE = "CALM_BENCHMARKS"
"""Environment variable that names the folder of benchmark data."""
_HALF_A_CENT = 0.005
_PAPER_TOLERANCE = 1e-3
"""What an answer is held against by default (paper eq. 3); a rounded label never needs less."""


class Labelled(NamedTuple):
    """A problem as one version has it."""

    problem: Problem
    doubt: str = ""
    """Why its published label may not be the objective; empty where there is no doubt."""


def versions_of(name: str) -> tuple[Version, ...]:
    """Returns the versions that a name stands for: all of a benchmark, or the one of `benchmark/version`.

    Raises:
        InputError: No version has that name; the message names near ones.
    """
    wanted = name.strip().lower()
    versions = tuple(version for version in VERSIONS if wanted in (version.benchmark, version.name))
    if versions:
        return versions
    benchmarks = list(dict.fromkeys(version.benchmark for version in VERSIONS))
    names = [*benchmarks, *(version.name for version in VERSIONS)]
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.5) or benchmarks
    raise InputError(
        f"{name!r} is no benchmark; near names are {', '.join(near)}: see them all with calm problems list"
    )


def find_version(name: str) -> Version:
    """Returns the version of a name; the bare name of a benchmark stands for its default version.

    Raises:
        InputError: No version has that name.
    """
    versions = versions_of(name)
    return next((version for version in versions if version.default), versions[0])


def benchmark_folder(given: str | Path | None = None) -> Path | None:
    """Returns the folder of benchmark data: the given one, else that of the environment, else None.

    Raises:
        InputError: The folder is not there.
    """
    value = given or os.environ.get(FOLDER_VARIABLE)
    if not value:
        return None
    folder = Path(value)
    if not folder.is_dir():
        said = "--folder" if given else FOLDER_VARIABLE
        raise InputError(f"{folder}: is no folder; {said} must name the folder that holds the benchmark data")
    return folder


def locate(version: Version, folder: Path | None) -> Path | None:
    """Returns the file of a version under a folder, in our layout or in a clone of its repository; None if absent."""
    if folder is None:
        return None
    clone = folder / version.source.repository.split("/")[1] / version.path
    return next((path for path in (folder / version.file, clone) if path.is_file()), None)


def require(version: Version, folder: Path | None) -> Path:
    """Returns the file of a version.

    Raises:
        InputError: It is not there; the message says where to get it and where to put it.
    """
    path = locate(version, folder)
    if path is None:
        where = f"put it at {folder / version.file}" if folder else "name the folder with --folder or CALM_BENCHMARKS"
        raise InputError(f"{version.name}: its file is not there; get it from {version.address} and {where}")
    return path


def load_version(
    version: Version, folder: Path | None, limit: int | None = None, path: Path | None = None
) -> Iterator[Problem]:
    """Yields the problems of a version as `load_labelled` does, without the doubts."""
    return (problem for problem, _ in load_labelled(version, folder, limit, path))


def load_labelled(
    version: Version,
    folder: Path | None,
    limit: int | None = None,
    path: Path | None = None,
    *,
    as_published: bool = False,
) -> Iterator[Labelled]:
    """Yields the problems of a version by its rules, one by one; ids are those of the file, the suite the benchmark.

    Args:
        version: Which one.
        folder: Folder of benchmark data.
        limit: Stop after this many.
        path: The file itself, where it is not under the folder.
        as_published: Count labels as others do: the last of several named results, magic numbers as numbers.

    Raises:
        InputError: The file is not there, or is not as it must be; one line.
    """
    path = path or require(version, folder)
    reasons = _reasons(version, path)
    for problem, row in problems_with_rows(path, limit=limit):
        results = row.data.get("results") if version.results else None
        label, doubt = Label(problem.answer, problem.status), ""
        if isinstance(results, Mapping) and results:
            entry, doubt = choose_objective(problem.question, results)
            label = parse_label(results[list(results)[-1] if as_published else entry])
        if label.status is LabelStatus.SENTINEL and as_published:
            label = parse_label(published_label(row.data), magic=True)
        elif label.status is LabelStatus.SENTINEL:
            label = Label(None, version.sentinel_means)
        elif label.status is LabelStatus.MISSING and problem.id in reasons:
            label = Label(None, status_word(reasons[problem.id]) or LabelStatus.MISSING)
        update = {
            "suite": version.benchmark,
            "label_version": version.name,
            "answer": label.answer,
            "status": label.status,
            "tolerance": _tolerance(version, label),
        }
        yield Labelled(problem.model_copy(update=update), doubt)


def open_problems(
    source: str | Path,
    folder: str | Path | None = None,
    *,
    question: str | None = None,
    answer: str | None = None,
    limit: int | None = None,
    download: bool = False,
) -> tuple[Iterator[Problem], Version | None]:
    """Returns the problems of a file or of a benchmark, and the version where it is one.

    Args:
        source: A file, or the name of a benchmark or version. A file of that name goes first.
        folder: Folder of benchmark data, else that of the environment.
        question: Column of the text, for files.
        answer: Column of the label, for files.
        limit: Stop after this many.
        download: Fetch a version that is not there from the Hugging Face hub.

    Raises:
        InputError: Neither is there; one line.
    """
    path = Path(source)
    if path.exists() or path.suffix or question or answer:
        return load_problems(path, question, answer, limit), None
    version = find_version(str(source))
    where = benchmark_folder(folder)
    fetched = fetch(version) if download and locate(version, where) is None else None
    return load_version(version, where, limit, fetched), version


def count_differences(version: Version, statuses: Mapping[LabelStatus, int]) -> list[str]:
    """Returns in words where the counts of a file differ from the table's; nothing where they agree."""
    return [
        f"{version.name}: {statuses.get(status, 0)} labels are {status.value}, published are {count}"
        for status, count in version.statuses.items()
        if statuses.get(status, 0) != count
    ]


def fetch(version: Version) -> Path:
    """Returns the file of a version from the Hugging Face hub, downloaded once and kept in its cache.

    What the hub holds is not pinned to the revision of the table: check it with `count_differences`.

    Raises:
        InputError: The version is not on the hub.
        MissingExtraError: The package huggingface_hub is not installed.
        WorkError: It could not be downloaded.
    """
    if version.hub is None:
        raise InputError(
            f"{version.name}: is not on the Hugging Face hub; "
            f"get it from {version.address} and put it under the folder of benchmark data"
        )
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub") from None
    repository, file = version.hub
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its own report of every retry is not for our users
    try:
        return Path(hf_hub_download(repository, file, repo_type="dataset"))
    except Exception as error:  # whatever the library or the network comes up with is one line for the user
        why = " ".join(str(error).split()).split(". ")[0][:160]
        raise WorkError(
            f"{version.name}: {repository} could not be fetched from the hub ({type(error).__name__}: {why}); "
            f"get it from {version.address} and put it under the folder of benchmark data"
        ) from None


def _tolerance(version: Version, label: Label) -> float | None:
    """Returns the relative tolerance that rounding to two decimals calls for; absolute where the label is 0."""
    if not version.rounded or label.answer is None:
        return None
    return max(_PAPER_TOLERANCE, _HALF_A_CENT / (abs(label.answer) or 1.0))


def _reasons(version: Version, path: Path) -> dict[str, str]:
    """Reads the file beside a version's file that says why a label is missing."""
    if not version.statuses_file:
        return {}
    beside = path.with_name(Path(version.statuses_file).name)
    if not beside.is_file():
        raise ProblemFileError(f"{beside}: is not there; {version.name} needs it to tell why labels are missing")
    return {str(row.data.get("id")): str(row.data.get("status", "")) for row in read_rows(beside)}
