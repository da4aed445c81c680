"""The rule engine: rules for each trigger, and an Intervener that answers the first flaw they find."""

from calmstorm.intervener.rules.engine import RulesIntervener, annotate, find_flaws, named
from calmstorm.intervener.rules.findings import Finding

__all__ = ["Finding", "RulesIntervener", "annotate", "find_flaws", "named"]
