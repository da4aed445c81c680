"""The real `calm` command as a process of its own, and what it left in a run directory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_CALM = Path(sys.executable).with_name("calm")
_OWN = ("CALM_API_KEY", "CALM_INTERVENER_KEY", "CALM_INTERVENER_URL", "OPENAI_API_KEY")


def start_calm(*words: object, log: Path, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Starts a command whose standard error goes to a file; of our variables it has only those that are named."""
    known = {name: value for name, value in os.environ.items() if name not in _OWN}
    with log.open("ab") as errors:
        return subprocess.Popen(
            [_CALM, *map(str, words)],
            env={**known, **(variables or {})},
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )


def calm(
    *words: object, log: Path, seconds: float = 900.0, status: int = 0, variables: Mapping[str, str] | None = None
) -> Any:
    """Runs a command to its end and returns what it printed: an object with --json, else a text."""
    process = start_calm(*words, log=log, variables=variables)
    try:
        printed = process.communicate(timeout=seconds)[0].decode()
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"{words[0]} did not end within {seconds:.0f} s:\n{last_lines(log)}") from None
    assert process.returncode == status, f"{words[0]} ended with {process.returncode}:\n{last_lines(log)}"
    return json.loads(printed) if "--json" in words else printed


def last_lines(log: Path) -> str:
    """Returns the end of what commands wrote to standard error."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])


def settings(given: Mapping[str, object]) -> list[str]:
    """Returns the options that change settings by dotted key."""
    return [word for key, value in given.items() for word in ("--set", f"{key}={value}")]


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    """Returns the lines of a file of a run; a file that is not there has none."""
    path = run / f"{name}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keys(run: Path, name: str) -> Counter[tuple[str, int, int]]:
    """Returns how often each (problem, sample, round) stands in a file of a run."""
    return Counter((row["problem_id"], row["sample"], row["round"]) for row in rows(run, name))


def require_whole_curation(run: Path, problems: Sequence[str], samples: int = 1, interventions: int = 5) -> None:
    """Fails unless every sample of every problem was taken to its end, with nothing lost and nothing doubled."""
    attempts, hints, reviews = keys(run, "trajectories"), keys(run, "interventions"), keys(run, "reviews")
    assert {*attempts.values(), *hints.values(), *reviews.values()} <= {1}, "a round is stored twice"
    assert not [row for row in rows(run, "trajectories") if row["stop_reason"] == "infrastructure"]
    last = {(row["problem_id"], row["sample"]): row for row in rows(run, "reviews")}
    assert {*last} == {(problem, sample) for problem in problems for sample in range(samples)}
    for (problem, sample), review in last.items():
        rounds = range(review["round"] + 1)
        done = {(problem, sample, round_) for round_ in rounds}
        assert done == {key for key in attempts if key[:2] == (problem, sample)}
        assert done == {key for key in reviews if key[:2] == (problem, sample)}
        assert done - {(problem, sample, review["round"])} == {key for key in hints if key[:2] == (problem, sample)}
        assert review["outcome"] != "flawed" or review["round"] == interventions, "a flaw is left without its hint"
