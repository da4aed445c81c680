"""The table of published benchmark versions, read from `benchmarks.toml`. The data themselves are not shipped.

Copies of a benchmark differ in texts and labels, so a score means something only together with the version it was
measured on.
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from importlib import resources
from typing import Any

from calmstorm.records import LabelStatus, Record


class Kind(StrEnum):
    """What a version may be used for."""

    TEST = "test"
    """Problems to evaluate on; never train on them."""
    TRAINING = "training"
    """A training sample; here to be looked at and checked for contamination."""
    DECLARATIONS = "declarations"
    """Texts with structured models and no objective value."""


class Source(Record):
    """A repository that publishes versions."""

    repository: str
    """Owner and name on GitHub."""
    revision: str
    """Commit the files were read at."""
    licence: str = "none stated"
    """Licence of the repository; what the data were taken from may bind further."""


class Version(Record):
    """One published file of one benchmark, with the rules that reading it needs."""

    benchmark: str
    version: str
    """What tells it from the other versions of the benchmark, usually who published it."""
    file: str
    """Where it is looked for under the folder of benchmark data."""
    source: Source
    path: str
    """Where it is published in the repository; ends with `*` where it was packed from one folder a problem."""
    statuses: dict[LabelStatus, int]
    """Rows by status of their label, as they must come out."""
    kind: Kind = Kind.TEST
    licence: str
    """Strictest terms known: of the repository or of what the data were taken from."""
    results: bool = False
    """An answer is a dict of named results, of which one is the objective."""
    rounded: bool = False
    """Labels were rounded to two decimals: an answer within half a unit of the second counts as equal."""
    blank: int = 0
    """Rows that were published without a text."""
    sentinel_means: LabelStatus = LabelStatus.SENTINEL
    """What a magic number (-9999, -99999) means in this version, where that is known."""
    statuses_file: str = ""
    """File beside it that says why a label is missing: rows of `id, status`."""
    default: bool = False
    """The version that the bare name of the benchmark stands for, and that splits are drawn from."""
    hub: tuple[str, str] | None = None
    """Data set and file on the Hugging Face hub where the same file is published, unpinned."""

    @property
    def name(self) -> str:
        """Name on the command line and in results: `benchmark/version`."""
        return f"{self.benchmark}/{self.version}"

    @property
    def rows(self) -> int:
        """Rows of the file."""
        return sum(self.statuses.values())

    @property
    def address(self) -> str:
        """Page of the published file."""
        kind, path = ("tree", self.path.removesuffix("/*")) if self.path.endswith("*") else ("blob", self.path)
        return f"https://github.com/{self.source.repository}/{kind}/{self.source.revision}/{path}"


def _read_table() -> tuple[Version, ...]:
    text = (resources.files("calmstorm.problems") / "benchmarks.toml").read_text(encoding="utf-8")
    benchmarks = tomllib.loads(text)
    sources = {name: Source(**fields) for name, fields in benchmarks.pop("sources").items()}
    return tuple(version for name, entry in benchmarks.items() for version in _versions(name, entry, sources))


def _versions(benchmark: str, entry: dict[str, Any], sources: dict[str, Source]) -> list[Version]:
    """Reads one benchmark: its versions, its default version and the terms that follow its data through every copy."""
    rows = {name: fields for name, fields in entry.items() if isinstance(fields, dict)}
    default = entry.get("default", next(iter(rows)))
    versions = []
    for name, fields in rows.items():
        publisher, _, path = fields.pop("published").partition(":")
        source, labels = sources[publisher], fields.pop("labels")
        terms = dict.fromkeys([source.licence, *([entry["terms"]] if "terms" in entry else [])])
        versions.append(
            Version(
                benchmark=benchmark,
                version=name,
                source=source,
                path=path,
                statuses={status: labels.get(status, 0) for status in LabelStatus},
                licence="; ".join(terms),
                default=name == default,
                **fields,
            )
        )
    return versions


VERSIONS: tuple[Version, ...] = _read_table()
"""Every version, the benchmarks in the order of the paper's Table 4."""
