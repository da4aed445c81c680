"""What can be set, within which bounds, and the paper's values as defaults (appendix E, tables 5 and 6).

A recipe is one TOML file with a section per stage; flags override it as `{"rl.steps": "5"}`. Unknown keys and values
out of range are refused in one line that says what to do. Sections know nothing of the code that uses them.
A run keeps its recipe in `config.toml` as a `RunConfig`, and later commands take it from there.
"""

from calmstorm.settings.base import Settings
from calmstorm.settings.loading import changed, load_recipe, validate
from calmstorm.settings.recipe import Recipe, RunConfig
from calmstorm.settings.sections import (
    BudgetSettings,
    CarftSettings,
    CurationSettings,
    EndpointSettings,
    EvaluationSettings,
    IntervenerSettings,
    LocalSettings,
    Price,
    ProblemSettings,
    RlSettings,
    RolloutLimits,
    RolloutSettings,
    ServerSettings,
    SftSettings,
    TrainingSettings,
)
from calmstorm.settings.seeds import derive_seed

__all__ = [
    "BudgetSettings",
    "CarftSettings",
    "CurationSettings",
    "EndpointSettings",
    "EvaluationSettings",
    "IntervenerSettings",
    "LocalSettings",
    "Price",
    "ProblemSettings",
    "Recipe",
    "RlSettings",
    "RolloutLimits",
    "RolloutSettings",
    "RunConfig",
    "ServerSettings",
    "Settings",
    "SftSettings",
    "TrainingSettings",
    "changed",
    "derive_seed",
    "load_recipe",
    "validate",
]
