"""The paper's tables and figures from runs: tables 1 and 2, figures 2, 4, 5, 6 and 7."""

from __future__ import annotations

from collections.abc import Sequence

from calmstorm.report.arms import Arm, Lineage
from calmstorm.report.collect import RunReport
from calmstorm.report.exhibits.exhibit import Exhibit
from calmstorm.report.exhibits.flaws import figure_2, figure_7
from calmstorm.report.exhibits.scores import figure_4, table_1, table_2
from calmstorm.report.exhibits.training import figure_5, figure_6


def all_exhibits(reports: Sequence[RunReport], arms: Sequence[Arm], lineages: Sequence[Lineage]) -> tuple[Exhibit, ...]:
    """Returns every exhibit, in the order of the paper."""
    return (
        table_1(arms),
        table_2(arms, lineages),
        figure_2(arms),
        figure_4(lineages),
        figure_5(reports),
        figure_6(reports, arms, lineages),
        figure_7(lineages),
    )
