"""What a report shows, before it is drawn: arms, tables, charts, exhibits. Pages and exports are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from calmstorm.report import run_tables
from calmstorm.report.arms import Arm, Lineage, all_arms, lineages
from calmstorm.report.build import RunReport
from calmstorm.report.charts import training
from calmstorm.report.charts.flaws import flaw_rates
from calmstorm.report.charts.layout import Figure
from calmstorm.report.charts.scores import accuracy
from calmstorm.report.exhibits.exhibit import Chart, Exhibit
from calmstorm.report.exhibits.flaws import figure_2, figure_7
from calmstorm.report.exhibits.scores import figure_4, table_1, table_2
from calmstorm.report.exhibits.training import figure_5, figure_6
from calmstorm.report.tables import Table


@dataclass(frozen=True)
class Part:
    """Charts and tables of one run in a section."""

    report: RunReport
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Content:
    """A report on one run or on several."""

    reports: tuple[RunReport, ...]
    arms: tuple[Arm, ...]
    lineages: tuple[Lineage, ...]
    curation: tuple[Part, ...] = ()
    """Of each run that curated anything."""
    learning: tuple[Part, ...] = ()
    """Of each run that trained anything."""
    accuracy: Part | None = None
    flaws: Part | None = None
    exhibits: tuple[Exhibit, ...] = ()
    settings: tuple[Table, ...] = ()
    differences: tuple[str, ...] = field(default=())
    """What keeps the runs from being compared on equal terms."""

    @property
    def alone(self) -> bool:
        """Whether the report is on one run."""
        return len(self.reports) == 1

    @property
    def trains(self) -> bool:
        """Whether any run is more than an evaluation, so that curation and learning belong to it."""
        return any(not report.is_evaluation for report in self.reports)

    @property
    def parts(self) -> list[Part]:
        """Every part, in the order of the page."""
        single = [part for part in (self.accuracy, self.flaws) if part is not None]
        return [*self.curation, *single[:1], *self.learning, *single[1:]]

    @property
    def tables(self) -> list[Table]:
        """Every table, in the order of the page."""
        parts = [table for part in self.parts for table in part.tables]
        return [*parts, *(table for each in self.exhibits for table in each.tables), *self.settings]

    @property
    def drawn(self) -> dict[str, Figure]:
        """Every chart, by the place it has on the page."""
        charts = [chart for part in self.parts for chart in part.charts]
        charts += [chart for each in self.exhibits for chart in each.charts]
        return {chart.key: chart.figure for chart in charts}


def content(reports: Sequence[RunReport]) -> Content:
    """Returns what a report on these runs shows."""
    arms = all_arms(reports)
    families = lineages(arms)
    first = reports[0]
    settings = [run_tables.settings_table(reports, arms)] if arms or len(reports) > 1 else []
    if len(reports) == 1:
        settings += [each for each in (run_tables.timing_table(first), run_tables.versions_table(first)) if each]
    return Content(
        reports=tuple(reports),
        arms=tuple(arms),
        lineages=tuple(families),
        curation=_curation(reports),
        learning=_learning(reports),
        accuracy=_accuracy(reports, arms) if arms else None,
        flaws=_flaws(first, arms) if any(arm.flaws for arm in arms) else None,
        exhibits=(
            table_1(arms),
            table_2(arms, families),
            figure_2(arms),
            figure_4(families),
            figure_5(reports),
            figure_6(reports, arms, families),
            figure_7(families),
        ),
        settings=tuple(settings),
        differences=tuple(run_tables.differences(reports)),
    )


def _suffixes(reports: Sequence[RunReport]) -> list[str]:
    return [f"-{number}" if len(reports) > 1 else "" for number in range(1, len(reports) + 1)]


def _curation(reports: Sequence[RunReport]) -> tuple[Part, ...]:
    curated = [report for report in reports if report.numbers["curation"]["attempts"]]
    parts = []
    for report, suffix in zip(curated, _suffixes(curated), strict=True):
        numbers = report.numbers["curation"]
        funnel = "attempts, and their share of all attempts"
        charts = (
            Chart(f"funnel{suffix}", "From attempt to golden trajectory", training.funnel(numbers), funnel),
            Chart(f"triggers{suffix}", "What was corrected", training.triggers(numbers), "interventions per trigger"),
        )
        tables = (
            run_tables.curation_table(report, f"curation{suffix}"),
            run_tables.interventions_table(report, f"interventions{suffix}"),
        )
        parts.append(Part(report, charts, tables))
    return tuple(parts)


def _learning(reports: Sequence[RunReport]) -> tuple[Part, ...]:
    trained = [report for report in reports if any(report.numbers["learning"].values())]
    parts = []
    for report, suffix in zip(trained, _suffixes(trained), strict=True):
        steps = report.numbers["learning"]
        charts = []
        if steps["rl"]:
            line = [training.Line("RL", steps["rl"], "--arm-3")]
            charts = [
                Chart(
                    f"rl-reward{suffix}",
                    "Reward",
                    training.curves(line, "reward", share=True),
                    "mean over the samples of a step",
                ),
                Chart(f"rl-code{suffix}", "Code blocks", training.curves(line, "code_blocks"), "per response"),
                Chart(
                    f"rl-tokens{suffix}",
                    "Response tokens",
                    training.curves(line, "response_tokens"),
                    "mean over the samples of a step",
                ),
            ]
        if steps["sft"]:
            figure = training.curves([training.Line("SFT", steps["sft"], "--arm-2")], "loss")
            charts.append(
                Chart(
                    f"sft-loss{suffix}", "Supervised fine-tuning", figure, "training loss per step, on the golden set"
                )
            )
        table = run_tables.learning_table(report, f"learning{suffix}")
        parts.append(Part(report, tuple(charts), (table,) if table else ()))
    return tuple(parts)


def _accuracy(reports: Sequence[RunReport], arms: Sequence[Arm]) -> Part:
    chart = Chart(
        "accuracy",
        "Pass@1 by suite and model",
        accuracy(arms),
        "share of answers within the tolerance, with 95% interval",
    )
    found = [run_tables.accuracy_table(arms), run_tables.pass_at_k_table(arms), run_tables.endings_table(arms)]
    tables = [table for table in (*found, run_tables.labels_table(reports)) if table is not None]
    return Part(reports[0], (chart,), tuple(tables))


def _flaws(report: RunReport, arms: Sequence[Arm]) -> Part:
    chart = Chart(
        "flaws", "Flaw rates by model", flaw_rates(arms), "share of responses that show the trigger, with 95% interval"
    )
    return Part(report, (chart,), (run_tables.flaws_table(arms),))
