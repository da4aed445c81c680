"""Stand-in until calmstorm.evaluation.summarise is there."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from calmstorm.records import Trajectory


def summarise(items: Iterable[Trajectory]) -> dict[str, Any]:
    by: defaultdict[str, list[bool]] = defaultdict(list)
    for t in items:
        if t.verdict is not None:
            by[t.problem_id].append(t.verdict.correct)
    n = sum(map(len, by.values()))
    if not n:
        return {"pass_at_1": None, "ci95": None, "problems": 0, "samples": 0}
    means = [sum(v) / len(v) for v in by.values()]
    p = sum(means) / len(means)
    se = math.sqrt(sum((m - p) ** 2 for m in means) / max(1, len(means) - 1) / len(means))
    return {"pass_at_1": p, "ci95": [max(0, p - 1.96 * se), min(1, p + 1.96 * se)], "problems": len(by), "samples": n}


def macro_average(suites: Mapping[str, Iterable[Trajectory]]) -> dict[str, Any]:
    cells = [summarise(v) for v in suites.values()]
    p = sum(c["pass_at_1"] for c in cells) / len(cells)
    h = math.sqrt(sum((c["ci95"][1] - c["ci95"][0]) ** 2 for c in cells)) / 2 / len(cells)
    return {"pass_at_1": p, "ci95": [max(0, p - h), min(1, p + h)]}
