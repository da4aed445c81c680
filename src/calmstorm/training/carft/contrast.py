"""What a training holds its rollouts against, and what it must be like for that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calmstorm.errors import InputError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.records import GoldenTrajectory, Problem
from calmstorm.settings import CarftSettings, RlSettings
from calmstorm.training.carft.annotated import annotated_responses
from calmstorm.training.carft.views import Response
from calmstorm.training.passes import passes_per_update


@dataclass(frozen=True)
class Contrast:
    """What rollouts are held against."""

    settings: CarftSettings
    problem_ids: Sequence[str]
    """Of each prompt of the training, by its number."""
    annotated: Mapping[str, Response]
    """By problem id; problems without one are learned by the policy loss alone."""


def contrast_of(
    problems: Sequence[Problem],
    annotated: Mapping[str, GoldenTrajectory],
    policy: LocalReasoner,
    settings: RlSettings,
    carft: CarftSettings,
) -> Contrast:
    """Returns what a training is held against.

    Args:
        problems: Of each prompt of the training, by its number.
        annotated: Annotated trajectories by problem id.
        policy: The model in training.
        settings: Bounds the length of responses.
        carft: Variant and weights.

    Raises:
        InputError: No problem has an annotated trajectory.
    """
    once = {problem.id: problem for problem in problems}
    responses = annotated_responses(
        annotated, once.values(), policy.codec, policy.end_of_turn, settings.response_tokens
    )
    return Contrast(carft, [problem.id for problem in problems], responses)


def contrast_identity(carft: CarftSettings, contrast: Contrast | None) -> dict[str, object]:
    """Returns what a resumed training must have in common with the one that was interrupted.

    Args:
        carft: Variant and weights; where annotated trajectories were read from does not matter.
        contrast: None where nothing is contrasted.
    """
    annotated = {} if contrast is None else {name: one.token_ids for name, one in contrast.annotated.items()}
    return {"carft": carft.model_dump(exclude={"annotated"}), "annotated trajectories": annotated}


def check_contrast(settings: RlSettings, carft: CarftSettings, processes: int) -> None:
    """Checks that settings fit the contrastive loss.

    Raises:
        InputError: They don't.
    """
    if carft.coefficient == 0:
        if carft.partial_reward == "cosine":
            raise InputError(
                "carft.partial_reward is 'cosine', but with carft.coefficient = 0 nothing is embedded: raise the "
                "coefficient or choose 'flat' or 'none'"
            )
        passes_per_update(settings, processes)
        return
    if settings.mini_batch != settings.prompts_per_step:
        raise InputError(
            f"rl.mini_batch is {settings.mini_batch}; the contrastive loss compares all rollouts of a step under the "
            f"same weights, so rl.mini_batch must be rl.prompts_per_step: {settings.prompts_per_step}"
        )
    passes_per_update(settings, processes, settings.samples + 1)
