"""Non-reflective pairs as training data: one turn of the assistant without any thinking, learned whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from calmstorm.problems.pairs import Pair, load_pairs
from calmstorm.progress import note
from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
from calmstorm.reasoner.prompting import chat
from calmstorm.records import Author, GoldenTrajectory, SpanKind, Stage, StopReason, Trajectory
from calmstorm.rollout.spans import make_span

_OPENED = "<think>"
_CLOSED = "</think>\n\n"


def pairs_of(path: str | Path, base: str | Path, question: str | None = None) -> list[GoldenTrajectory]:
    """Reads the pairs of a file as training data for a model; says how many rows were no pairs.

    Args:
        path: The file.
        base: Directory or hub id of the model, whose tokenizer and chat template are used.
        question: Column of the problem text, where it is not a usual one.

    Raises:
        InputError: The file cannot be read, holds no pairs, or there is no such model.
    """
    pairs, refused = load_pairs(path, question)
    if refused:
        note(f"{len(refused)} of {len(refused) + len(pairs)} rows are no pairs and are left out (first: {refused[0]})")
    return as_golden(pairs, base)


def as_golden(pairs: Sequence[Pair], base: str | Path) -> list[GoldenTrajectory]:
    """Returns pairs as trajectories that the Reasoner is to have written, all of them to be learned.

    Where the chat template has the model begin in its thoughts, these are closed at once.
    """
    tokenizer = load_tokenizer(str(base))
    codec = TokenizerCodec(tokenizer)
    thinks = chat(tokenizer, "?").rstrip().endswith(_OPENED)
    end_of_turn = int(tokenizer.eos_token_id)
    return [_golden(pair, codec, end_of_turn, _CLOSED if thinks else "") for pair in pairs]


def _golden(pair: Pair, codec: TokenizerCodec, end_of_turn: int, before: str) -> GoldenTrajectory:
    span = make_span(Author.REASONER, SpanKind.TEXT, before + pair.answer, codec)
    ended = span.model_copy(update={"token_ids": (*(span.token_ids or ()), end_of_turn)})
    trajectory = Trajectory(
        problem_id=pair.id, sample=0, stage=Stage.PILOT, spans=(ended,), stop_reason=StopReason.FINISHED
    )
    return GoldenTrajectory(trajectory=trajectory, question=pair.question, interventions=(), edited_token_share=0.0)
