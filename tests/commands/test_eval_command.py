from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from calmstorm.cli import main
from calmstorm.commands.eval_results import Results
from calmstorm.errors import InputError
from calmstorm.reasoner import opening
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.scripted import ScriptedReasoner
from calmstorm.records import LabelStatus, Problem, Stage, StopReason, Trajectory
from calmstorm.settings import Recipe


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture
def problems(tmp_path: Path) -> str:
    rows = [
        {"id": "a", "question": "What is 6 * 7?", "answer": 42},
        {"id": "b", "question": "What is 0 * 7?", "answer": 0},
        {"id": "c", "question": "Nobody knows.", "answer": -99999},
    ]
    return write(tmp_path / "mine.jsonl", rows)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prompts put to a Reasoner that runs the product it is asked for and boxes what was printed."""
    prompts: list[str] = []

    def script(prefix: Prefix, sampling: Sampling) -> str:
        if "```output" not in prefix.text:
            prompts.append(prefix.text)
            return f"```python\nprint({prefix.text.split('What is ')[1].split('?')[0]})\n```\n"
        return f"\\boxed{{{prefix.text.split('```output')[1].split()[0]}}}"

    def opened(recipe: Recipe) -> opening.OpenedReasoner:
        return opening.OpenedReasoner(ScriptedReasoner(script), None)

    monkeypatch.setattr(opening, "open_for", opened)
    return prompts


def test_responses_made_elsewhere_are_graded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "a", "problem": "p", "ground_truth": 15, "response": "so \\boxed{15}"},
        {"id": "b", "problem": "p", "ground_truth": 0, "response": "so \\boxed{1}"},
        {"id": "c", "problem": "p", "ground_truth": "infeasible", "response": "so \\boxed{infeasible}"},
        {"id": "d", "problem": "p", "ground_truth": None, "response": "so \\boxed{3 dollars}"},
    ]
    path = write(tmp_path / "responses.jsonl", rows)
    assert calm("eval", "--responses", path, "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["correct"], row["status"], row["protocol_ok"]) for row in got["results"]] == [
        ("a", True, "correct", True),
        ("b", False, "wrong", True),
        ("c", True, "correct", True),
        ("d", False, "ungraded", False),
    ]
    assert (got["summary"]["pass_at_1"], got["summary"]["problems"], got["summary"]["samples"]) == (2 / 3, 3, 1)
    assert calm("eval", "--responses", path) == 0
    assert "66.7%" in capsys.readouterr().out


def test_a_reasoner_is_measured_on_problems(
    problems: str, asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert calm("eval", "--problems", problems, "--samples", "2", "--json") == 0
    shown = capsys.readouterr()
    got = json.loads(shown.out)
    assert {(row["problem_id"], row["sample"], row["answer"], row["correct"]) for row in got["results"]} == {
        ("a", 0, 42.0, True),
        ("a", 1, 42.0, True),
        ("b", 0, 0.0, True),
        ("b", 1, 0.0, True),
    }
    assert (got["summary"]["problems"], got["summary"]["samples"], got["summary"]["code_blocks"]) == (2, 2, 1.0)
    assert "1 of 3 rows have no usable label and are left out" in shown.err


def test_a_run_is_resumed_and_extended_without_doing_anything_twice(
    problems: str, asked: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "--problems", problems, "--run", str(tmp_path / "run"), "--json"]
    assert calm(*words, "--samples", "1", "--limit", "1") == 0
    assert calm(*words, "--samples", "2") == 0
    assert len(asked) == 4
    assert [json.loads(line)["id"] for line in (tmp_path / "run" / "problems.jsonl").read_text().splitlines()] == [
        "a",
        "b",
    ]
    capsys.readouterr()
    assert calm(*words, "--samples", "2") == 0
    assert len(asked) == 4
    assert len(json.loads(capsys.readouterr().out)["results"]) == 4
    assert calm(*words, "--temperature", "0") == 2
    assert "evaluation.temperature is 0.0, but this run was started with 0.6" in capsys.readouterr().err


def test_a_bad_row_is_found_before_anything_is_run(tmp_path: Path, asked: list[str]) -> None:
    path = tmp_path / "broken.jsonl"
    path.write_text('{"id": "a", "question": "What is 1?", "answer": 1}\n{"id": "b", "ques')
    assert calm("eval", "--problems", str(path)) == 2
    assert asked == []


def test_problems_without_labels_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "open.jsonl", [{"question": "q"}])
    assert calm("eval", "--problems", path) == 2
    assert "name the column of the answer with --answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--reasoner", "no/such/dir"], "it must be 'pocket', a model directory, a hub id such as"),
        (["--reasoner", "http://a", "--reasoner", "http://a"], "names http://a twice"),
        (["--reasoner", "."], "holds no config.json"),
        (["--reasoner", "pocket", "--model", "x"], "drop --model"),
        (["--tier", "castle"], "rollout.tier is 'castle'"),
    ],
)
def test_a_reasoner_that_is_none_is_refused(
    words: list[str],
    message: str,
    problems: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert calm("eval", "--problems", problems, *words) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


LP_TEXT = (
    "A shop sells {} kinds of tea and wants the most profit from 100 kilograms of leaves, at most 60 of each kind."
)


@pytest.fixture
def benchmarks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of NL4Opt with three texts in common, one label of which differs and one of which is a sentinel."""
    rows = {
        "sirl__NL4OPT.jsonl": [(3, 90.0), (4, 120.0), (5, 0.0), (6, 7.0)],
        "llmopt__nl4opt_test.jsonl": [(3, 90.0), (4, 125.004), (5, -99999)],
    }
    folder = tmp_path / "data" / "nl4opt"
    folder.mkdir(parents=True)
    for name, labels in rows.items():
        write(folder / name, [{"question": LP_TEXT.format(kinds), "answer": label} for kinds, label in labels])
    monkeypatch.setenv("CALM_BENCHMARKS", str(folder.parent))
    return folder.parent


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Reasoner that answers 90 times whatever is asked."""
    opened = opening.OpenedReasoner(ScriptedReasoner(lambda prefix, sampling: "So \\boxed{90}"), None)
    monkeypatch.setattr(opening, "open_for", lambda recipe: opened)


def test_benchmarks_are_opened_by_name_under_their_own_rules(
    benchmarks: Path, telling: None, problems: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "--problems", "nl4opt/llmopt", "--problems", problems, "--samples", "2", "--json"]
    assert calm(*words) == 0
    shown = capsys.readouterr()
    got = json.loads(shown.out)
    assert "nl4opt/llmopt: 1 of 3 rows have no usable label and are left out" in shown.err
    summary = got["summary"]
    assert {row["problem_id"] for row in got["results"]} == {"nl4opt-1", "nl4opt-2", "mine-a", "mine-b"}
    assert summary["label_versions"] == ["nl4opt/llmopt", "mine"]
    assert {suite: cell["pass_at_1"] for suite, cell in summary["suites"].items()} == {"nl4opt": 0.5, "mine": 0.0}
    assert summary["macro"]["pass_at_1"] == 0.25
    assert summary["pass_at_k"] == {"1": 0.25, "2": 0.25}
    low, high = summary["pass_at_k_ci95"]["2"]
    assert low < 0.25 < high
    assert (got["budget"]["samples"], got["budget"]["executions"]) == (2, 4)
    assert calm(*words[:-1]) == 0
    out = capsys.readouterr().out
    assert "macro average" in out
    assert "Attempt budget: samples 2" in out
    assert "Versions: labels nl4opt/llmopt, labels mine" in out


def test_the_version_of_the_prompt_stands_in_the_output_and_in_the_run(
    problems: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def opened(prompt: str) -> None:
        reasoner = ScriptedReasoner(lambda prefix, sampling: "So \\boxed{42}")
        monkeypatch.setattr(opening, "open_for", lambda recipe: opening.OpenedReasoner(reasoner, None, prompt))

    words = ["eval", "--problems", problems, "--samples", "1", "--run", str(tmp_path / "run")]
    opened("calm-1")
    assert calm(*words, "--json") == 0
    assert json.loads(capsys.readouterr().out)["summary"]["prompt_version"] == "calm-1"
    assert 'prompt = "calm-1"' in (tmp_path / "run" / "config.toml").read_text()
    assert calm(*words) == 0
    assert "prompt calm-1" in capsys.readouterr().out
    opened("calm-2")
    assert calm(*words) == 2
    assert "prompt is 'calm-2', but this run was started with 'calm-1'" in capsys.readouterr().err


def test_a_source_that_is_named_twice_is_refused(problems: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("eval", "--problems", problems, "--problems", problems) == 2
    assert "mine-a is in a source before it, too; name each source once" in capsys.readouterr().err


def test_an_unknown_benchmark_is_refused(benchmarks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("eval", "--problems", "nl4opd") == 2
    assert "near names are nl4opt" in capsys.readouterr().err


def answers(path: Path, *boxes: float) -> str:
    rows = [
        {"id": str(n), "problem": LP_TEXT.format(n + 3), "ground_truth": label, "response": f"\\boxed{{{box}}}"}
        for n, (label, box) in enumerate(zip((90, 120, 0, 7), boxes, strict=True))
    ]
    return write(path, rows)


def test_the_same_answers_are_scored_by_every_version(
    benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = answers(tmp_path / "r.jsonl", 90, 120, 0, 8)
    assert calm("eval", "--responses", path, "--labels", "all", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert got["summary"]["pass_at_1"] == 0.75
    scores = {each["version"]: each for each in got["labels"]["versions"]}
    assert scores["nl4opt/sirl"]["summary"]["pass_at_1"] == 0.75
    assert scores["nl4opt/sirl"]["changes"] == []
    other = scores["nl4opt/llmopt"]
    assert (other["summary"]["pass_at_1"], other["given"]["pass_at_1"], other["summary"]["problems"]) == (0.5, 1.0, 2)
    assert [(each["problem_id"], each["given"], each["label"]) for each in other["changes"]] == [("1", 120.0, 125.004)]
    assert calm("eval", "--responses", path, "--labels", "nl4opt") == 0
    assert "label 125.004 where given is 120.0: 0 of 1 correct, not 1" in capsys.readouterr().out


def test_answers_of_a_run_are_scored_and_compared_like_responses(
    benchmarks: Path, telling: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tmp_path / "run")
    assert calm("eval", "--problems", "nl4opt/sirl", "--samples", "2", "--run", run) == 0
    capsys.readouterr()
    assert calm("eval", "--responses", run, "--labels", "nl4opt/llmopt", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["summary"]["pass_at_1"], got["summary"]["samples"]) == (0.25, 2)
    assert got["labels"]["versions"][0]["summary"]["pass_at_1"] == 0.5
    path = answers(tmp_path / "r.jsonl", 90, 120, 1, 7)
    assert calm("eval", "--compare", f"{run}:base", path, "--json") == 0
    got = json.loads(capsys.readouterr().out)
    suite = got["suites"]["nl4opt"]
    assert (suite["first"], suite["second"], suite["difference"], suite["problems"]) == (0.25, 0.75, 0.5, 4)
    assert (suite["better"], suite["worse"]) == (2, 0)
    assert calm("eval", "--compare", run, path) == 0
    assert "+50.0" in capsys.readouterr().out


def test_a_comparison_leaves_out_other_labels_and_counts_what_our_machinery_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = answers(tmp_path / "a.jsonl", 90, 120, 0, 7)
    rows = [json.loads(line) for line in Path(answers(tmp_path / "b.jsonl", 1, 120, 0, 7)).read_text().splitlines()]
    rows[1]["ground_truth"] = 121
    rows[2] |= {"response": None, "stop_reason": "infrastructure"}
    second = write(tmp_path / "b.jsonl", rows)
    assert calm("eval", "--compare", first, second, "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["other_label"], got["infrastructure"], got["suites"]["a"]["problems"]) == (1, [0, 1], 2)
    assert calm("eval", "--responses", second, "--json") == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert (summary["infrastructure"], summary["problems"]) == (1, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --problems"),
        (["--problems", "a", "--compare", "b", "c"], "give one of --problems"),
        (["--problems", "nl4opt", "--labels", "all"], "--labels scores answers that are there"),
        (["--responses", "{r}", "--labels", "all"], "no version of all that is here has any of its problem texts"),
        (["--compare", "{r}", "{s}"], "0 problem texts in common"),
        (["--compare", "{run}", "{r}"], "its evaluated stages are: base, rl; name one"),
        (["--compare", "{run}:sft", "{r}"], "there is no stage 'sft' in it"),
        (["--compare", "{r}", "no/such"], "No such file"),
    ],
)
def test_what_cannot_be_scored_or_compared_is_said_in_a_line(
    words: list[str], message: str, benchmarks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"id": "1", "problem": "another text", "ground_truth": 1, "response": ""}
    names = {
        "r": write(tmp_path / "r.jsonl", [row]),
        "s": write(tmp_path / "s.jsonl", [{**row, "problem": "one more"}]),
        "run": str(tmp_path / "run"),
    }
    (tmp_path / "run").mkdir()
    write(tmp_path / "run" / "trajectories.jsonl", [{"stage": stage} for stage in ("base", "curation", "rl")])
    assert calm("eval", *(word.format(**names) for word in words)) == 2
    assert message in capsys.readouterr().err


def test_the_pocket_reasoner_is_measured_on_a_file_of_one_s_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        opening.pocket_directory()
    except InputError:
        pytest.skip("the pocket model is not built")
    text = (
        "A workshop makes desks and chairs. A desk earns 30 dollars and takes 4 hours of labor; "
        "a chair earns 20 dollars and takes 2 hours. There are 40 hours. Maximize profit."
    )
    path = write(tmp_path / "own.jsonl", [{"id": "q1", "question": text, "answer": 400}])
    assert calm("eval", "--problems", path, "--reasoner", "pocket", "--samples", "2", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert [(row["problem_id"], row["sample"]) for row in sorted(got["results"], key=lambda row: row["sample"])] == [
        ("q1", 0),
        ("q1", 1),
    ]
    assert got["summary"]["infrastructure"] == 0


def test_rows_stand_in_the_order_of_problems_and_samples_whatever_was_finished_first(
    capsys: pytest.CaptureFixture[str],
) -> None:
    results = Results(keep_rows=True)
    for name in ("b", "ä", "a"):
        results.add_problem(Problem(id=name, question=name, status=LabelStatus.OPTIMAL, suite="easy"))
    for name, sample in (("a", 1), ("b", 10), ("ä", 0), ("b", 2), ("a", 0)):
        results.add(
            Trajectory(
                problem_id=name,
                suite="easy",
                sample=sample,
                stage=Stage.BASE,
                spans=(),
                stop_reason=StopReason.FINISHED,
            )
        )
    results.show("title", as_json=True)
    rows = [(row["problem_id"], row["sample"]) for row in json.loads(capsys.readouterr().out)["results"]]
    assert rows == [("b", 2), ("b", 10), ("ä", 0), ("a", 0), ("a", 1)]
