"""From graded trajectories to the numbers of the paper's tables: pass@1 as the mean over samples (section 4.1).

Trajectories are counted one by one and not kept. What our machinery failed, and what has no usable label, is counted
apart and is in no rate.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from calmstorm.evaluation.intervals import CONFIDENCE, Estimate, clustered_interval
from calmstorm.records import Author, ExecutionStatus, Record, StopReason, Trajectory, Verdict, VerdictStatus
from calmstorm.rollout.fences import count_code_blocks

_LIMITS = frozenset({StopReason.LENGTH, StopReason.EXECUTIONS})


class Summary(Record):
    """One cell of a table of results."""

    pass_at_1: float | None
    """Mean over problems of the mean over their samples; None when nothing could be graded."""
    ci95: tuple[float, float] | None
    """95 % interval, clustered by problem."""
    problems: int
    """Problems with at least one graded sample."""
    samples: int
    """Samples per problem: the most that any problem has."""
    code_blocks: float
    """Python blocks per response, on average."""
    executions: float
    """Scripts run per response, on average; those that our machinery failed are not counted."""
    response_tokens: float
    """Tokens per response, on average, whoever wrote them."""
    protocol_ok: float | None
    """Share of graded responses whose final box kept to the protocol."""
    no_answer: float | None
    """Share of graded responses from which nothing could be extracted."""
    cut_off: float | None
    """Share of graded responses that reached a limit of tokens or executions; they count like any other."""
    pass_at_k: dict[int, float]
    """By k = 1, 2, 4, ... up to `samples`: chance that one of k samples is correct, over problems with that many."""
    pass_at_k_ci95: dict[int, tuple[float, float]]
    """95 % interval of each, clustered by problem."""
    infrastructure: int
    """Rollouts that our machinery failed; in no rate."""
    ungraded: int
    """Rollouts on problems without a usable label; in no rate."""

    @property
    def estimate(self) -> Estimate | None:
        """pass@1 with its interval, for macro averages; None when nothing could be graded."""
        return Estimate(self.pass_at_1, *self.ci95) if self.pass_at_1 is not None and self.ci95 is not None else None


class Tally:
    """Counts graded responses; memory grows with problems, not with responses."""

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], tuple[int, int]] = {}
        self._statuses: Counter[VerdictStatus] = Counter()
        self._protocol_ok = 0
        self._blocks = 0
        self._tokens = 0
        self._executions = 0
        self._cut_off = 0

    def add(
        self,
        suite: str,
        problem_id: str,
        verdict: Verdict,
        *,
        code_blocks: int = 0,
        tokens: int = 0,
        executions: int = 0,
        cut_off: bool = False,
    ) -> None:
        """Counts one response."""
        self._statuses[verdict.status] += 1
        if verdict.status is not VerdictStatus.INFRASTRUCTURE:
            self._blocks += code_blocks
            self._tokens += tokens
            self._executions += executions
        if verdict.status.is_judged:
            graded, correct = self._outcomes.get((suite, problem_id), (0, 0))
            self._outcomes[suite, problem_id] = graded + 1, correct + verdict.correct
            self._protocol_ok += verdict.protocol_ok
            self._cut_off += cut_off

    def add_trajectory(self, trajectory: Trajectory) -> None:
        """Counts one trajectory; one that was never graded counts as ungraded."""
        verdict = trajectory.verdict or Verdict(
            correct=False, expected=None, got=None, tolerance=0.0, status=VerdictStatus.UNGRADED
        )
        text = "".join(span.text if span.author is not Author.INTERPRETER else "\n" for span in trajectory.spans)
        self.add(
            trajectory.suite,
            trajectory.problem_id,
            verdict,
            code_blocks=count_code_blocks(text),
            tokens=trajectory.usage.completion_tokens,
            executions=sum(script.status is not ExecutionStatus.INFRASTRUCTURE for script in trajectory.executions),
            cut_off=trajectory.stop_reason in _LIMITS,
        )

    def outcomes(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Returns (graded, correct) by (suite, problem id)."""
        return dict(self._outcomes)

    def summary(self, confidence: float = CONFIDENCE) -> Summary:
        """Returns the cell for what was counted so far."""
        counts = list(self._outcomes.values())
        graded = sum(samples for samples, _ in counts)
        answered = self._statuses.total() - self._statuses[VerdictStatus.INFRASTRUCTURE]
        estimate = None
        if counts:
            means = [correct / samples for samples, correct in counts]
            estimate = clustered_interval(means, graded / len(counts), confidence)
        most = max((samples for samples, _ in counts), default=0)
        tries = [2**power for power in range(most.bit_length())]
        at_k = {k: chance for k in tries if (chance := pass_at_k(counts, k, confidence)) is not None}
        return Summary(
            pass_at_1=estimate.mean if estimate else None,
            ci95=(estimate.low, estimate.high) if estimate else None,
            problems=len(counts),
            samples=most,
            code_blocks=self._blocks / answered if answered else 0.0,
            executions=self._executions / answered if answered else 0.0,
            response_tokens=self._tokens / answered if answered else 0.0,
            protocol_ok=self._protocol_ok / graded if graded else None,
            no_answer=self._statuses[VerdictStatus.NO_ANSWER] / graded if graded else None,
            cut_off=self._cut_off / graded if graded else None,
            pass_at_k={k: chance.mean for k, chance in at_k.items()},
            pass_at_k_ci95={k: (chance.low, chance.high) for k, chance in at_k.items()},
            infrastructure=self._statuses[VerdictStatus.INFRASTRUCTURE],
            ungraded=self._statuses[VerdictStatus.UNGRADED],
        )


def summarise(trajectories: Iterable[Trajectory]) -> Summary:
    """Returns the cell for some trajectories, all of one stage."""
    tally = Tally()
    for trajectory in trajectories:
        tally.add_trajectory(trajectory)
    return tally.summary()


def pass_at_k(counts: Iterable[tuple[int, int]], k: int, confidence: float = CONFIDENCE) -> Estimate | None:
    """Returns the chance that at least one of k samples is correct, unbiased (Chen et al., 2021), with its interval.

    The interval is clustered by problem. n samples hold n / k independent tries of k, and overlapping ones vary less
    still: that bounds from below how far problems alike in difficulty differ, as k = 1 does for pass@1.

    Args:
        counts: (graded, correct) samples of each problem.
        k: Number of tries.
        confidence: Of the interval, in (0, 1).

    Returns:
        The mean over problems with at least k samples, or None when there is none.
    """
    able = [(samples, correct) for samples, correct in counts if samples >= k]
    if not able:
        return None
    chances = [1 - math.comb(samples - correct, k) / math.comb(samples, k) for samples, correct in able]
    return clustered_interval(chances, sum(samples for samples, _ in able) / len(able) / k, confidence)
