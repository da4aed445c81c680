"""Curation through servers that fail in every way: everything ends, nothing is lost, doubled or told."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from calmstorm.reasoner.opening import pocket_directory
from tests.engines.calm_command import calm, require_whole_curation, rows, settings
from tests.engines.faulty_proxy import Fault, FaultyProxy
from tests.engines.scripted_models import REVIEWER, hints_needed, reasoner_server, reviewer_server, write_problems

pytestmark = [pytest.mark.engines, pytest.mark.timeout(900)]

PROBLEMS = 500
FAULTS = 0.2
"""Share of requests that fail, at either server."""
PACE = {
    "server.timeout_seconds": 2,
    "server.retries": 8,
    "intervener.timeout_seconds": 2,
    "intervener.retries": 8,
    "intervener.concurrency": 64,
    "rollout.concurrency": 128,
}
KEYS = {"CALM_API_KEY": "sk-reasoner-tells-nobody", "CALM_INTERVENER_KEY": "sk-reviewer-tells-nobody"}


def curate(problems: Path, run: Path, reasoner: str, reviewer: str, log: Path) -> None:
    served = ("--reasoner", reasoner, "--model", "scripted", "--tokenizer", str(pocket_directory()))
    asked = ("--intervener", "llm", *settings({"intervener.model": f'"{REVIEWER}"', **PACE}))
    variables = {"CALM_INTERVENER_URL": reviewer, **KEYS}
    calm("curate", "--problems", problems, "--run", run, *served, *asked, log=log, variables=variables)


def content(run: Path) -> dict[tuple[str, str, int], object]:
    """What the files of a run say, without times."""
    said = {
        "trajectories": lambda row: ([span["token_ids"] for span in row["spans"]], row["stop_reason"], row["verdict"]),
        "interventions": lambda row: (row["hint"], row["position"]),
        "reviews": lambda row: row["outcome"],
    }
    return {
        (name, row["problem_id"], row["round"]): tell(row) for name, tell in said.items() for row in rows(run, name)
    }


def test_500_problems_end_behind_faulty_servers_as_they_do_behind_sound_ones(tmp_path: Path) -> None:
    ids = write_problems(tmp_path / "problems.jsonl", PROBLEMS)
    log = tmp_path / "calm.log"
    with reasoner_server() as reasoner, reviewer_server() as reviewer:
        curate(tmp_path / "problems.jsonl", tmp_path / "sound", reasoner.url, reviewer.url, log)
        with (
            FaultyProxy(reasoner.url, share=FAULTS, seed=1) as before_reasoner,
            FaultyProxy(reviewer.url, share=FAULTS, seed=2) as before_reviewer,
        ):
            began = time.monotonic()
            curate(tmp_path / "problems.jsonl", tmp_path / "faulty", before_reasoner.url, before_reviewer.url, log)
            seconds = time.monotonic() - began
    print(f"{PROBLEMS} problems in {seconds:.0f} s")
    for proxy in (before_reasoner, before_reviewer):
        print(f"{proxy.requests} requests, {proxy.met.total()} faults: {dict(proxy.met)}")
        assert {*proxy.met} == {*Fault}
        assert proxy.met.total() > 0.15 * proxy.requests
    assert before_reasoner.keys == {f"Bearer {KEYS['CALM_API_KEY']}"}
    assert before_reviewer.keys == {f"Bearer {KEYS['CALM_INTERVENER_KEY']}"}
    require_whole_curation(tmp_path / "faulty", ids)
    assert len(rows(tmp_path / "faulty", "interventions")) == sum(map(hints_needed, ids))
    assert len(rows(tmp_path / "faulty", "golden")) == PROBLEMS
    assert content(tmp_path / "faulty") == content(tmp_path / "sound")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert log in written
    for path in written:
        told = [name for name, key in KEYS.items() if key.encode() in path.read_bytes()]
        assert not told, f"{path} holds {told}"
