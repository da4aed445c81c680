"""Trajectories laid out for reading: what each author wrote, what the hints replaced; and which are worth reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calmstorm.records import Execution, Intervention, Span, SpanKind, Trajectory, Trigger, VerdictStatus
from calmstorm.report.collect import METHOD_STAGES, STAGE_ORDER, RunReport
from calmstorm.report.index import AttemptKey
from calmstorm.runs import Place

FAILURES = (VerdictStatus.WRONG, VerdictStatus.NO_ANSWER)
"""Verdicts that say that the model failed, not we or the label."""
DROPPED = "dropped"
"""Kind of a passage that a hint replaced; all others are those of spans."""


@dataclass(frozen=True)
class Passage:
    """A stretch of a transcript as it is shown."""

    kind: str
    text: str
    execution: Execution | None = None
    """Of an output: what was run."""
    intervention: Intervention | None = None
    """Of a hint or a dropped passage: the intervention that made it."""
    rest: str = ""
    """Of a dropped passage: what followed the flawed target and was dropped with it."""


@dataclass(frozen=True)
class Transcript:
    """One trajectory to read."""

    name: str
    trajectory: Trajectory
    passages: tuple[Passage, ...]
    anchor: str = ""
    """Its place on the page."""
    flaws: tuple[Trigger, ...] | None = None
    """Triggers that it shows; None where it was not searched."""
    is_golden: bool = False
    earlier: tuple[Transcript, ...] = ()
    """Of an attempt of the curation: its earlier rounds, as they were."""
    hints: int = 0
    replaced: int = 0
    """Hints that a later intervention cut away again; they are not shown."""

    @property
    def is_correct(self) -> bool:
        """Whether it was graded correct."""
        return self.trajectory.verdict is not None and self.trajectory.verdict.correct

    @property
    def verdict(self) -> str:
        """What grading came to, in words."""
        verdict = self.trajectory.verdict
        return "not graded" if verdict is None else verdict.status.value.replace("_", " ")


def plain(trajectory: Trajectory) -> tuple[Passage, ...]:
    """Returns the spans of a trajectory, one by one; each output with its execution."""
    executions = iter(trajectory.executions)
    return tuple(
        Passage(span.kind, span.text, next(executions, None) if span.kind is SpanKind.OUTPUT else None)
        for span in trajectory.spans
    )


def read_attempt(report: RunReport, key: AttemptKey, name: str, anchor: str = "") -> Transcript:
    """Reads an attempt of the curation, as it came out after its last hint."""
    index = report.index
    rounds = {number: index.trajectory(place) for number, place in index.attempts[key].items()}
    *earlier, last = rounds
    passages, replaced = annotate(rounds, index.interventions(key))
    return Transcript(
        name,
        rounds[last],
        passages,
        anchor,
        is_golden=key in index.golden,
        earlier=tuple(
            Transcript(f"Round {number}, as it was", rounds[number], plain(rounds[number])) for number in earlier
        ),
        hints=len(index.hints.get(key, [])),
        replaced=replaced,
    )


def annotate(rounds: Mapping[int, Trajectory], hints: Sequence[Intervention]) -> tuple[tuple[Passage, ...], int]:
    """Lays the dropped passages back into the last round's transcript, each before the hint that replaced it.

    Args:
        rounds: The trajectories of one attempt, by round.
        hints: The interventions of that attempt.

    Returns:
        The passages to show, and how many hints a later intervention cut away again.
    """
    last = max(rounds)
    made = sorted((hint for hint in hints if hint.round < last and hint.round in rounds), key=lambda hint: hint.round)
    pending = [
        hint for place, hint in enumerate(made) if all(later.position > hint.position for later in made[place + 1 :])
    ]
    replaced = len(made) - len(pending)
    passages: list[Passage] = []
    offset = 0
    for span, passage in zip(rounds[last].spans, plain(rounds[last]), strict=True):
        hint = _hint_behind(span, offset, pending)
        if hint is not None:
            pending.remove(hint)
            dropped = rounds[hint.round].response[hint.position :]
            target = hint.target if dropped.startswith(hint.target) else dropped
            passages.append(Passage(DROPPED, target, intervention=hint, rest=dropped[len(target) :]))
        passages.append(Passage(passage.kind, passage.text, passage.execution, hint))
        offset += len(span.text)
    return tuple(passages), replaced


def _hint_behind(span: Span, offset: int, pending: Sequence[Intervention]) -> Intervention | None:
    """The intervention a hint span came from: at this offset, else the next (a splice may trim white space)."""
    if span.kind is not SpanKind.HINT or not pending:
        return None
    return next((hint for hint in pending if hint.position == offset), pending[0])


def written(answer: float | str | None) -> str:
    """Returns an answer or a label for people: whole numbers without a point."""
    if answer is None:
        return "none"
    if isinstance(answer, str):
        return answer
    return str(int(answer)) if answer.is_integer() and abs(answer) < 1e15 else repr(answer)


# ------------------------------------------------------------------ which to read


def choose_examples(report: RunReport) -> list[Transcript]:
    """Returns up to nine examples, in the order they should be read.

    The choice is deterministic: per trigger the shortest attempt that was wrong, got that one hint and came out golden;
    then one golden trajectory without any hint, and one failure of the last model. It is made from the index; only the
    chosen texts are read.
    """
    transcripts = [
        read_attempt(report, key, f"Trigger {trigger:d}: {trigger.label.lower()}")
        for trigger, key in _one_per_trigger(report).items()
    ]
    if (unaided := _unaided(report)) is not None:
        transcripts.append(read_attempt(report, unaided, "Golden without any hint"))
    if (failure := _failure(report)) is not None:
        trajectory = report.index.trajectory(failure)
        name = failure.stage.upper() if failure.stage in METHOD_STAGES[1:] else failure.stage
        transcripts.append(Transcript(f"A failure of the {name} model", trajectory, plain(trajectory)))
    return transcripts


def _one_per_trigger(report: RunReport) -> dict[Trigger, AttemptKey]:
    """Per trigger the attempt that shows it best: fixed by this one hint if possible, short, first by name."""
    index = report.index
    hinted = [key for key, rounds in index.attempts.items() if len(rounds) > 1 and key in index.hints]
    chosen: dict[Trigger, AttemptKey] = {}
    for trigger in Trigger:
        used = {key.problem_id for key in chosen.values()}
        ranked = [
            (
                key not in index.golden,
                len(index.hints[key]) > 1,
                index.attempts[key][0].correct,
                key.problem_id in used,
                index.attempts[key][max(index.attempts[key])].tokens,
                key,
            )
            for key in hinted
            if index.hints[key][0].trigger is trigger
        ]
        if ranked:
            chosen[trigger] = min(ranked)[-1]
    return chosen


def _unaided(report: RunReport) -> AttemptKey | None:
    index = report.index
    unaided = [key for key, rounds in index.attempts.items() if key in index.golden and not index.golden[key].hints]
    return min(unaided, key=lambda key: (index.golden[key].tokens, key), default=None)


def _failure(report: RunReport) -> Place | None:
    """A wrong answer of the most trained model, preferably one that ran code: those fail for a reason worth reading."""
    wrong = [place for place in report.index.places if place.stage.is_evaluated and place.status in FAILURES]
    wrong = [place for place in wrong if place.stage in METHOD_STAGES] or wrong

    def rank(place: Place) -> tuple[int, bool, int, str, int]:
        return -STAGE_ORDER.index(place.stage), not place.executions, place.tokens, place.problem_id, place.sample

    return min(wrong, key=rank, default=None)
