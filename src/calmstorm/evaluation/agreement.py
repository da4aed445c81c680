"""How far two annotators agree on which triggers responses show (paper appendix J).

Instance accuracy is the share of responses for which the two name the same set of triggers, the order set aside, as the
paper's 93.3 % between its annotator and people. Cohen's kappa takes off what agreement chance alone would bring: for
each trigger on the yes-or-no question whether a response shows it, and overall on the first trigger named, with
"flawless" as an eighth answer. Intervals are percentile bootstraps over responses; that of accuracy is Wilson's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from calmstorm.evaluation.intervals import clustered_interval
from calmstorm.problems.rows import SourceRow, read_rows
from calmstorm.records import Record, Trigger

DRAWS = 2000
"""Bootstrap samples; their seed is fixed, so that the same files give the same interval."""
_FLAWLESS = 0

Labels = dict[str, tuple[int, ...]]
"""Triggers by response, in order of appearance."""


class TriggerAgreement(Record):
    """Agreement on one trigger, with the first annotator taken as the truth."""

    both: int
    """Responses to which both give it."""
    first_only: int
    """Missed by the second."""
    second_only: int
    """Given by the second alone."""
    precision: float | None
    """Of those the second names, the share that the first names; None where the second names none."""
    recall: float | None
    """Of those the first names, the share that the second names; None where the first names none."""
    kappa: float | None
    """None where neither ever names it."""


class Agreement(Record):
    """How two annotators agree."""

    responses: int
    """Responses that both annotated."""
    only_first: int
    only_second: int
    accuracy: float
    """Share of responses with the same set of triggers (instance accuracy)."""
    accuracy_ci95: tuple[float, float]
    first_accuracy: float
    """Share of responses with the same first trigger, or none."""
    first_accuracy_ci95: tuple[float, float]
    kappa: float | None
    """Of the first trigger named, or none; None where both always say the same one thing."""
    kappa_ci95: tuple[float, float] | None
    triggers: dict[int, TriggerAgreement]
    """By number of the trigger, 1 to 7."""


def agreement(first: Mapping[str, Sequence[int]], second: Mapping[str, Sequence[int]]) -> Agreement | None:
    """Compares two annotators, each with triggers in order of appearance by response; the first is taken as the truth.

    Returns:
        None when they have no response in common.
    """
    common = [name for name in first if name in second]
    if not common:
        return None
    same = [set(first[name]) == set(second[name]) for name in common]
    accuracy = clustered_interval([float(agrees) for agrees in same], 1)
    leading = np.array([[next(iter(side[name]), _FLAWLESS) for side in (first, second)] for name in common])
    leads = clustered_interval([float(agrees) for agrees in leading[:, 0] == leading[:, 1]], 1)
    return Agreement(
        responses=len(common),
        only_first=len(first) - len(common),
        only_second=len(second) - len(common),
        accuracy=accuracy.mean,
        accuracy_ci95=(accuracy.low, accuracy.high),
        first_accuracy=leads.mean,
        first_accuracy_ci95=(leads.low, leads.high),
        kappa=cohens_kappa(leading),
        kappa_ci95=_bootstrap(leading),
        triggers={int(trigger): _on(trigger, first, second, common) for trigger in Trigger},
    )


def cohens_kappa(pairs: np.ndarray) -> float | None:
    """Returns Cohen's kappa (Cohen, 1960).

    Args:
        pairs: Shape (items, 2), the categories that two annotators gave, as numbers.

    Returns:
        None where chance alone would make them agree always, which leaves nothing to be measured.
    """
    observed = float(np.mean(pairs[:, 0] == pairs[:, 1]))
    first, second = (Counter(column.tolist()) for column in pairs.T)
    chance = sum(first[category] * second[category] for category in first) / len(pairs) ** 2
    return (observed - chance) / (1 - chance) if chance < 1 else None


def read_labels(path: Path) -> Labels:
    """Reads annotations: rows of `id` and `triggers`, or what `calm flaws --json` printed.

    Raises:
        ProblemFileError: One line: file, place, what is wrong, what to do.
    """
    labels: Labels = {}
    for row in _rows(path):
        if "id" not in row.data or "triggers" not in row.data:
            raise row.refused("has no id or no triggers", "give rows of id and triggers")
        triggers = row.data["triggers"]
        if triggers is None:
            continue  # a response that could not be annotated
        if not isinstance(triggers, list) or not all(trigger in list(Trigger) for trigger in triggers):
            raise row.refused(f"triggers is {triggers!r}", "give a list of numbers from 1 to 7")
        name = label_name(row.data)
        if name in labels:
            raise row.refused(f"{name} is labelled already", "give each response once")
        labels[name] = tuple(triggers)
    return labels


def label_name(identity: Mapping[str, object]) -> str:
    """Returns the name of an annotated response: its id, and where it has them stage, sample and round."""
    parts = [f"{key} {identity[key]}" for key in ("stage", "sample", "round") if key in identity]
    return ", ".join([str(identity["id"]), *parts])


def _rows(path: Path) -> Iterator[SourceRow]:
    for row in read_rows(path):
        results = row.data.get("results")
        if isinstance(results, list):
            for number, result in enumerate(results, 1):
                yield SourceRow(path, f"result {number}", None, result if isinstance(result, dict) else {})
        else:
            yield row


def _on(
    trigger: int, first: Mapping[str, Sequence[int]], second: Mapping[str, Sequence[int]], names: Sequence[str]
) -> TriggerAgreement:
    pairs = np.array([[trigger in first[name], trigger in second[name]] for name in names], dtype=int)
    both = int((pairs[:, 0] & pairs[:, 1]).sum())
    truth, said = pairs.sum(axis=0).tolist()
    return TriggerAgreement(
        both=both,
        first_only=truth - both,
        second_only=said - both,
        precision=both / said if said else None,
        recall=both / truth if truth else None,
        kappa=cohens_kappa(pairs),
    )


def _bootstrap(pairs: np.ndarray) -> tuple[float, float] | None:
    """Returns the percentile interval of kappa; samples in which it has no value are left out."""
    rng = np.random.default_rng(0)
    drawn = (cohens_kappa(pairs[rng.integers(0, len(pairs), len(pairs))]) for _ in range(DRAWS))
    values = [value for value in drawn if value is not None]
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
