from __future__ import annotations

import json
from pathlib import Path

import pytest

from calmstorm.cli import main

ROWS = [
    {"id": "1", "prompt": "p one", "result": 12},
    {"id": "2", "prompt": "p two", "result": "No Best Solution"},
    {"id": "3", "prompt": "p three", "result": None},
]


@pytest.fixture
def own(tmp_path: Path) -> str:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return str(path)


def calm(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(words)
    return int(ended.value.code or 0)


def test_check_counts_rows_and_statuses(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "check", own, "--question", "prompt", "--answer", "result", "--json") == 0
    got = json.loads(capsys.readouterr().out)
    assert (got["rows"], got["checked"], got["problems"]) == (3, 2, [])
    assert got["statuses"] == {
        "optimal": 1,
        "no_optimum": 1,
        "infeasible": 0,
        "unbounded": 0,
        "missing": 1,
        "sentinel": 0,
    }


def test_check_fails_when_a_text_is_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gap.csv"
    path.write_text("question,answer\nHow many?,1\n,\n")
    assert calm("problems", "check", str(path)) == 1
    assert "2: the problem text is empty" in capsys.readouterr().out


def test_check_says_how_to_name_the_answer_when_no_row_has_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("question,antwort\nHow many?,1\n")
    assert calm("problems", "check", str(path)) == 0
    assert "no row has an answer; if a column holds one, name it with --answer" in capsys.readouterr().err


def test_names_are_shown_whole_however_narrow_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "list") == 0
    shown = capsys.readouterr().out
    assert "nl4opt/competition-test" in shown
    assert "\u2026" not in shown


def test_list_and_show_print_what_the_file_holds(own: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "list", own, "--json") == 0
    assert [row["label"] for row in json.loads(capsys.readouterr().out)["problems"]] == [12.0, "no_optimum", None]
    assert calm("problems", "list", own) == 0
    assert "p three" in capsys.readouterr().out
    assert calm("problems", "show", own, "2") == 0
    assert "p two\n\nlabel: no_optimum" in capsys.readouterr().out
    assert calm("problems", "show", own, "9") == 2


# ---------------------------------------------------------------- benchmarks

FARM = (
    "A farm of {0} acres grows wheat and rye with {1} hours of labor and wants to maximize its profit of {2} an acre."
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of benchmark data with small files of two versions of NL4Opt, a third of whose labels differ."""
    folder = tmp_path / "data"
    (folder / "nl4opt").mkdir(parents=True)
    for version, file in (("sirl", "sirl__NL4OPT.jsonl"), ("optmath", "optmath__NL4OPT.json")):
        rows = [
            {
                "en_question": " ".join(f"{word}{number}" for word in FARM.format(number, number, number).split()),
                "en_answer": str(number + (version == "sirl" and number % 3 == 0)),
            }
            for number in range(1, 31)
        ]
        (folder / "nl4opt" / file).write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("CALM_BENCHMARKS", str(folder))
    return folder


def test_list_without_a_name_shows_every_version_and_what_is_there(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calm("problems", "list", "--json") == 0
    versions = {version["name"]: version for version in json.loads(capsys.readouterr().out)["versions"]}
    assert [name for name, version in versions.items() if version["there"]] == ["nl4opt/sirl", "nl4opt/optmath"]
    assert versions["nl4opt/sirl"]["rows"] == 245
    assert all(version["licence"] and version["address"].startswith("https://") for version in versions.values())
    assert calm("problems", "list", "--folder", str(folder)) == 0
    assert "mamo-easy/sirl" in capsys.readouterr().out


def test_list_says_how_to_get_data_when_there_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CALM_BENCHMARKS", raising=False)
    assert calm("problems", "list") == 0
    assert "name their folder with --folder or CALM_BENCHMARKS" in capsys.readouterr().err


def test_show_finds_a_problem_of_a_benchmark(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "show", "nl4opt/optmath", "7") == 0
    assert "7  (nl4opt/optmath)\n\nA7 farm7" in capsys.readouterr().out


def test_show_says_when_a_label_is_doubtful(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "optibench").mkdir()
    row = {"index": 3, "question": "Minimize the number of saws.", "results": {"Miter saws": 15, "Round saws": 11}}
    (folder / "optibench" / "resocratic__OptiBench.json").write_text(json.dumps([row]))
    assert calm("problems", "show", "optibench", "3") == 0
    assert "label: 11.0  (optimal)\ndoubtful: the last entry, 'Round saws', is not" in capsys.readouterr().out


def test_check_of_a_benchmark_compares_its_counts(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert calm("problems", "check", "nl4opt", "--json") == 1
    got = json.loads(capsys.readouterr().out)
    assert (got["rows"], got["checked"]) == (30, 30)
    assert "nl4opt/sirl: 30 labels are optimal, published are 228" in got["problems"]
    assert calm("problems", "check", "nl4opt", "--limit", "5") == 0
    assert calm("problems", "check", "--json") == 1
    assert sorted(json.loads(capsys.readouterr().out.splitlines()[-1])["versions"]) == ["nl4opt/optmath", "nl4opt/sirl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "nlopt"), "near names are nl4opt"),
        (("check", "absent.jsonl"), "absent.jsonl: No such file"),
        (("check", "optibench"), "its file is not there; get it from https://github.com/"),
        (("check", "--folder", "/nowhere"), "/nowhere: is no folder"),
        (("audit", "optibench"), "none of these benchmarks is there"),
        (("split", "icml-task3"), "the paper has no sizes for it"),
        (("split", "nl4opt", "nl4opt/optmath"), "is named twice"),
        (("split", "--sizes", "nl4opt=8/8"), "give it as BENCHMARK=SFT/RL/TEST"),
        (("generate", "--sizes", "1,9"), "give numbers from 2 to 6"),
        (("generate", "--families", "poetry"), "family is 'poetry'"),
        (("generate", "--side", "left"), "it must be one of pretrain, adapt, evaluate"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    folder: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calm("problems", *words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"en_question": "q", "en_answer": "1"}\n{"en_ques',
        b'{"en_question": "caf\xe9"}\n',
        b'{"en_question": 5}\n',
    ],
    ids=["empty", "truncated", "mis-encoded", "mis-typed"],
)
@pytest.mark.parametrize("command", ["check", "audit", "split"])
def test_a_broken_file_of_a_benchmark_is_refused_in_one_line(
    folder: Path, content: bytes, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "nl4opt" / "sirl__NL4OPT.jsonl").write_bytes(content)
    assert calm("problems", command, "nl4opt") == 2
    said = capsys.readouterr().err
    assert "sirl__NL4OPT.jsonl" in said
    assert said.count("\n") == 1


def test_audit_sets_labels_side_by_side(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    solved = tmp_path / "solved.jsonl"
    first = json.loads((folder / "nl4opt" / "optmath__NL4OPT.json").read_text().splitlines()[2])
    solved.write_text(json.dumps({"question": first["en_question"], "answer": 3}))
    out = tmp_path / "audit.csv"
    assert calm("problems", "audit", "--reference", str(solved), "--out", str(out), "--json") == 0
    audit = json.loads(capsys.readouterr().out)["benchmarks"]["nl4opt"]
    assert (audit["problems"], audit["shared_texts"], audit["disagreeing"]) == (30, 30, 10)
    (judged,) = [item for item in audit["items"] if item["reference"]]
    assert (judged["labels"], judged["reference_agrees_with"]) == ({"sirl": 4.0, "optmath": 3.0}, ["optmath"])
    assert len(out.read_text().splitlines()) == 61
    assert calm("problems", "audit", "nl4opt", "--limit", "2") == 0
    assert "8 more; all of them with --out" in capsys.readouterr().out


def test_split_writes_disjoint_parts_and_reports_what_a_training_file_holds(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("problems", "split", "nl4opt", "--sizes", "nl4opt=5/6/7", "--seed", "3")
    training = folder / "nl4opt" / "optmath__NL4OPT.json"
    assert calm(*words, "--out", str(tmp_path / "one"), "--against", str(training), "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["parts"] == {"test": 7, "sft": 5, "rl": 6}
    assert set(report["shared_texts"].values()) == {0}
    found = report["contamination"][str(training)]
    assert (found["problems"], found["drawn"]) == (30, {"test": 7, "sft": 5, "rl": 6})
    assert calm("problems", "check", str(tmp_path / "one" / "rl.jsonl")) == 0
    assert calm(*words, "--out", str(tmp_path / "two")) == 0
    for part in ("sft", "rl", "test"):
        one, two = ((tmp_path / run / f"{part}.jsonl").read_text() for run in ("one", "two"))
        assert one == two
    assert calm(*words, "--out", str(tmp_path / "one")) == 2
    assert calm(*words, "--against", str(training), "--exclude") == 0
    assert "0 of 7" in capsys.readouterr().out


def test_generate_is_deterministic_and_loads_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("problems", "generate", "--count", "4", "--seed", "5", "--suite", "mine", "--families", "diet,knapsack")
    assert calm(*words) == 0
    printed = capsys.readouterr().out
    assert [json.loads(line)["id"] for line in printed.splitlines()] == [f"mine-5-{n:04d}" for n in range(1, 5)]
    out = tmp_path / "mine.jsonl"
    assert calm(*words, "--out", str(out)) == 0
    assert out.read_text() == printed
    assert calm("problems", "check", str(out)) == 0
    assert calm("problems", "generate", "--count", "4", "--seed", "6", "--suite", "mine", "--side", "adapt") == 0
    assert capsys.readouterr().out != printed
