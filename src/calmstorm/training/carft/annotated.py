"""Annotated trajectories: one for each problem that has one, from a run's golden set or an export of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from calmstorm.errors import InputError
from calmstorm.reasoner.protocol import TokenCodec
from calmstorm.records import GoldenTrajectory, Problem, Trajectory
from calmstorm.rollout.spans import SFT_AUTHORS
from calmstorm.runs import RunDirectory
from calmstorm.training.carft.views import Response

REMEDY = (
    "curate these problems first, for example calm curate --problems FILE --run runs/annotated and calm golden "
    "runs/annotated, then --set carft.annotated=runs/annotated"
)


def read_annotated(source: str | Path) -> dict[str, GoldenTrajectory]:
    """Reads the annotated trajectory of each problem; of several the first.

    Args:
        source: A run directory with a golden set, or a file that `calm golden RUN --out FILE` wrote as JSON Lines.

    Raises:
        InputError: There is neither, or the file is something else.
    """
    path = Path(source)
    annotated: dict[str, GoldenTrajectory] = {}
    for golden in _read(path):
        annotated.setdefault(golden.trajectory.problem_id, golden)
    if not annotated:
        raise InputError(f"{path}: there are no golden trajectories in it to hold rollouts against: {REMEDY}")
    return annotated


def _read(path: Path) -> Iterator[GoldenTrajectory]:
    if not path.is_file():
        with RunDirectory(path, readonly=True) as run:
            yield from run.read("golden", GoldenTrajectory)
        return
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                yield GoldenTrajectory.model_validate_json(line)
            except (ValidationError, UnicodeDecodeError):
                raise InputError(
                    f"{path}: line {number} is no golden trajectory: name a run directory, or a file that "
                    "calm golden RUN --out FILE wrote with --format jsonl"
                ) from None


def annotated_responses(
    annotated: Mapping[str, GoldenTrajectory],
    problems: Iterable[Problem],
    codec: TokenCodec,
    end_of_turn: Collection[int],
    most_tokens: int,
) -> dict[str, Response]:
    """Returns the annotated responses of the problems of a training, by problem id.

    A trajectory is left out where its problem has another question, or it is longer than `most_tokens`: problems
    without one are learned by the policy loss alone.

    Args:
        annotated: Golden trajectories by problem id.
        problems: What is trained on.
        codec: The tokenizer of the model in training.
        end_of_turn: Ids of the tokens that end a turn.
        most_tokens: `rl.response_tokens`.

    Raises:
        InputError: No problem has an annotated trajectory.
    """
    responses = {}
    problems = list(problems)
    for problem in problems:
        golden = annotated.get(problem.id)
        if golden is None or golden.question != problem.question:
            continue
        response = encode_response(golden.trajectory, codec, end_of_turn)
        if len(response.token_ids) <= most_tokens and any(response.written):
            responses[problem.id] = response
    if not responses:
        raise InputError(
            f"none of the {len(problems)} problems has an annotated trajectory of at most {most_tokens} tokens, and "
            f"CARFT learns from those: {REMEDY}"
        )
    return responses


def encode_response(trajectory: Trajectory, codec: TokenCodec, end_of_turn: Collection[int]) -> Response:
    """Encodes an annotated trajectory; as in fine-tuning, hints count as written and execution output does not.

    Spans without token ids, of a server that gives text only or of a person, are tokenised one by one, and the turn is
    ended. That is harmless here: these tokens are embedded, and never learned one by one.
    """
    token_ids: list[int] = []
    written: list[bool] = []
    for span in trajectory.spans:
        ids: Sequence[int] = codec.encode(span.text) if span.token_ids is None else span.token_ids
        token_ids += ids
        written += [span.author in SFT_AUTHORS] * len(ids)
    if token_ids and token_ids[-1] not in end_of_turn:
        token_ids.append(min(end_of_turn))
        written.append(True)
    return Response(tuple(token_ids), tuple(written))
