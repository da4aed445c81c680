"""The rule engine: rules for each trigger, and an Intervener that answers the first flaw they find."""

from calmstorm.intervener.rules.engine import RulesIntervener, annotate, assess, assess_trajectory, find_flaws, named
from calmstorm.intervener.rules.findings import Assessment, Finding

__all__ = ["Assessment", "Finding", "RulesIntervener", "annotate", "assess", "assess_trajectory", "find_flaws", "named"]
