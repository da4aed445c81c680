"""benchmarks/interpreter.py: what it writes, and what it concludes from numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.interpreter.conftest import WORKING

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted((BENCHMARKS / "interpreter_scripts").glob("*.py"))


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import interpreting.results

    return interpreting.results


def benchmark(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "interpreter.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.mark.engines
def test_all_numbers_are_written_when_ours_and_the_floor_are_measured(tmp_path: Path) -> None:
    tier = next((tier for tier in ("namespaces", "landlock") if WORKING[tier]), "unsafe")
    mix = [BENCHMARKS / "interpreter_scripts" / f"{name}.py" for name in ("linprog", "knapsack")]
    numbers, charts = tmp_path / "numbers.json", tmp_path / "charts.html"
    options = ["--rounds", "1", "--workers", "2", "--only", tier, "--scripts", *map(str, mix)]
    done = benchmark(*options, "--json", str(numbers), "--plot", str(charts))
    assert done.returncode == 0, done.stderr
    document = json.loads(numbers.read_text(encoding="utf-8"))
    assert document["machine"]["cores"] >= 1
    assert set(document["approaches"]) == {"in-process", tier}
    for measured in document["approaches"].values():
        assert measured["failed"] == {}
        assert min(measured["start_seconds"]) > 0
        assert [len(speeds) for speeds in measured["windows"].values()] == [1]
        assert set(measured["times"]) == {"linprog", "knapsack"}
        for times in measured["times"].values():
            assert (len(times["rested_ms"]), len(times["busy_ms"]), len(times["cpu_ms"])) == (3, 6, 1)
            assert min(times["rested_ms"] + times["busy_ms"] + times["cpu_ms"]) > 0
    assert len(document["checks"]) == (0 if tier == "unsafe" else 5)
    assert tier in done.stdout
    assert "Plotly.newPlot" in charts.read_text(encoding="utf-8")


def test_benchmark_says_what_to_choose_from_when_an_approach_is_unknown() -> None:
    done = benchmark("--only", "teleport")
    assert done.returncode == 2
    assert "teleport" in done.stderr
    assert "in-process" in done.stderr


def test_approach_fails_on_a_script_when_it_prints_something_else_than_in_process(results: ModuleType) -> None:
    run = results.Results(["a", "b"])
    run.enter("in-process", [0.5], [("1\n", ""), ("2\n", "")])
    run.enter("cold", [0.0], [("1\n", ""), ("3\n", "")])
    assert run.approaches["in-process"].failed == {}
    assert list(run.approaches["cold"].failed) == ["b"]


def test_targets_are_compared_with_the_floor_of_the_same_round(results: ModuleType) -> None:
    run = results.Results([path.stem for path in SCRIPTS])
    for name, slower, cpu in (("in-process", 0.0, 0.0), ("namespaces", 2.0, 9.0), ("unsafe", 50.0, 50.0)):
        run.enter(name, [1.0], [("", "")] * len(SCRIPTS))
        for times in run.approaches[name].times.values():
            for noise in (5.0, 80.0, 10.0):
                times.add([noise + slower] * 3, [noise], noise + cpu)
        run.approaches[name].windows[2] = [10.0 / (1 + slower / 4), 40.0 / (1 + slower / 4)]
    verdicts = {check.what: check.met for check in results.checks(run, SCRIPTS)}
    assert verdicts == {
        "throughput, 2 workers, over in-process": False,
        "assignment: latency over in-process": True,
        "assignment: CPU over in-process": False,
        "knapsack: CPU over in-process": False,
        "linprog: latency over in-process": True,
        "linprog: CPU over in-process": True,
        "sympy_derivative: CPU over in-process": True,
        "start": True,
    }
