"""Evaluation: pass@1 over k samples, with intervals clustered by problem (paper section 4.1)."""

from calmstorm.evaluation.evaluate import evaluate
from calmstorm.evaluation.intervals import Estimate, clustered_interval, macro_average
from calmstorm.evaluation.paired import Comparison, compare_outcomes, macro_comparison
from calmstorm.evaluation.summary import Summary, Tally, count_code_blocks, pass_at_k, summarise, summarise_cells

__all__ = [
    "Comparison",
    "Estimate",
    "Summary",
    "Tally",
    "clustered_interval",
    "compare_outcomes",
    "count_code_blocks",
    "evaluate",
    "macro_average",
    "macro_comparison",
    "pass_at_k",
    "summarise",
    "summarise_cells",
]
