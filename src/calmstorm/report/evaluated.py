"""What the evaluations of a run came to: cells, macro averages, labels, and how each stage differs from the base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calmstorm.evaluation import Comparison, compare_outcomes, macro_average, macro_comparison
from calmstorm.report.counts import CURATION, RunCounts, suite_rank
from calmstorm.report.problem_places import ProblemPlace


def evaluation_numbers(counted: RunCounts) -> dict[str, dict[str, dict[str, Any]]]:
    """Pass@1 with its interval and what the responses look like, by stage and suite (paper section 4.1)."""
    return {
        stage: {
            suite: cell.model_dump(mode="json")
            | {"correct": sum(right for _, right in counted.outcomes[stage][suite].values())}
            for suite, cell in suites.items()
        }
        for stage, suites in counted.cells.items()
    }


def macro_numbers(counted: RunCounts) -> dict[str, dict[str, Any]]:
    """Mean of the suites' pass@1, by stage; every suite weighs the same, as in the paper's tables."""
    result: dict[str, dict[str, Any]] = {}
    for stage, suites in counted.cells.items():
        estimates = {suite: cell.estimate for suite, cell in suites.items()}
        parts = [estimate for estimate in estimates.values() if estimate is not None]
        if not parts:
            continue
        mean, low, high = macro_average(parts)
        result[stage] = {
            "pass_at_1": mean,
            "ci95": [low, high],
            "suites": [suite for suite, estimate in estimates.items() if estimate is not None],
        }
    return result


def label_numbers(counted: RunCounts, problems: Mapping[str, ProblemPlace]) -> dict[str, dict[str, Any]]:
    """Versions of the labels and number of problems of each evaluated suite."""
    evaluated: dict[str, dict[str, None]] = {}
    for place in counted.places:
        if place.stage != CURATION:
            evaluated.setdefault(place.suite, {}).setdefault(place.problem_id)
    return {
        suite: {
            "versions": list(dict.fromkeys(problems[each].label_version for each in ids if each in problems)),
            "problems": len(ids),
        }
        for suite, ids in sorted(evaluated.items(), key=lambda item: suite_rank(item[0]))
    }


Keyed = Mapping[str, Mapping[tuple[str, int], tuple[int, int]]]
"""(graded, correct) by suite, and by what tells a problem from the others."""


def keyed_outcomes(counted: RunCounts, stage: str, problems: Mapping[str, ProblemPlace]) -> Keyed:
    """The outcomes of a stage by text and label, which stay the same from run to run where ids do not."""
    keyed: dict[str, dict[tuple[str, int], tuple[int, int]]] = {}
    for suite, outcomes in counted.outcomes.get(stage, {}).items():
        cell = keyed.setdefault(suite, {})
        for problem_id, outcome in sorted(outcomes.items()):
            digest = problems[problem_id].digest if problem_id in problems else f"id {problem_id}"
            copy = 0
            while (digest, copy) in cell:  # a text that a suite has twice is two problems
                copy += 1
            cell[digest, copy] = outcome
    return keyed


def changes(first: Keyed, second: Keyed) -> tuple[dict[str, Comparison], Comparison | None]:
    """How a second evaluation differs from a first, on the problems that both have: by suite, and their macro average.

    The macro average is None when there is no suite, or the two do not have the same ones.
    """
    suites = {}
    for suite in first:
        both = [key for key in first[suite] if key in second.get(suite, {})]
        found = compare_outcomes([(first[suite][key], second[suite][key]) for key in both])
        if found is not None:
            suites[suite] = found
    whole = suites and set(suites) == set(first) == set(second)
    return suites, macro_comparison(suites) if whole else None


def change_numbers(counted: RunCounts, problems: Mapping[str, ProblemPlace], base: str = "base") -> dict[str, Any]:
    """How each stage differs from the base: paired differences by suite, and their macro average."""
    if base not in counted.cells:
        return {}
    first = keyed_outcomes(counted, base, problems)
    result = {}
    for stage in counted.cells:
        if stage != base:
            suites, macro = changes(first, keyed_outcomes(counted, stage, problems))
            result[stage] = {
                "from": base,
                "suites": {suite: each.model_dump(mode="json") for suite, each in suites.items()},
                "macro": macro.model_dump(mode="json") if macro else None,
            }
    return result
