"""How often responses show each of the seven triggers, with intervals clustered by problem (paper section 2.3).

A rate is the mean over problems of the share of their responses that show a trigger. A load is the mean number of flaws
of one of the paper's two categories in a response (what figure 7 draws); a response shows a trigger once or not at all.
The method of both intervals is that of accuracies, see `calmstorm.evaluation.intervals`. A load lies between 0 and the
number of triggers that an annotator names, so its interval is that of its share of this number, scaled back; as such a
share can vary less than a yes or no, its likeness within a problem is bounded from below less tightly. Simulated
coverage is checked in tests/evaluation/test_flaw_rates.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Mapping, Sequence

from calmstorm.evaluation.intervals import Estimate, clustered_interval, macro_average
from calmstorm.records import Record, Trigger, TriggerGroup

CATEGORIES = {group.value: group.triggers for group in (TriggerGroup.CODE, TriggerGroup.EXPERTISE)}
"""The paper's two categories: distrust of code, and lack of expertise. Trigger 7 is in neither."""
MOST_NAMED = 2
"""Triggers that an annotator names in a response, at most (paper appendix J)."""


class Rate(Record):
    """A mean with its 95 % interval."""

    mean: float
    ci95: tuple[float, float]


class FlawSummary(Record):
    """Flaws of some responses."""

    responses: int
    problems: int
    flawless_count: int
    """Responses without any trigger."""
    flawless: Rate
    """Share of them."""
    triggers: dict[int, Rate]
    """Share of responses that show it, by trigger, all seven."""
    loads: dict[str, Rate]
    """Flaws per response, by category."""


class FlawTally:
    """Counts annotated responses; memory grows with problems, not with responses."""

    def __init__(self) -> None:
        self._responses: Counter[Hashable] = Counter()
        self._flawless: Counter[Hashable] = Counter()
        self._shown: defaultdict[Trigger, Counter[Hashable]] = defaultdict(Counter)

    def add(self, problem: Hashable, triggers: Collection[int]) -> None:
        """Counts one response.

        Args:
            problem: What tells its problem from the others.
            triggers: Those it shows, at most `MOST_NAMED`; one that is named twice counts once, and of more the first
                count.
        """
        shown = list(dict.fromkeys(map(Trigger, triggers)))[:MOST_NAMED]
        self._responses[problem] += 1
        self._flawless[problem] += not shown
        for trigger in shown:
            self._shown[trigger][problem] += 1

    @property
    def responses(self) -> int:
        """Responses counted so far."""
        return self._responses.total()

    def summary(self) -> FlawSummary | None:
        """Returns the rates, or None when nothing was counted."""
        if not self._responses:
            return None
        return FlawSummary(
            responses=self.responses,
            problems=len(self._responses),
            flawless_count=self._flawless.total(),
            flawless=_rate(self._estimate(self._flawless)),
            triggers={int(trigger): _rate(self._estimate(self._shown[trigger])) for trigger in Trigger},
            loads={name: self._load(members) for name, members in CATEGORIES.items()},
        )

    def _estimate(self, counts: Counter[Hashable], most: int = 1) -> Estimate:
        """Mean per response of something that a response has 0 to `most` times, over `most`."""
        means = [counts[problem] / responses / most for problem, responses in self._responses.items()]
        return clustered_interval(means, most * self.responses / len(self._responses))

    def _load(self, members: tuple[Trigger, ...]) -> Rate:
        together: Counter[Hashable] = Counter()
        for trigger in members:
            together.update(self._shown[trigger])
        return _rate(self._estimate(together, MOST_NAMED), MOST_NAMED)


def _macro_rate(parts: Sequence[Rate], most: int = 1) -> Rate:
    """Returns the unweighted mean over suites; `parts` is not empty.

    Args:
        parts: Rates, or loads of one category.
        most: What a rate or load can be at most.
    """
    scaled = [Estimate(part.mean / most, part.ci95[0] / most, part.ci95[1] / most) for part in parts]
    return _rate(macro_average(scaled), most)


def macro_flaws(suites: Mapping[str, FlawSummary]) -> FlawSummary:
    """Returns the macro average of several suites, each weighing the same; `suites` is not empty."""
    summaries = list(suites.values())
    return FlawSummary(
        responses=sum(summary.responses for summary in summaries),
        problems=sum(summary.problems for summary in summaries),
        flawless_count=sum(summary.flawless_count for summary in summaries),
        flawless=_macro_rate([summary.flawless for summary in summaries]),
        triggers={int(number): _macro_rate([summary.triggers[number] for summary in summaries]) for number in Trigger},
        loads={name: _macro_rate([summary.loads[name] for summary in summaries], MOST_NAMED) for name in CATEGORIES},
    )


def _rate(estimate: Estimate, most: int = 1) -> Rate:
    return Rate(mean=most * estimate.mean, ci95=(most * estimate.low, most * estimate.high))
