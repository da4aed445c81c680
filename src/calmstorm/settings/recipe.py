"""A whole recipe, and what a run keeps of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from calmstorm.settings.base import Settings
from calmstorm.settings.sections import (
    BudgetSettings,
    CarftSettings,
    CurationSettings,
    EvaluationSettings,
    IntervenerSettings,
    LocalSettings,
    Price,
    ProblemSettings,
    RlSettings,
    RolloutSettings,
    ServerSettings,
    SftSettings,
)


class Recipe(Settings):
    """Everything a run is made of."""

    name: str = "paper"
    reasoner: str = "Qwen/Qwen3-4B-Thinking-2507"
    """`pocket`, a model directory, a hub id, or base URLs of servers: separated by commas, or in a file, one a line."""
    model: str | None = None
    """Model name, where `reasoner` is a server."""
    tokenizer: str | None = None
    """Directory or hub id of the tokenizer, where `reasoner` is a server; None means that of `model`."""
    base: str | None = None
    """Directory or hub id of the weights to train, where `reasoner` is a server; None means `model`."""
    prompt: str | None = None
    """Prompt of the Reasoner ("paper-1", "calm-1"); None means what a model directory asks for, else "paper-1"."""
    seed: int = Field(1, ge=0, lt=2**31)
    problems: ProblemSettings = ProblemSettings()
    rollout: RolloutSettings = RolloutSettings()
    server: ServerSettings = ServerSettings()
    local: LocalSettings = LocalSettings()
    intervener: IntervenerSettings = IntervenerSettings()
    budget: BudgetSettings = BudgetSettings()
    prices: tuple[Price, ...] = ()
    """For cost; a model that is not named costs nothing."""
    curation: CurationSettings = CurationSettings()
    sft: SftSettings = SftSettings()
    rl: RlSettings = RlSettings()
    carft: CarftSettings = CarftSettings()
    evaluation: EvaluationSettings = EvaluationSettings()

    @model_validator(mode="after")
    def _models_have_one_price(self) -> Self:
        names = [price.model for price in self.prices]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"prices name {twice!r} twice; a model has one price: drop one of them")
        return self


class RunConfig(Recipe):
    """What `config.toml` of a run holds: its recipe, what began it. `prompt` names the one that was used."""

    command: Literal["run", "curate", "eval"] = "run"
