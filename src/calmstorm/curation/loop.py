"""The hint loop: attempt, review, replace the first flaw by a hint, resume from there; at most a few times.

Each round is handed out as soon as it is finished, and a loop can be entered again with what an earlier, interrupted
one had handed out. An Intervener is never asked twice about the same round. The round after the last hint is reviewed
too, so that it can be found flawless, but a flaw found there is not corrected any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from calmstorm.curation.step_review import StepReview
from calmstorm.errors import InfrastructureError
from calmstorm.grading import graded_trajectory
from calmstorm.intervener.protocol import Intervener, Reviewed
from calmstorm.intervener.steps import IntervenerSteps, StepValidator
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.records import (
    Author,
    Execution,
    Intervention,
    Problem,
    Review,
    ReviewOutcome,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
)
from calmstorm.rollout import CodeRunner, RolloutLimits, rollout
from calmstorm.rollout.loop import AfterOutput
from calmstorm.rollout.spans import cut, make_span
from calmstorm.settings import Recipe, derive_seed


@dataclass
class SampleProgress:
    """What the loop needs to know of one sample; memory does not grow with its rounds."""

    rounds: int = 0
    """Finished ones."""
    latest: Trajectory | None = None
    """That of the last round."""
    interventions: list[Intervention] = field(default_factory=list)
    """By round; the last may be one whose resumed round is not finished yet."""
    reviews: list[Review] = field(default_factory=list)
    """By round."""

    @property
    def flawless(self) -> bool:
        """Whether the Intervener found no flaw in the last round."""
        return bool(self.reviews) and self.reviews[-1].outcome is ReviewOutcome.FLAWLESS

    def is_finished(self, most_interventions: int) -> bool:
        """Whether nothing is left to do."""
        outcome = self.reviews[-1].outcome if self.reviews else None
        return is_finished(outcome, len(self.reviews), most_interventions)


def is_finished(outcome: ReviewOutcome | None, reviews: int, most_interventions: int) -> bool:
    """Whether a sample has come to its end: flawless, not to be reviewed, or out of hints and the last round reviewed.

    Args:
        outcome: Of its last review; None where there is none.
        reviews: How many there are.
        most_interventions: Hints that it may have.
    """
    return outcome in (ReviewOutcome.FLAWLESS, ReviewOutcome.FAILED) or reviews > most_interventions


@dataclass(frozen=True)
class Sink:
    """Where finished pieces go; each call must have stored its piece when it returns."""

    trajectory: Callable[[Trajectory], None]
    intervention: Callable[[Intervention], None]
    review: Callable[[Review], None]


@dataclass(frozen=True)
class HintLoop:
    """Curates samples; the parts are shared by all of them.

    It needs nothing of the run directory, so that it can work where none is: what it is given and what it hands out are
    records that can be sent elsewhere.
    """

    reasoner: Reasoner
    interpreter: CodeRunner
    intervener: Intervener
    limits: RolloutLimits
    sampling: Sampling
    """Its seed is replaced by one per round."""
    sink: Sink
    """Receives every finished round, review and intervention at once."""
    seed: int
    most_interventions: int = 5
    steps: StepValidator | None = None
    """Reviews every step as soon as it has run; None has the Intervener review finished responses, as in the paper."""
    may_go_on: Callable[[], bool] = lambda: True
    """Asked before each round; where it says no, the sample is left as it stands."""

    async def run(self, problem: Problem, sample: int, progress: SampleProgress) -> SampleProgress:
        """Takes one sample from where it is to its end.

        Args:
            problem: What to solve.
            sample: Which attempt at it.
            progress: What an earlier run had finished; it is brought up to date in place and returned.

        Raises:
            InfrastructureError: The Reasoner, the interpreter or the Intervener could not be asked; the sample stays
                open, and what it had finished stays in `progress`.
        """
        while not progress.is_finished(self.most_interventions):
            if len(progress.reviews) < len(progress.interventions):  # stopped between an intervention and its review
                self._close_round(problem, sample, progress, Reviewed.of(progress.interventions[-1]))
                continue
            watch = StepReview(self.steps, problem, sample, len(progress.reviews)) if self.steps is not None else None
            if len(progress.interventions) == progress.rounds:  # the next round is open
                if not self.may_go_on():
                    break
                progress.latest = await self._attempt(problem, sample, progress, watch)
                self.sink.trajectory(progress.latest)
                progress.rounds += 1
            latest = _latest(progress)
            reviewed = await (watch.conclude(latest) if watch else self.intervener.review(problem, latest))
            if reviewed.intervention is not None and len(progress.interventions) < self.most_interventions:
                self.sink.intervention(reviewed.intervention)
                progress.interventions.append(reviewed.intervention)
            self._close_round(problem, sample, progress, reviewed)
        return progress

    def _close_round(self, problem: Problem, sample: int, progress: SampleProgress, reviewed: Reviewed) -> None:
        review = Review(
            problem_id=problem.id,
            sample=sample,
            round=len(progress.reviews),
            outcome=reviewed.outcome,
            reason=reviewed.reason,
            intervener=self.intervener.name,
            usage=reviewed.usage,
        )
        self.sink.review(review)
        progress.reviews.append(review)

    async def _attempt(
        self, problem: Problem, sample: int, progress: SampleProgress, watch: AfterOutput | None
    ) -> Trajectory:
        """Makes the next round: a fresh attempt, or the last one resumed from its hint."""
        sampling = self.sampling.model_copy(
            update={"seed": derive_seed(self.seed, Stage.CURATION, problem.id, sample, progress.rounds)}
        )
        spans: tuple[Span, ...] = ()
        executions: tuple[Execution, ...] = ()
        if progress.rounds:
            last, intervention = _latest(progress), progress.interventions[-1]
            spans = splice(last, intervention, self.reasoner)
            executions = last.executions[: outputs_before(last.spans, intervention.position)]
        finished = await rollout(
            self.reasoner,
            self.interpreter,
            self.reasoner.render(problem.question),
            limits=self.limits,
            sampling=sampling,
            spans=spans,
            executions=executions,
            after_output=watch,
        )
        if finished.stop_reason is StopReason.INFRASTRUCTURE:
            raise InfrastructureError(finished.failure)
        return graded_trajectory(problem, finished, stage=Stage.CURATION, sample=sample, round=progress.rounds)


def hint_loop(
    recipe: Recipe,
    reasoner: Reasoner,
    interpreter: CodeRunner,
    intervener: Intervener,
    sink: Sink,
    may_go_on: Callable[[], bool] = lambda: True,
) -> HintLoop:
    """Returns the loop of a recipe: its bounds, sampling, seed and kind of review."""
    drawn = recipe.rollout
    return HintLoop(
        reasoner,
        interpreter,
        intervener,
        limits=drawn,
        sampling=Sampling(temperature=drawn.temperature, top_p=drawn.top_p, top_k=drawn.top_k, min_p=drawn.min_p),
        sink=sink,
        seed=recipe.seed,
        most_interventions=recipe.curation.interventions,
        steps=IntervenerSteps(intervener) if recipe.intervener.review == "steps" else None,
        may_go_on=may_go_on,
    )


def _latest(progress: SampleProgress) -> Trajectory:
    if progress.latest is None:
        raise ValueError("the progress of a sample with rounds must hold the last trajectory")
    return progress.latest


def splice(trajectory: Trajectory, intervention: Intervention, reasoner: Reasoner) -> tuple[Span, ...]:
    """Returns the response up to the intervention's target, with the hint in the target's place.

    Whole tokens before the cut are kept as the Reasoner drew them; see `calmstorm.rollout.spans.cut`. A hint that
    stands right before the target did not help: the new one replaces it instead of piling up behind it.
    """
    codec = reasoner.codec
    kept = list(cut(trajectory.spans, intervention.position, codec))
    hint = intervention.hint
    while kept and kept[-1].author is Author.INTERVENER:
        replaced = kept.pop().text
        if replaced.startswith("\n") and not hint.startswith("\n"):  # the break that set it off from the text before
            hint = "\n" + hint
    return (*kept, make_span(Author.INTERVENER, SpanKind.HINT, hint, codec))


def outputs_before(spans: Sequence[Span], position: int) -> int:
    """Returns how many execution outputs begin before a position of the response, characters.

    The last may be the one that says that no run is left; it has no execution.
    """
    count, start = 0, 0
    for span in spans:
        count += span.author is Author.INTERPRETER and start < position
        start += len(span.text)
    return count


def edited_share(spans: Sequence[Span]) -> float:
    """Returns the share of the response that hints make up: of tokens where there are ids, else of characters."""
    sizes = [len(s.token_ids) if s.token_ids is not None else None for s in spans]
    counts = [s for s in sizes if s is not None] if None not in sizes else [len(s.text) for s in spans]
    total = sum(counts)
    hints = sum(n for n, s in zip(counts, spans, strict=True) if s.author is Author.INTERVENER)
    return hints / total if total else 0.0
