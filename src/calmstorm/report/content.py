"""What a report shows, before it is drawn: arms, tables, charts, exhibits. Pages and exports are made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.records import Stage
from calmstorm.report import run_tables
from calmstorm.report.arms import Arm, all_arms, lineages_of
from calmstorm.report.charts.layout import Figure, Series
from calmstorm.report.charts.lines import held_out_accuracy, training
from calmstorm.report.charts.rows import accuracy, flaw_rates, funnel, interventions
from calmstorm.report.collect import RunReport
from calmstorm.report.exhibits.exhibit import Chart, Exhibit, suffixed
from calmstorm.report.exhibits.figures import figure_2, figure_5, figure_6, figure_7
from calmstorm.report.exhibits.scores import figure_4, table_1, table_2
from calmstorm.report.problems import list_problems
from calmstorm.report.tables import Table


@dataclass(frozen=True)
class Part:
    """Charts and tables of a section: of one run, or of all."""

    report: RunReport
    charts: Sequence[Chart]
    tables: Sequence[Table]
    """Those without rows are left out of the report."""


class Content:
    """A report on one run or on several."""

    def __init__(self, reports: Sequence[RunReport]) -> None:
        """Lays out what the report shows.

        Args:
            reports: The runs.
        """
        self.reports = reports
        self.arms = all_arms(reports)
        self.lineages = lineages_of(self.arms)
        self.problems = list_problems(reports, self.arms)
        curated = [report for report in reports if report.numbers.curation.attempts]
        self.curation = [_curation(report, suffix) for suffix, report in suffixed(curated)]
        self.accuracy = [_accuracy(reports, self.arms)] if self.arms else []
        trained = [report for report in reports if any(report.numbers.learning.values())]
        self.learning = [_learning(report, suffix) for suffix, report in suffixed(trained)]
        self.flaws = [_flaws(reports[0], self.arms)] if any(arm.flaws for arm in self.arms) else []
        self.exhibits = (
            table_1(self.arms),
            table_2(self.arms, self.lineages),
            figure_2(self.arms),
            figure_4(self.lineages),
            figure_5(reports),
            figure_6(reports, self.arms, self.lineages),
            figure_7(self.lineages),
        )
        self.settings = [run_tables.settings_table(reports)] if self.arms or not self.is_alone else []
        if self.is_alone:
            numbers = reports[0].numbers
            self.settings += [run_tables.timing_table(numbers), run_tables.versions_table(numbers)]

    @property
    def is_alone(self) -> bool:
        """Whether the report is on one run."""
        return len(self.reports) == 1

    @property
    def trains(self) -> bool:
        """Whether any run is more than an evaluation, so that curation and learning belong to it."""
        return any(not report.is_evaluation for report in self.reports)

    @property
    def is_method_run(self) -> bool:
        """Whether the report is on one run that curates and trains."""
        return self.is_alone and self.trains

    @property
    def parts(self) -> tuple[Part | Exhibit, ...]:
        """Whatever has charts and tables, in the order of the page."""
        return (*self.curation, *self.accuracy, *self.learning, *self.flaws, *self.exhibits)

    @property
    def tables(self) -> list[Table]:
        """Every table, in the order of the page."""
        tables = [*(table for part in self.parts for table in part.tables), *self.settings]
        return [table for table in tables if table.rows]

    @property
    def figures(self) -> dict[str, Figure]:
        """Every chart, by the place it has on the page."""
        return {chart.key: chart.figure for part in self.parts for chart in part.charts}


def _curation(report: RunReport, suffix: str) -> Part:
    curation = report.numbers.curation
    steps = "attempts, and their share of all attempts"
    charts = (
        Chart(f"funnel{suffix}", "From attempt to golden trajectory", funnel(curation), steps),
        Chart(f"triggers{suffix}", "What was corrected", interventions(curation), "interventions per trigger"),
    )
    tables = (
        run_tables.curation_table(f"curation{suffix}", curation),
        run_tables.interventions_table(f"interventions{suffix}", curation),
        run_tables.spending_table(f"spending{suffix}", curation),
    )
    return Part(report, charts, tables)


def _learning(report: RunReport, suffix: str) -> Part:
    logs, charts = report.numbers.learning, []
    if logs[Stage.RL]:
        mean = "mean over the samples of a step"
        curve = [(Series("RL", "--arm-3", "solid"), logs[Stage.RL])]
        reward = training(curve, "reward")
        charts = [
            Chart(f"rl-reward{suffix}", "Reward", reward, mean, "third"),
            Chart(f"rl-code{suffix}", "Code blocks", training(curve, "code_blocks"), "per response", "third"),
            Chart(f"rl-tokens{suffix}", "Response tokens", training(curve, "response_tokens"), mean, "third"),
        ]
    along = report.numbers.held_out.get(Stage.RL, ())
    if along:
        accuracy = held_out_accuracy([(Series("RL", "--arm-3", "solid"), along)])
        subtitle = "pass@1 on held-out problems, 95% interval"
        charts.append(Chart(f"rl-accuracy{suffix}", "Accuracy along training", accuracy, subtitle, "half"))
    if logs[Stage.SFT]:
        loss = training([(Series("SFT", "--arm-2", "solid"), logs[Stage.SFT])], "loss")
        subtitle = "training loss per step, on the golden set"
        charts.append(Chart(f"sft-loss{suffix}", "Supervised fine-tuning", loss, subtitle, "half"))
    table = run_tables.learning_table(f"learning{suffix}", report.numbers)
    return Part(report, charts, (table, run_tables.held_out_table(f"held-out{suffix}", report.numbers)))


def _accuracy(reports: Sequence[RunReport], arms: Sequence[Arm]) -> Part:
    subtitle = "share of answers within the tolerance, with 95% interval"
    chart = Chart("accuracy", "Pass@1 by suite and model", accuracy(arms), subtitle)
    tables = (
        run_tables.accuracy_table(arms),
        run_tables.pass_at_k_table(arms),
        run_tables.endings_table(arms),
        run_tables.labels_table(reports),
    )
    return Part(reports[0], (chart,), tables)


def _flaws(report: RunReport, arms: Sequence[Arm]) -> Part:
    subtitle = "share of responses that show the trigger, with 95% interval"
    chart = Chart("flaws", "Flaw rates by model", flaw_rates(arms), subtitle)
    return Part(report, (chart,), (run_tables.flaws_table(arms),))
