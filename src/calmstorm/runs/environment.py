"""What a run was made with: versions and machine, without names, paths or secrets of whoever made it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from calmstorm import __version__

PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "trl",
    "accelerate",
    "datasets",
    "peft",
    "numpy",
    "scipy",
    "pulp",
    "highspy",
    "pydantic",
)


def versions() -> dict[str, str]:
    """Returns the versions of this package, Python and the packages that shape results, those installed."""
    installed = {"calmstorm": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def environment() -> dict[str, object]:
    """Returns what `env.json` holds: versions, platform, cores, and the commit when run from a checkout."""
    return {
        "versions": versions(),
        "platform": f"{platform.system()} {platform.machine()}",
        "implementation": sys.implementation.name,
        "cores": len(os.sched_getaffinity(0)),
        "commit": _commit(),
    }


def _commit() -> str | None:
    """Returns the commit of the checkout this package is imported from, marked when it has changes, or None."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(root: Path, *words: str) -> str:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()  # noqa: S603
