"""The paper's own numbers, which the report shows beside a run's: always marked, never mixed with ours.

They are of large models, on the paper's test problems and under its label versions, so that even where a suite has the
same name here the rows are not a comparison on equal terms.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources

from calmstorm.records import Record


class PublishedScores(Record):
    """A row of table 1 or 2, or a stage of figure 4; percent."""

    model: str
    scores: tuple[float, ...] = ()
    """By benchmark, in the paper's order; a model that was not tested on all has fewer."""
    macro: float | None = None
    size: str = ""
    group: str = ""
    cited: bool = False
    """The paper took them from the paper of that model."""
    change: bool = False
    """The row is a difference."""
    gains: tuple[float, ...] = ()
    """Points above the base, by benchmark, the macro average last."""

    def score(self, suite: str | None = None) -> float | None:
        """Returns its score on a suite as a share, if it has one; without a suite its macro average."""
        by_suite = dict(zip(published().paper.benchmarks, self.scores, strict=False))
        percent = self.macro if suite is None else by_suite.get(suite)
        return None if percent is None else percent / 100


class PublishedExhibit(Record):
    """A table or figure of the paper."""

    key: str
    """Of our exhibit: letters, digits and hyphens."""
    title: str
    about: str
    """What our exhibit shows, and where it differs."""
    where: str
    """Its place in the paper."""
    says: str = ""
    """What the paper reads from it, where its text gives no values."""
    rows: tuple[PublishedScores, ...] = ()
    note: str = ""
    """What has to be said about its numbers."""


class PublishedCuration(PublishedExhibit):
    """Figure 5; shares in percent."""

    raw: int
    """Examples that curation began with."""
    correct: int
    """Correct after the hints."""
    golden: int
    selection: float
    """Golden of all."""
    success_before: float
    success_after: float
    tokens_before: float
    tokens_after: float
    hints: float
    """Per problem."""
    edited_below: float
    """Share of tokens that hints make up: an upper bound."""


class Paper(Record):
    """The paper."""

    title: str
    arxiv: str
    benchmarks: tuple[str, ...]
    """As our suites are called."""
    names: tuple[str, ...]
    """As they are written for people."""
    test_problems: tuple[int, ...]


class Published(Record):
    """Everything the data file holds."""

    paper: Paper
    table_1: PublishedExhibit
    table_2: PublishedExhibit
    figure_2: PublishedExhibit
    figure_4: PublishedExhibit
    figure_5: PublishedCuration
    figure_6: PublishedExhibit
    figure_7: PublishedExhibit


@cache
def published() -> Published:
    """Returns the paper's numbers."""
    text = (resources.files("calmstorm.report") / "published.toml").read_text(encoding="utf-8")
    return Published.model_validate(tomllib.loads(text))


def suite_name(suite: str) -> str:
    """How a suite is written for people: the paper's benchmarks as it writes them, others as they are."""
    paper = published().paper
    return dict(zip(paper.benchmarks, paper.names, strict=True)).get(suite, suite)
