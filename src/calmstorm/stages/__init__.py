"""The stages of a run, each resumable on its own: problems, evaluation, curation, golden set, SFT, RL, flaws.

A stage looks at what is in the run directory first and does only what is missing there. `calmstorm.pipeline` strings
them together; a command calls the one it is named after.
"""

from calmstorm.stages.config import PACE, config_of, keep_config, recipe_of, run_config
from calmstorm.stages.curation import MakeRunner, SampleRunner, curate, curate_with, curation_stage, is_curated
from calmstorm.stages.evaluation import evaluate_model
from calmstorm.stages.flaws import KeptFlaws, find_flaws
from calmstorm.stages.golden import Funnel, filter_golden
from calmstorm.stages.launching import is_to_be_launched, launch_of, launched_data, shared_run
from calmstorm.stages.problems import Parts, collect_problems, keep_problems
from calmstorm.stages.reasoners import open_base, open_weights
from calmstorm.stages.training import fine_tune, model_path, reinforce

__all__ = [
    "PACE",
    "Funnel",
    "KeptFlaws",
    "MakeRunner",
    "Parts",
    "SampleRunner",
    "collect_problems",
    "config_of",
    "curate",
    "curate_with",
    "curation_stage",
    "evaluate_model",
    "filter_golden",
    "find_flaws",
    "fine_tune",
    "is_curated",
    "is_to_be_launched",
    "keep_config",
    "keep_problems",
    "launch_of",
    "launched_data",
    "model_path",
    "open_base",
    "open_weights",
    "recipe_of",
    "reinforce",
    "run_config",
    "shared_run",
]
