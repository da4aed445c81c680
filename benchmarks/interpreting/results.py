"""What was measured, and what follows from it."""

from __future__ import annotations

import ast
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from calmstorm.errors import InputError
from interpreting.approaches import FLOOR, KINDS


@dataclass
class Times:
    """One approach with one script."""

    rested_ms: list[float] = field(default_factory=list)
    """Latency of requests after a pause, milliseconds."""
    busy_ms: list[float] = field(default_factory=list)
    """Latency of requests back to back, milliseconds."""
    cpu_ms: list[float] = field(default_factory=list)
    """CPU time of all processes per execution, milliseconds, one number a visit."""

    def add(self, rested: Sequence[float], busy: Sequence[float], cpu: float) -> None:
        """Adds a visit."""
        self.rested_ms += rested
        self.busy_ms += busy
        self.cpu_ms.append(cpu)


@dataclass
class Measured:
    """One approach."""

    start_seconds: list[float] = field(default_factory=list)
    """Time to construct, one number per construction."""
    failed: dict[str, str] = field(default_factory=dict)
    """Scripts that it does not run, and why."""
    times: dict[str, Times] = field(default_factory=dict)
    """By script."""
    windows: dict[int, list[float]] = field(default_factory=dict)
    """Executions of the mix per second, by workers, one number a window."""


@dataclass
class Results:
    """Everything that was measured in one run."""

    scripts: list[str]
    approaches: dict[str, Measured] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    """Approaches that do not work on this machine, and why."""
    printed: dict[str, str] = field(default_factory=dict)
    """What each script prints in process: what it must print everywhere."""

    def enter(self, name: str, start_seconds: list[float], answers: Sequence[tuple[str | None, str]]) -> None:
        """Notes that an approach was started, and what its scripts printed; the floor comes first.

        Raises:
            InputError: A script does not work at all.
        """
        measured = self.approaches.setdefault(name, Measured(times={script: Times() for script in self.scripts}))
        measured.start_seconds += start_seconds
        for script, (output, failure) in zip(self.scripts, answers, strict=True):
            if output is None and name == FLOOR:
                raise InputError(f"{script} is no script to measure: it must run in process ({failure}): see --scripts")
            if output is None:
                measured.failed[script] = failure
            elif output != self.printed.setdefault(script, output):
                measured.failed[script] = f"printed {output[:100]!r} instead of {self.printed[script][:100]!r}"

    def latency_over_floor(self, name: str, script: str) -> float:
        """Median latency after a pause, less the floor's, in milliseconds."""
        mine, floor = self.approaches[name].times[script], self.approaches[FLOOR].times[script]
        return statistics.median(mine.rested_ms) - statistics.median(floor.rested_ms)

    def cpu_over_floor(self, name: str, script: str) -> float:
        """Median over rounds of the CPU time per execution less the floor's in the same round, in milliseconds."""
        mine, floor = self.approaches[name].times[script].cpu_ms, self.approaches[FLOOR].times[script].cpu_ms
        return statistics.median(cpu - base for cpu, base in zip(mine, floor, strict=True))

    def ratios(self, name: str, workers: int) -> list[float]:
        """Throughput over the floor's in the same round of windows."""
        mine, floor = self.approaches[name].windows.get(workers, []), self.approaches[FLOOR].windows.get(workers, [])
        return [speed / base for speed, base in zip(mine, floor, strict=False)]

    def not_measured(self) -> list[str]:
        """A line for each approach that is absent, and for each script that one fails on."""
        failed = ((name, *failure) for name, measured in self.approaches.items() for failure in measured.failed.items())
        lines = [f"{name} fails on {what}: {why}" for name, what, why in failed]
        return lines + [f"{name} is left out: {why}" for name, why in self.absent.items()]

    def as_json(self) -> dict[str, Any]:
        """All raw numbers, as JSON."""
        return asdict(self)


THROUGHPUT_WORKERS, THROUGHPUT_RATIO = 2, 0.75
LATENCY_MS = 3.0
CPU_MS_PULP_ALONE, CPU_MS = 8.0, 12.0
START_SECONDS = 2.0


@dataclass(frozen=True)
class Check:
    """A number that the interpreter is meant to reach."""

    approach: str
    what: str
    value: float
    target: float
    unit: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.value >= self.target if self.at_least else self.value <= self.target

    @property
    def word(self) -> str:
        """How that is said."""
        return "met" if self.met else "missed"


def checks(results: Results, paths: Sequence[Path]) -> list[Check]:
    """Compares every isolating tier with what it is meant to reach in the same run."""
    targets = []
    for name, measured in results.approaches.items():
        if not KINDS[name].isolating:
            continue
        ratios = results.ratios(name, THROUGHPUT_WORKERS)
        if ratios:
            what = f"throughput, {THROUGHPUT_WORKERS} workers, over in-process"
            targets.append(Check(name, what, statistics.median(ratios), THROUGHPUT_RATIO, "", at_least=True))
        for path in paths:
            if path.stem in measured.failed:
                continue
            if any(kind in path.stem for kind in ("linprog", "assign")):
                latency = results.latency_over_floor(name, path.stem)
                targets.append(Check(name, f"{path.stem}: latency over in-process", latency, LATENCY_MS, " ms"))
            target = CPU_MS_PULP_ALONE if _imports(path) == {"pulp"} else CPU_MS
            cpu = results.cpu_over_floor(name, path.stem)
            targets.append(Check(name, f"{path.stem}: CPU over in-process", cpu, target, " ms"))
        targets.append(Check(name, "start", statistics.median(measured.start_seconds), START_SECONDS, " s"))
    return targets


def _imports(path: Path) -> set[str]:
    """Packages outside the standard library that a script imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    model = ""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    packages = ("calmstorm", "numpy", "scipy", "pulp", "highspy", "sympy")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "root": os.geteuid() == 0,
        "packages": {name: version(name) for name in packages},
    }
