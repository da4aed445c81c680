"""Evaluation: pass@1 over k samples, with intervals clustered by problem (paper section 4.1)."""

from calmstorm.evaluation.agreement import Agreement, TriggerAgreement, agreement, cohens_kappa, read_labels
from calmstorm.evaluation.evaluate import evaluate
from calmstorm.evaluation.flaw_rates import FlawSummary, FlawTally, Rate, macro_flaws
from calmstorm.evaluation.intervals import Estimate, clustered_interval, macro_average
from calmstorm.evaluation.paired import Comparison, compare_outcomes, macro_comparison
from calmstorm.evaluation.summary import Summary, Tally, pass_at_k, summarise

__all__ = [
    "Agreement",
    "Comparison",
    "Estimate",
    "FlawSummary",
    "FlawTally",
    "Rate",
    "Summary",
    "Tally",
    "TriggerAgreement",
    "agreement",
    "clustered_interval",
    "cohens_kappa",
    "compare_outcomes",
    "evaluate",
    "macro_average",
    "macro_comparison",
    "macro_flaws",
    "pass_at_k",
    "read_labels",
    "summarise",
]
