from __future__ import annotations

import json

import pytest

from calmstorm.cli import main
from calmstorm.commands import doctor


def test_doctor_finds_what_runs_code_here_and_says_so_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--json"])
    got = json.loads(capsys.readouterr().out)
    checks = {finding["name"]: finding for finding in got["findings"]}
    assert ended.value.code == (0 if got["ok"] else 1)
    assert checks["python"]["ok"]
    assert {"model-written code", "solver: pulp with CBC", "pocket model", "cores", "memory"} <= checks.keys()
    assert checks["solver: pulp with CBC"]["ok"] == checks["model-written code"]["ok"]


def test_doctor_fails_with_a_remedy_when_something_needed_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        doctor,
        "_isolation",
        lambda: iter([doctor.Check("model-written code", False, True, "cannot be isolated", "do this")]),
    )
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert "MISSING" in shown
    assert "do this" in shown


def test_doctor_shows_the_free_memory_of_each_gpu_and_when_a_server_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = pytest.importorskip("torch").cuda
    monkeypatch.setattr(cuda, "device_count", lambda: 2)
    monkeypatch.setattr(cuda, "get_device_name", lambda number: f"Model {number}")
    monkeypatch.setattr(cuda, "mem_get_info", lambda number: (3 * 2**29, 24 * 2**30))
    checks = {check.name: check for check in doctor._machine()}
    assert checks["GPU"].found == "Model 0, 1.5 of 24.0 GiB free, Model 1, 1.5 of 24.0 GiB free"
    assert (
        "above about 0.5 billion parameters a server such as vLLM is faster" in checks["models in this process"].found
    )
