from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from calmstorm import samples
from calmstorm.cli import main
from calmstorm.commands import options
from calmstorm.errors import InfrastructureError, InputError
from calmstorm.intervener.rules import RulesIntervener
from calmstorm.reasoner import opening
from calmstorm.reasoner.prompting import user_message
from calmstorm.reasoner.scripted import ScriptedReasoner

SCRIPT = "```python\nimport pulp\nprint(400.0)\n```\n"
GOOD = "The value is plausible.\n\\boxed{400}"


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def by_hand(prefix, sampling) -> str:
    """Works by hand, until a hint has opened a block."""
    said = prefix.text.partition("\n")[2]
    if "```output" in said:
        return GOOD
    return (
        SCRIPT.removeprefix("```python\n") if "```python" in said else "I model it.\nI try plans by hand.\n\\boxed{300}"
    )


@pytest.fixture(autouse=True)
def _reasoner(monkeypatch):
    monkeypatch.setattr(
        opening, "open_for", lambda recipe: opening.OpenedReasoner(ScriptedReasoner(by_hand), None, "calm-1")
    )


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(samples, "PAUSES", (0.0, 0.0))


@pytest.fixture
def problems(tmp_path: Path) -> str:
    path = tmp_path / "problems.jsonl"
    path.write_text(
        "".join(json.dumps({"id": f"p{i}", "question": f"Plan {i}?", "answer": 400}) + "\n" for i in range(3))
    )
    return str(path)


def lines(run: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (run / f"{name}.jsonl").read_text().splitlines()]


def test_curate_corrects_filters_and_sums_up(problems, tmp_path, capsys):
    run = tmp_path / "run"
    assert calm("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    reasoner, intervener = summary.pop("reasoner"), summary.pop("intervener")
    assert summary == {
        "samples": 3, "correct_before": 0.0, "correct_after": 1.0, "golden": 3, "hints": 3, "rejected": {},
    }  # fmt: skip
    assert reasoner["completion_tokens"] > 0
    assert reasoner["cost"] == intervener["cost"] == 0
    assert len(lines(run, "golden")) == 3
    assert {row["round"] for row in lines(run, "trajectories")} == {0, 1}
    assert {row["intervener"] for row in lines(run, "interventions")} == {"rules"}


def test_curate_again_needs_resume_and_then_does_nothing_twice(problems, tmp_path, capsys):
    run = tmp_path / "run"
    words = ("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x")
    assert calm(*words) == 0
    before = [(run / f"{name}.jsonl").read_text() for name in ("trajectories", "interventions", "reviews", "golden")]
    assert calm(*words) == 2
    assert "add --resume" in capsys.readouterr().err
    assert calm(*words, "--resume") == 0
    after = [(run / f"{name}.jsonl").read_text() for name in ("trajectories", "interventions", "reviews", "golden")]
    assert after == before


def test_curate_opens_a_benchmark_by_name_and_says_what_it_is_for(tmp_path, monkeypatch, capsys):
    path = tmp_path / "data" / "nl4opt" / "sirl__NL4OPT.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"question": "How much profit can be made?", "answer": 400}\n')
    monkeypatch.setenv("CALM_BENCHMARKS", str(tmp_path / "data"))
    run = tmp_path / "run"
    assert calm("curate", "--problems", "nl4opt/sirl", "--run", str(run), "--reasoner", "http://x") == 0
    assert "nl4opt/sirl is for testing" in capsys.readouterr().err
    assert [row["label_version"] for row in lines(run, "problems")] == ["nl4opt/sirl"]
    assert 'source = "nl4opt/sirl"' in (run / "config.toml").read_text()


class Absent(RulesIntervener):
    """Is not there for some of the problems."""

    missing = frozenset({"p1"})

    async def review(self, problem, trajectory):
        if problem.id in self.missing:
            raise InfrastructureError("the line is dead")
        return await super().review(problem, trajectory)


def test_an_intervener_that_fails_for_one_sample_stops_no_other(problems, tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    words = ("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x")
    monkeypatch.setattr(options, "intervener_of", lambda *given: Absent())
    assert calm(*words) == 1
    assert "1 of 3 samples are not finished (the line is dead)" in capsys.readouterr().err
    assert {(row["problem_id"], row["round"]) for row in lines(run, "trajectories")} == {
        ("p0", 0), ("p0", 1), ("p1", 0), ("p2", 0), ("p2", 1),
    }  # fmt: skip
    monkeypatch.setattr(options, "intervener_of", lambda *given: RulesIntervener())
    assert calm(*words, "--resume", "--json") == 0
    assert json.loads(capsys.readouterr().out)["golden"] == 3


class Refused(RulesIntervener):
    """Is told by its server that the key is no good."""

    async def review(self, problem, trajectory):
        raise InputError("the key is refused: set CALM_INTERVENER_KEY")


def test_a_refused_key_ends_in_one_line(problems, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(options, "intervener_of", lambda *given: Refused())
    assert calm("curate", "--problems", problems, "--run", str(tmp_path / "run"), "--reasoner", "http://x") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "calm: the key is refused: set CALM_INTERVENER_KEY"


@pytest.mark.parametrize(
    ("intervener", "reason"),
    [
        ("oracle", "it must be 'rules', 'llm', 'rules+llm' or 'human'"),
        ("human", "standard input is no terminal"),
        ("llm", "CALM_INTERVENER_URL is not set"),
    ],
)
def test_an_intervener_that_cannot_work_is_refused_before_anything_is_written(
    problems, tmp_path, capsys, monkeypatch, intervener, reason
):
    monkeypatch.delenv("CALM_INTERVENER_URL", raising=False)
    run = tmp_path / "run"
    words = ("--run", str(run), "--reasoner", "http://x", "--intervener", intervener)
    with Path(problems).open() as no_terminal:
        monkeypatch.setattr(sys, "stdin", no_terminal)
        assert calm("curate", "--problems", problems, *words) == 2
    assert reason in capsys.readouterr().err
    assert not run.exists()


def test_golden_filters_again_and_exports(problems, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "golden.messages.jsonl"
    assert calm("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x") == 0
    capsys.readouterr()
    assert calm("golden", str(run), "--out", str(out), "--format", "messages", "--json") == 0
    assert json.loads(capsys.readouterr().out)["exported"] == 3
    chats = [json.loads(line)["messages"] for line in out.read_text().splitlines()]
    assert all(chat[1]["content"].endswith(GOOD) for chat in chats)
    assert chats[0][0]["content"] == user_message("calm-1", "Plan 0?")
    assert calm("golden", str(run), "--format", "messages") == 2
    assert "nothing is exported: name a file with --out" in capsys.readouterr().err


def test_golden_takes_another_rule_and_says_so_in_the_run_s_settings(problems, tmp_path, capsys):
    run = tmp_path / "run"
    assert calm("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x") == 0
    before = (run / "config.toml").read_text()
    rows = [{**row, "executions": []} for row in lines(run, "trajectories")]  # as if no script stood behind them
    (run / "trajectories.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for rule, golden, rejected in (("strict", 0, {"unbacked": 3}), ("paper", 3, {})):
        capsys.readouterr()
        assert calm("golden", str(run), "--set", f"curation.golden={rule}", "--json") == 0
        got = json.loads(capsys.readouterr().out)
        assert (got["golden"], got["rejected"]) == (golden, rejected)
        assert f'golden = "{rule}"' in (run / "config.toml").read_text()
    assert (run / "config.toml").read_text() == before
    assert calm("golden", str(run), "--set", "seed=9") == 2
    assert "seed is 9, but this run was started with" in capsys.readouterr().err


def test_golden_says_that_samples_without_a_label_can_never_be_golden(problems, tmp_path, capsys):
    with Path(problems).open("a") as file:
        file.write(json.dumps({"id": "p9", "question": "Plan 9?", "answer": None}) + "\n")
    run = tmp_path / "run"
    assert calm("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x") == 0
    capsys.readouterr()
    assert calm("golden", str(run), "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["rejected"] == {"ungraded": 1}
    assert "1 of 4 samples belong to problems without a label and can never be golden" in printed.err


def test_golden_of_a_run_without_curation_is_refused(tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.toml").write_text("")
    assert calm("golden", str(run)) == 2
    assert "no curated trajectories" in capsys.readouterr().err


def test_flaws_of_a_run_leave_hints_out(problems, tmp_path, capsys):
    run = tmp_path / "run"
    assert calm("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x") == 0
    capsys.readouterr()
    assert calm("flaws", "--responses", str(run), "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert {row["round"]: row["triggers"] for row in got["results"]} == {0: [1], 1: []}
    assert got["summary"]["rates"]["1"] == 0.5


def test_flaws_names_the_trigger_of_the_contracts_example(tmp_path, capsys):
    code = "```python\nprint(15)\n```\n```output\n15\n```\n"
    response = (
        "I model it.\n" + code + "That is plausible: it stays under the limit of 20.\n"
        "The answer is 15 dollars, \\boxed{15 dollars in total}"
    )
    path = tmp_path / "flawed.jsonl"
    path.write_text(json.dumps({"id": "a", "problem": "How many?", "ground_truth": 15, "response": response}) + "\n")
    assert calm("flaws", "--responses", str(path), "--annotator", "rules", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    (row,) = got["results"]
    assert (row["id"], row["triggers"]) == ("a", [7])
    assert row["excerpt"] == "The answer is 15 dollars, \\boxed{15 dollars in total}"


def test_flaws_needs_a_source(capsys):
    assert calm("flaws") == 2
    assert "Missing option '--responses'" in capsys.readouterr().err


def test_a_spent_budget_is_one_line_and_what_was_finished_is_filtered_and_shown(problems, tmp_path, capsys):
    run = tmp_path / "run"
    words = ("curate", "--problems", problems, "--run", str(run), "--reasoner", "http://x", "--json")
    assert calm(*words, "--set", "rollout.concurrency=1", "--max-tokens", "10") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["samples"] == 1
    assert shown.err.splitlines()[-1].startswith("calm: budget.tokens is 10 and 1")
    assert calm(*words, "--resume", "--max-tokens", "100000") == 0
    assert json.loads(capsys.readouterr().out)["golden"] == 3


def test_a_bound_on_cost_without_prices_is_refused_before_anything_is_written(problems, tmp_path, capsys):
    run = tmp_path / "run"
    words = ("--run", str(run), "--reasoner", "http://x", "--model", "m", "--max-cost", "5")
    assert calm("curate", "--problems", problems, *words) == 2
    assert "prices name neither of" in capsys.readouterr().err
    assert not run.exists()


def test_problems_without_labels_are_counted(tmp_path, capsys):
    path = tmp_path / "problems.jsonl"
    path.write_text('{"id": "a", "question": "Plan a?"}\n{"id": "b", "question": "Plan b?", "answer": 400}\n')
    assert calm("curate", "--problems", str(path), "--run", str(tmp_path / "run"), "--reasoner", "http://x") == 0
    assert "1 of 2 problems have no usable label" in capsys.readouterr().err


def test_an_evaluation_prints_what_was_finished_and_ends_with_1_where_samples_are_open(
    problems, tmp_path, capsys, monkeypatch
):
    def script(prefix, sampling):
        if "Plan 1?" in prefix.text:
            raise InfrastructureError("the line is dead")
        return by_hand(prefix, sampling)

    run, reasoner = tmp_path / "run", "http://x"
    words = ("eval", "--problems", problems, "--run", str(run), "--reasoner", reasoner, "--samples", "1", "--json")
    monkeypatch.setattr(opening, "open_for", lambda recipe: opening.OpenedReasoner(ScriptedReasoner(script), None))
    assert calm(*words) == 1
    shown = capsys.readouterr()
    assert "1 of 3 samples are not finished (the line is dead)" in shown.err
    results = json.loads(shown.out)["results"]
    assert {row["problem_id"]: row["status"] for row in results} == {
        "p0": "wrong", "p1": "infrastructure", "p2": "wrong",
    }  # fmt: skip
    assert [row["problem_id"] for row in lines(run, "trajectories")] == ["p0", "p2"]
    assert {row["problem_id"] for row in lines(run, "failures")} == {"p1"}
    monkeypatch.setattr(opening, "open_for", lambda recipe: opening.OpenedReasoner(ScriptedReasoner(by_hand), None))
    assert calm(*words) == 0
    assert len(json.loads(capsys.readouterr().out)["results"]) == 3


def test_a_finished_run_and_a_refused_setting_open_no_reasoner(problems, tmp_path, monkeypatch, capsys):
    words = ("curate", "--problems", problems, "--run", str(tmp_path / "run"), "--reasoner", "http://x")
    assert calm(*words) == 0

    def gone(recipe):
        raise AssertionError("there is nothing to ask")

    monkeypatch.setattr(opening, "open_for", gone)
    assert calm(*words, "--resume", "--json") == 0
    assert calm(*words, "--resume", "--set", "rollout.temperature=0.9") == 2
    assert "rollout.temperature is 0.9, but this run was started with 0.6" in capsys.readouterr().err
