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
