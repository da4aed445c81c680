"""Runs: the directory a run lives in. `RunDirectory` is the way in."""

from calmstorm.runs.directory import RunDirectory
from calmstorm.runs.environment import environment, versions
from calmstorm.runs.index import Place

__all__ = ["Place", "RunDirectory", "environment", "versions"]
