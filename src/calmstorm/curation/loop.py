"""The hint loop: attempt, review, replace the first flaw by a hint, resume from there; at most a few times.

Each round is handed out as soon as it is finished, and a loop can be entered again with what an earlier, interrupted
one had handed out. An Intervener is never asked twice about the same round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from calmstorm.grading import graded_trajectory
from calmstorm.intervener.protocol import Intervener
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import Author, Execution, Intervention, Problem, Record, Span, SpanKind, StopReason, Trajectory
from calmstorm.rollout import CodeRunner, RolloutLimits, rollout
from calmstorm.settings import derive_seed
from calmstorm.spans import cut, make_span

STAGE = "curation"


class Review(Record):
    """What an Intervener said about a round: `intervention` is None when it found no flaw."""

    problem_id: str
    sample: int
    round: int
    flawless: bool


@dataclass
class Progress:
    """What is known of one sample, from an earlier run or from this one."""

    trajectories: list[Trajectory] = field(default_factory=list)
    """By round."""
    interventions: list[Intervention] = field(default_factory=list)
    """By round; the last may be one whose resumed round is not finished yet."""
    flawless: bool = False
    """The Intervener found no flaw in the last round."""


@dataclass(frozen=True)
class Sink:
    """Where finished pieces go; each call must have stored its piece when it returns."""

    trajectory: Callable[[Trajectory], None]
    intervention: Callable[[Intervention], None]
    review: Callable[[Review], None]


@dataclass(frozen=True)
class HintLoop:
    """Curates samples; the parts are shared by all of them."""

    reasoner: Reasoner
    interpreter: CodeRunner
    intervener: Intervener
    limits: RolloutLimits
    sampling: Sampling
    """Its seed is replaced by one per round."""
    seed: int
    most_interventions: int = 5

    async def run(self, problem: Problem, sample: int, sink: Sink, progress: Progress) -> Progress:
        """Takes one sample from where it is to its end.

        Args:
            problem: What to solve.
            sample: Which attempt at it.
            sink: Receives every finished round and every intervention at once.
            progress: What an earlier run had finished; it is extended in place and returned.

        Raises:
            InfrastructureError: The Reasoner or the Intervener could not be asked.
        """
        while not progress.flawless:
            finished = len(progress.trajectories)
            if len(progress.interventions) == finished:  # the next round is open
                trajectory = await self._attempt(problem, sample, progress)
                progress.trajectories.append(trajectory)
                sink.trajectory(trajectory)
            latest = progress.trajectories[-1]
            if (
                latest.stop_reason is StopReason.INFRASTRUCTURE
                or len(progress.interventions) >= self.most_interventions
            ):
                break
            intervention = await self.intervener.review(problem, latest)
            if intervention is not None:
                progress.interventions.append(intervention)
                sink.intervention(intervention)
            else:
                progress.flawless = True
            sink.review(Review(problem_id=problem.id, sample=sample, round=latest.round, flawless=intervention is None))
        return progress

    async def _attempt(self, problem: Problem, sample: int, progress: Progress) -> Trajectory:
        """Makes the next round: a fresh attempt, or the last one resumed from its hint."""
        round_ = len(progress.trajectories)
        sampling = self.sampling.model_copy(update={"seed": derive_seed(self.seed, STAGE, problem.id, sample, round_)})
        spans: tuple[Span, ...] = ()
        executions: tuple[Execution, ...] = ()
        if round_:
            spans = splice(progress.trajectories[-1], progress.interventions[-1], self.reasoner)
            kept = sum(span.author is Author.INTERPRETER for span in spans)
            executions = progress.trajectories[-1].executions[:kept]
        prompt = self.reasoner.render(problem.question)
        finished = await rollout(
            self.reasoner,
            self.interpreter,
            prompt,
            limits=self.limits,
            sampling=sampling,
            spans=spans,
            executions=executions,
        )
        return graded_trajectory(problem, finished, stage=STAGE, sample=sample, round=round_)


def splice(trajectory: Trajectory, intervention: Intervention, reasoner: Reasoner) -> tuple[Span, ...]:
    """Returns the response up to the intervention's target, with the hint in the target's place.

    Whole tokens before the cut are kept as the Reasoner drew them; see `calmstorm.spans.cut`.
    """
    codec = reasoner.codec
    hint = make_span(Author.INTERVENER, SpanKind.HINT, intervention.hint, codec)
    return (*cut(trajectory.spans, intervention.position, codec), hint)


def edited_share(spans: Sequence[Span]) -> float:
    """Returns the share of the response that hints make up: of tokens where there are ids, else of characters."""
    sizes = [len(s.token_ids) if s.token_ids is not None else None for s in spans]
    counts = [s for s in sizes if s is not None] if None not in sizes else [len(s.text) for s in spans]
    total = sum(counts)
    hints = sum(n for n, s in zip(counts, spans, strict=True) if s.author is Author.INTERVENER)
    return hints / total if total else 0.0
