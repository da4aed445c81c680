"""`calm curate` and `calm flaws` with a chat model, as a user runs them: the pocket Reasoner, and a scripted server."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from calmstorm.cli import main
from calmstorm.commands import options
from calmstorm.errors import InputError
from calmstorm.settings import Recipe
from tests.intervener.chat_server import ChatServer

SMALL = ["--set", "rollout.response_tokens=300", "--set", "rollout.workers=1"]
KEY = "sk-not-to-be-written-down"


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CALM_INTERVENER_KEY", KEY)


def part(request: dict, heading: str) -> str:
    """What stands between the lines around a part of the prompt."""
    text = request["messages"][0]["content"].split(f"## {heading}")[1]
    return text.split(">>>\n", 1)[1].split("\n<<</")[0]


def reviewer(request: dict) -> str:
    """Corrects the first line once, then finds nothing; about one problem it has nothing usable to say."""
    if "(unreadable)" in part(request, "The task"):
        return "I would rather not."
    if part(request, "Hints given") != "none":
        return "<action>NO_INTERVENTION</action>"
    lines = part(request, "Response").split("\n")
    target = next(line for line in lines if line.strip() and lines.count(line) == 1)
    return (
        "<action>REPLACE_AND_CONTINUE</action><trigger_type>Trigger 1</trigger_type><analysis>Words.</analysis>"
        f"<target_text>{target}</target_text><hint_to_insert>I should write one complete script.</hint_to_insert>"
    )


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def problems(tmp_path: Path) -> str:
    path = tmp_path / "problems.jsonl"
    assert calm("problems", "generate", "--count", "2", "--out", str(path)) == 0
    rows = lines(path)
    rows[1]["question"] += " (unreadable)"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def flaws_are_asked_about_once(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("flaws", "--responses", str(run), "--annotator", "llm", "--model", "m", "--json")
    with ChatServer(["<trigger_type>Trigger 4</trigger_type>"]) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        assert calm(*words, "--set", "intervener.top_p=default") == 0
        asked = len(server.requests)
        assert "top_p" not in server.requests[0]
        assert f"{100 * asked} prompt and {10 * asked} completion tokens" in capsys.readouterr().err
        assert calm(*words, "--set", "intervener.top_p=default") == 0
        assert len(server.requests) == asked
    assert "0 prompt and 0 completion tokens" in capsys.readouterr().err
    with sqlite3.connect(run / "replies.sqlite") as replies:
        assert replies.execute("SELECT DISTINCT prompt FROM replies").fetchall() == [
            ("intervener-2",),
            ("annotator-2",),
        ]


def test_curation_with_a_chat_model_from_end_to_end(
    problems: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = ["curate", "--problems", problems, "--run", str(run), "--reasoner", "pocket", "--intervener", "llm"]
    words += [*SMALL, "--set", "intervener.model=m", "--set", "intervener.top_p=default"]
    words += ["--set", "intervener.attempts=2"]
    with ChatServer(reviewer) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        assert calm(*words) == 0
        asked = len(server.requests)
        assert "1 of 2 samples end with a review that failed" in (said := capsys.readouterr().err)
        assert "m gave no usable reply in 2 attempts" in said
        assert all("top_p" not in request and request["temperature"] == 1.0 for request in server.requests)
        reviews = {(row["problem_id"], row["round"]): row for row in lines(run / "reviews.jsonl")}
        names = [row["id"] for row in lines(Path(problems))]
        outcomes = {key: row["outcome"] for key, row in reviews.items()}
        assert outcomes == {
            (names[0], 0): "flawed", (names[0], 1): "flawless", (names[1], 0): "failed",
        }  # fmt: skip
        failed = reviews[names[1], 0]
        assert failed["usage"]["prompt_tokens"] == 200  # both attempts are paid for
        assert "in 2 attempts" in failed["reason"]
        assert {row["intervener"] for row in lines(run / "interventions.jsonl")} == {"llm:m@intervener-2"}

        kept = (run / "reviews.jsonl").read_text().splitlines(keepends=True)
        (run / "reviews.jsonl").write_text("".join(line for line in kept if '"flawless"' not in line))
        assert calm(*words, "--resume") == 0
        # Reviews that a kill lost are answered from what was kept; what failed is not asked about again.
        assert len(server.requests) == asked
    restored = [row for row in lines(run / "reviews.jsonl") if row["outcome"] == "flawless"]
    assert [row["usage"]["prompt_tokens"] for row in restored] == [0]
    flaws_are_asked_about_once(run, monkeypatch, capsys)
    assert all(KEY.encode() not in path.read_bytes() for path in run.iterdir() if path.is_file())
    assert KEY not in "".join(capsys.readouterr())


def test_rules_go_first_where_both_are_asked(problems: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with ChatServer(reviewer) as server:
        monkeypatch.setenv("CALM_INTERVENER_URL", server.url)
        words = ["curate", "--problems", problems, "--run", str(run), "--reasoner", "pocket", *SMALL]
        assert calm(*words, "--intervener", "rules+llm", "--limit", "1", "--set", "intervener.model=m") == 0
        rows = lines(run / "reviews.jsonl")
        assert {row["intervener"] for row in rows} == {"rules+llm:m@intervener-2"}
        assert len(server.requests) <= len(rows)


def test_a_whole_run_and_an_experiment_keep_replies_as_curation_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caches: list[Path | None] = []

    def intervener_of(recipe: Recipe, run: Path | None = None) -> None:
        caches.append(run)
        raise InputError("enough")

    monkeypatch.setattr(options, "intervener_of", intervener_of)
    assert calm("run", "pocket", "--run", str(tmp_path / "run")) == 2
    assert calm("experiment", "pilot", "--recipe", "pocket", "--run", str(tmp_path / "pilot")) == 2
    assert caches == [tmp_path / "run", tmp_path / "pilot"]
