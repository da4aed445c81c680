"""Chooses a handful of trajectories worth reading, and lays out what the hints replaced.

The choice is deterministic: per trigger the shortest attempt that was wrong, got that one hint and came out golden;
then one golden trajectory without any hint, and one failure of the last model. Two passes over the run: the first
keeps a few numbers per attempt, the second only the chosen texts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from calmstorm.records import (
    GoldenTrajectory,
    Intervention,
    Problem,
    Span,
    SpanKind,
    Trajectory,
    Trigger,
    VerdictStatus,
)
from calmstorm.report.counts import CURATION, RunCounts, stage_rank
from calmstorm.runs import RunDirectory

TRIGGER_NAMES = {
    Trigger.PREMATURE_SOLVING: "Premature natural-language solving",
    Trigger.FRAGMENTED_CODING: "Fragmented coding",
    Trigger.REDUNDANT_VERIFICATION: "Redundant manual verification",
    Trigger.NO_SANITY_CHECK: "No sanity check",
    Trigger.FLAWED_MODELING: "Flawed reasoning or modeling",
    Trigger.IMPLEMENTATION_ERROR: "Implementation error",
    Trigger.PROTOCOL_VIOLATION: "Protocol violation",
}
"""The seven triggers in words (paper appendix D)."""

TRIGGER_GROUPS = {
    "Code utilisation distrust": (1, 2, 3),
    "Lack of OR expertise": (4, 5, 6),
    "Protocol": (7,),
}
"""The paper's grouping of the triggers."""

FAILURES = (VerdictStatus.WRONG, VerdictStatus.NO_ANSWER)
"""Verdicts that say that the model failed, not we or the label."""


@dataclass(frozen=True)
class Passage:
    """A stretch of a transcript as it is shown."""

    kind: str
    """`text`, `code`, `output`, `hint` or `dropped`."""
    text: str
    rest: str = ""
    """Of a dropped passage: what followed the flawed target and was dropped with it."""
    intervention: Intervention | None = None
    """Of a hint or a dropped passage: the intervention that made it."""


@dataclass(frozen=True)
class Example:
    """One trajectory to read, with the problem it answers."""

    title: str
    problem: Problem | None
    trajectory: Trajectory
    passages: tuple[Passage, ...]
    first: Trajectory | None = None
    """The same attempt before any hint, where it got one."""
    golden: bool = False
    replaced_hints: int = 0
    """Hints that a later intervention cut away again; they are not shown."""


@dataclass
class _Chosen:
    title: str
    stage: str
    problem_id: str
    sample: int
    golden: bool
    rounds: dict[int, Trajectory] = field(default_factory=dict)


Attempts = dict[tuple[str, int], list[Intervention]]


def choose_examples(run: RunDirectory, counted: RunCounts) -> list[Example]:
    """Returns up to nine examples, in the order they should be read."""
    interventions: Attempts = defaultdict(list)
    for item in run.read("interventions", Intervention):
        interventions[item.problem_id, item.sample].append(item)
    golden = {(item.trajectory.problem_id, item.trajectory.sample) for item in run.read("golden", GoldenTrajectory)}
    chosen = _one_per_trigger(counted, interventions, golden)
    unaided = _unaided(counted, interventions, golden)
    chosen += [unaided] if unaided else []
    failure = _failure(run)
    chosen += [failure] if failure else []
    _load(run, chosen)
    problems = {item.problem_id for item in chosen}
    texts = {problem.id: problem for problem in run.read("problems", Problem) if problem.id in problems}
    return [
        _example(item, texts.get(item.problem_id), interventions.get((item.problem_id, item.sample), []))
        for item in chosen
        if item.rounds
    ]


def _one_per_trigger(counted: RunCounts, interventions: Attempts, golden: set[tuple[str, int]]) -> list[_Chosen]:
    """Per trigger the attempt that shows it best: fixed by this one hint if possible, short, first by name."""
    chosen: list[_Chosen] = []
    used: set[str] = set()
    for trigger in Trigger:
        candidates = []
        for key, attempt in counted.attempts.items():
            hints = interventions.get(key, [])
            if not hints or hints[0].trigger is not trigger or len(attempt.rounds) < 2:
                continue
            instructive = (key not in golden, len(hints) > 1, attempt.first.correct, key[0] in used)
            candidates.append((instructive, attempt.last.tokens, key))
        if candidates:
            key = min(candidates)[2]
            used.add(key[0])
            title = f"Trigger {int(trigger)}: {TRIGGER_NAMES[trigger].lower()}"
            chosen.append(_Chosen(title, CURATION, *key, golden=key in golden))
    return chosen


def _unaided(counted: RunCounts, interventions: Attempts, golden: set[tuple[str, int]]) -> _Chosen | None:
    candidates = [
        (attempt.last.tokens, key)
        for key, attempt in counted.attempts.items()
        if key in golden and not interventions.get(key)
    ]
    return _Chosen("Golden without any hint", CURATION, *min(candidates)[1], golden=True) if candidates else None


def _failure(run: RunDirectory) -> _Chosen | None:
    """A wrong answer of the most trained model, preferably one that ran code: those fail for a reason worth reading."""
    best: tuple[tuple[int, bool, int, str, int], Trajectory] | None = None
    for item in run.trajectories():
        if item.stage == CURATION or item.verdict is None or item.verdict.status not in FAILURES:
            continue
        size = item.usage.completion_tokens
        rank = (-stage_rank(item.stage), not item.executions, size, item.problem_id, item.sample)
        if best is None or rank < best[0]:
            best = (rank, item)
    if best is None:
        return None
    item = best[1]
    name = item.stage.upper() if item.stage in ("sft", "rl") else item.stage
    return _Chosen(f"A failure of the {name} model", item.stage, item.problem_id, item.sample, golden=False)


def _load(run: RunDirectory, chosen: Iterable[_Chosen]) -> None:
    wanted: defaultdict[tuple[str, str, int], list[_Chosen]] = defaultdict(list)
    for item in chosen:
        wanted[item.stage, item.problem_id, item.sample].append(item)
    for trajectory in run.trajectories():
        for item in wanted.get(trajectory.key[:3], []):
            item.rounds.setdefault(trajectory.round, trajectory)


def _example(item: _Chosen, problem: Problem | None, hints: Sequence[Intervention]) -> Example:
    last = item.rounds[max(item.rounds)]
    hints = hints if item.stage == CURATION else []
    passages, replaced = annotate(item.rounds, hints)
    return Example(
        title=item.title,
        problem=problem,
        trajectory=last,
        passages=passages,
        first=item.rounds.get(0) if last.round > 0 else None,
        golden=item.golden,
        replaced_hints=replaced,
    )


def annotate(rounds: dict[int, Trajectory], hints: Sequence[Intervention]) -> tuple[tuple[Passage, ...], int]:
    """Lays the dropped passages back into the last round's transcript, each before the hint that replaced it.

    Args:
        rounds: the trajectories of one attempt, by round.
        hints: the interventions of that attempt.

    Returns:
        The passages to show, and how many hints a later intervention cut away again.
    """
    last = max(rounds)
    made = sorted((hint for hint in hints if hint.round < last and hint.round in rounds), key=lambda hint: hint.round)
    surviving = [
        hint for index, hint in enumerate(made) if all(later.position > hint.position for later in made[index + 1 :])
    ]
    pending = list(surviving)
    passages: list[Passage] = []
    offset = 0
    for span in rounds[last].spans:
        cut = _cut_behind(span, offset, pending)
        if cut is not None:
            pending.remove(cut)
            passages.append(_dropped(cut, rounds[cut.round].response))
        passages.append(Passage(span.kind.value, span.text, intervention=cut))
        offset += len(span.text)
    return tuple(passages), len(made) - len(surviving)


def _cut_behind(span: Span, offset: int, pending: Sequence[Intervention]) -> Intervention | None:
    """The intervention a hint span came from: at this offset, else the next (a splice may trim white space)."""
    if span.kind is not SpanKind.HINT or not pending:
        return None
    return next((hint for hint in pending if hint.position == offset), pending[0])


def _dropped(hint: Intervention, response: str) -> Passage:
    tail = response[hint.position :]
    target = hint.target if tail.startswith(hint.target) else tail
    return Passage("dropped", target, rest=tail[len(target) :], intervention=hint)
