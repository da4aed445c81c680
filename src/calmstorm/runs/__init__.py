"""Runs: the directory a run lives in. `RunDirectory` is the way in."""

from calmstorm.runs.directory import RunDirectory
from calmstorm.runs.environment import environment, versions

__all__ = ["RunDirectory", "environment", "versions"]
