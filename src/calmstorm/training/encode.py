"""From golden trajectories to training sequences: token ids and labels.

Which tokens are learned is read from the record of who wrote them, never from text that was decoded and searched:

    prompt                     not learned
    spans of the Reasoner      learned, the end-of-turn token included
    spans of the Intervener    learned: the fine-tuned model is to think its hints by itself (paper section 3.3)
    spans of the Interpreter   never learned: execution output is observed, not written (paper section 3.3)

Trajectories that are too long are reported, not cut: one without its box would teach the model not to answer.
"""

from __future__ import annotations

from collections.abc import Collection

from calmstorm.errors import InputError
from calmstorm.reasoner.protocol import Prefix
from calmstorm.records import Record, StopReason, Trajectory
from calmstorm.rollout.spans import SFT_AUTHORS, response_ids, response_mask

IGNORED = -100
"""Label of a token that the loss skips; the value that torch's cross-entropy ignores."""


class Example(Record):
    """One training sequence."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    """As many as `input_ids`: the token itself where it is learned, `IGNORED` elsewhere."""

    @property
    def learned(self) -> int:
        """Number of tokens that contribute to the loss."""
        return sum(label != IGNORED for label in self.labels)


def prompt_ids(prompt: Prefix) -> tuple[int, ...]:
    """Returns the token ids of a rendered prompt.

    Raises:
        InputError: The Reasoner that rendered it gives text only.
    """
    if prompt.token_ids is None:
        raise InputError(
            "the prompt has no token ids; training works on token ids alone: use a local model directory or a "
            "server that returns token ids"
        )
    return prompt.token_ids


def encode(prompt: Prefix, trajectory: Trajectory, end_of_turn: Collection[int]) -> Example:
    """Encodes one trajectory.

    Args:
        prompt: The rendered prompt of the trajectory's problem.
        trajectory: Finished, with token ids in every span.
        end_of_turn: Ids of the tokens that end a turn; the response must end with one, or the model would not learn
            to stop.

    Raises:
        InputError: Token ids are missing, or the response does not end its turn.
    """
    name = f"trajectory {trajectory.problem_id}/{trajectory.sample}"
    if trajectory.stop_reason is not StopReason.FINISHED:
        raise InputError(
            f"{name} ended with '{trajectory.stop_reason.value}'; only finished ones are trained on: drop it"
        )
    before = prompt_ids(prompt)
    response = response_ids(trajectory.spans)
    if not response or response[-1] not in end_of_turn:
        raise InputError(
            f"{name} does not end with an end-of-turn token; the model would not learn to stop: roll it out with a "
            "Reasoner that records that token"
        )
    learned = response_mask(trajectory.spans, SFT_AUTHORS)
    labels = [token if keep else IGNORED for token, keep in zip(response, learned, strict=True)]
    return Example(input_ids=(*before, *response), labels=(*[IGNORED] * len(before), *labels))
