from __future__ import annotations

import json
import random
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calmstorm.errors import InputError, ProblemFileError
from calmstorm.problems.files import load_problems, load_responses, write_problems
from calmstorm.problems.rows import read_rows
from calmstorm.records import LabelStatus, LinearModel, Problem, Sense

ROWS: list[dict[str, Any]] = [
    {"question": "How many\r\nchairs?", "answer": 15},
    {"question": "Wie viele? \u00e9", "answer": "No Best Solution"},
]


def save(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def shape(problems: list[Problem]) -> list[tuple[str, str, float | None, str]]:
    return [(each.id, each.question, each.answer, each.status.value) for each in problems]


EXPECTED = [("1", ROWS[0]["question"], 15.0, "optimal"), ("2", ROWS[1]["question"], None, "no_optimum")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("a.json", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("crlf.json", "\r\n".join(json.dumps(row) for row in ROWS)),
        ("gaps.jsonl", "\n\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("array.json", json.dumps(ROWS)),
        ("array.jsonl", json.dumps(ROWS, indent=4)),
        ("bom.json", "\ufeff" + json.dumps(ROWS, ensure_ascii=False)),
        ("dict.json", json.dumps({"1": ROWS[0], "2": ROWS[1]}, indent=2)),
        ("flatdict.json", json.dumps({"1": ROWS[0], "2": ROWS[1]})),
        ("byid.jsonl", "".join(json.dumps({str(n): row}) + "\n" for n, row in enumerate(ROWS, 1))),
        ("bom.csv", '\ufeffquestion,answer\n"How many\r\nchairs?",15\nWie viele? \u00e9,No Best Solution\n'),
        ("a.tsv", '\ufeffanswer\tquestion\n15\t"How many\r\nchairs?"\nNo Best Solution\tWie viele? \u00e9\n'),
        ("noextension", "".join(json.dumps(row) + "\n" for row in ROWS)),
    ],
)
def test_the_same_rows_are_read_whatever_the_format(tmp_path: Path, name: str, content: str) -> None:
    assert shape(list(load_problems(save(tmp_path, name, content)))) == EXPECTED


def test_parquet_is_read(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"en_question": ["one", "two"], "en_answer": [1.5, None]})
    parquet.write_table(table, tmp_path / "a.parquet")
    assert shape(list(load_problems(tmp_path / "a.parquet"))) == [
        ("1", "one", 1.5, "optimal"),
        ("2", "two", None, "missing"),
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"en_question": "q", "en_answer": "1"}, ("1", "q", 1.0, "optimal")),
        ({"Question": "q", "Answer": "1", "id": 7}, ("7", "q", 1.0, "optimal")),
        ({"description": "q 10", "ground_truth": 1, "task_id": "t"}, ("t", "q 10", 1.0, "optimal")),
        ({"document": "q"}, ("1", "q", None, "missing")),
        (
            {"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}], "label": 1},
            ("1", "q", 1.0, "optimal"),
        ),
        ({"description": "q 10", "sample": [{"input": {"a": 10}, "output": [3]}]}, ("1", "q 10", 3.0, "optimal")),
        (
            {"description": "q", "sample": {"input": {"a": 10}, "output": [None]}},
            ("1", 'q\n\nData:\n{"a": 10}', None, "missing"),
        ),
        ({"description": "q", "solution": {"objective": 3.0}, "dir": "d"}, ("d", "q", 3.0, "optimal")),
    ],
)
def test_the_columns_of_published_files_are_recognised(
    tmp_path: Path, row: dict[str, object], expected: tuple[object, ...]
) -> None:
    assert shape(list(load_problems(save(tmp_path, "a.jsonl", json.dumps(row))))) == [expected]


def test_named_columns_win_and_reach_into_nested_values(tmp_path: Path) -> None:
    row = {"question": "no", "answer": 1, "task": {"text": "yes"}, "gold": [{"value": "infeasible"}]}
    problem = next(load_problems(save(tmp_path, "a.jsonl", json.dumps(row)), "task.text", "gold.0.value"))
    assert (problem.question, problem.status) == ("yes", LabelStatus.INFEASIBLE)


def test_the_limit_stops_before_later_rows_are_read(tmp_path: Path) -> None:
    path = save(tmp_path, "a.jsonl", json.dumps(ROWS[0]) + "\nbroken")
    assert len(list(load_problems(path, limit=1))) == 1


GOOD = json.dumps(ROWS[0])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.jsonl", "", "the file is empty"),
        ("blank.jsonl", " \n\n", "the file is empty"),
        ("none.json", "[]", "holds no rows"),
        ("none.csv", "question,answer\n", "holds no rows"),
        (
            "cut.jsonl",
            GOOD + '\n{"question": "x',
            "line 2: not valid JSON (Unterminated string starting at); it looks cut off",
        ),
        ("first.jsonl", '{"question": "x\n' + GOOD, "line 1: not valid JSON"),
        ("cut.json", json.dumps(ROWS)[:-20], "row 2: not valid JSON"),
        ("open.json", json.dumps(ROWS)[:-1], "ends inside row 3: it was cut off"),
        ("cutdict.json", json.dumps({"a": ROWS[0], "b": ROWS[1]}, indent=1)[:-30], "not valid JSON"),
        (
            "latin.jsonl",
            GOOD.encode() + b'\n{"question": "caf\xe9", "answer": 1}\n',
            "line 2: byte 0xe9 is not UTF-8; save the file",
        ),
        ("latin.json", b'[\n{"question": "caf\xe9", "answer": 1}\n]', "line 2: byte 0xe9 is not UTF-8"),
        ("latin.csv", b"question,answer\ncaf\xe9,1\n", "line 2: byte 0xe9 is not UTF-8"),
        ("utf16.csv", "question,answer\n".encode("utf-16"), "UTF-16; save it as UTF-8"),
        ("list.jsonl", "[1, 2]\n", "row 1: holds a number, not an object"),
        ("text.jsonl", '{"question": "q"}\n"text"\n', "line 2: holds a text, not an object"),
        ("plain.json", "hello", "which no JSON object or array does"),
        ("plain.txt", "hello", "the format cannot be told"),
        ("fake.parquet", "hello", "not a parquet file"),
        ("cut.parquet", b"PAR1hello", "not a whole parquet file"),
        ("quote.csv", 'question,answer\n"open,1\n', "not valid CSV"),
        ("short.csv", "question,answer\nq,1\nq\n", "line 3: has 1 columns where the header has 2"),
        ("twice.csv", "question,question\nq,1\n", "two columns have the same name"),
        ("type.jsonl", '{"question": 5, "answer": 1}\n', "line 1: the problem text is of type int"),
        (
            "label.jsonl",
            GOOD + '\n{"question": "q", "answer": "ten"}\n',
            "line 2: the answer is the text 'ten'; give a number, null",
        ),
        ("bool.jsonl", '{"question": "q", "answer": true}\n', "the answer is the truth value true"),
        ("list.json", '[{"question": "q", "answer": [1, 2]}]', "row 1: the answer is a list of 2 values"),
        (
            "columns.jsonl",
            '{"q": "q", "a": 1}\n',
            "no column holds the problem text (there are: q, a); name it with --question",
        ),
        (
            "ids.jsonl",
            '{"id": 1, "question": "q"}\n{"id": "1", "question": "r"}\n',
            "line 2: the id '1' is already taken",
        ),
        ("void.jsonl", '{"question": " ", "answer": 1}\n', "the problem text is empty"),
        (
            "surrogate.jsonl",
            '{"question": "\\ud800", "answer": 1}\n',
            "line 1: the text holds half a character (U+D800)",
        ),
        ("deep.jsonl", "[" * 100_000, "nested too deep"),
        ("joined.json", f"[{GOOD}]\n[{GOOD}]", "goes on after the array of 1 rows ends"),
        ("utf16le.csv", "question,answer\n".encode("utf-16-le"), "line 1: holds a zero byte, as UTF-16 does"),
        (
            "status.jsonl",
            '{"id": "1", "question": "q", "status": "optimal", "answer": null}\n',
            "line 1: the status is optimal and the answer is None",
        ),
        (
            "status2.jsonl",
            '{"id": "1", "question": "q", "status": "infeasible", "answer": 3}\n',
            "line 1: the status is infeasible and the answer is 3.0",
        ),
        ("deepline.jsonl", GOOD + "\n" + '{"a":' * 100_000, "line 2: not valid JSON (nested too deep)"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_that_names_the_place(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    with pytest.raises(ProblemFileError) as caught:
        list(load_problems(save(tmp_path, name, content)))
    assert message in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(ProblemFileError, match="name a file that can be read"):
            list(load_problems(path))


@pytest.mark.parametrize(("question", "answer", "flag"), [("nope", None, "--question"), (None, "nope", "--answer")])
def test_a_named_column_that_is_not_there_is_refused(
    tmp_path: Path, question: str | None, answer: str | None, flag: str
) -> None:
    with pytest.raises(ProblemFileError, match=f"no column 'nope' .there are: question, answer.; correct {flag}"):
        list(load_problems(save(tmp_path, "a.jsonl", GOOD), question, answer))


@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_problems_or_one_line(content: bytes) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for name in ("a.json", "a.csv", "a.parquet"):
            message = ""
            try:
                list(load_problems(save(Path(folder), name, content)))
            except InputError as error:
                message = str(error)
            assert "\n" not in message


def test_written_problems_are_read_back_unchanged(tmp_path: Path) -> None:
    model = LinearModel(
        sense=Sense.MAXIMIZE, objective="profit", variables=("x",), costs=(1.0,), rows=(), domains=("integer",)
    )
    problems = [
        Problem(
            id="a",
            question="q\n\u2028",
            answer=1.5,
            status=LabelStatus.OPTIMAL,
            suite="easy",
            family="diet",
            reference=model,
        ),
        Problem(id="b", question="r", status=LabelStatus.INFEASIBLE, label_version="v2", tolerance=0.01),
    ]
    assert write_problems(tmp_path / "p.jsonl", problems) == 2
    assert list(load_problems(tmp_path / "p.jsonl")) == problems


@pytest.mark.parametrize("form", ["lines", "array"])
def test_large_files_are_streamed_in_flat_memory(tmp_path: Path, form: str) -> None:
    row = json.dumps({"question": "x" * 2000, "answer": 1})
    count = 5_000
    content = "\n".join([row] * count) if form == "lines" else "[" + ",\n".join([row] * count) + "]"
    path = save(tmp_path, "big.json", content)
    del content
    tracemalloc.start()
    assert sum(1 for _ in load_problems(path)) == count
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000 < path.stat().st_size


def test_parquet_is_streamed_whatever_the_size_of_its_row_groups(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    rng = random.Random(1)
    texts = [rng.randbytes(200).hex() for _ in range(30_000)]
    path = tmp_path / "big.parquet"
    parquet.write_table(arrow.table({"question": texts, "answer": [1.0] * len(texts)}), path, row_group_size=len(texts))
    pool = arrow.default_memory_pool()
    held = 0
    before = pool.bytes_allocated()
    for count, _ in enumerate(read_rows(path)):
        held = max(held, pool.bytes_allocated() - before) if count % 256 == 0 else held
    assert count + 1 == len(texts)
    assert held < 4_000_000 < sum(map(len, texts))


def test_an_integer_too_large_for_a_number_is_no_label(tmp_path: Path) -> None:
    content = json.dumps({"question": "q", "answer": 10**400})
    assert [each.status for each in load_problems(save(tmp_path, "a.jsonl", content))] == [LabelStatus.SENTINEL]


def test_samples_are_counted_however_far_apart_they_stand(tmp_path: Path) -> None:
    rows = [{"id": f"p{number % 3}", "ground_truth": 1, "response": "x"} for number in range(9)]
    got = load_responses(save(tmp_path, "r.jsonl", "\n".join(map(json.dumps, rows))))
    assert [(each.problem.id, each.sample) for each in got] == [(f"p{n % 3}", n // 3) for n in range(9)]


def test_rows_of_one_id_in_two_suites_are_two_problems(tmp_path: Path) -> None:
    rows = [{"id": "1", "suite": suite, "ground_truth": 1, "response": "x"} for suite in ("easy", "hard", "easy")]
    got = load_responses(save(tmp_path, "r.jsonl", "\n".join(map(json.dumps, rows))))
    assert [(each.problem.suite, each.sample) for each in got] == [("easy", 0), ("hard", 0), ("easy", 1)]


def test_responses_are_read_with_their_labels_and_samples(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "problem": "p", "ground_truth": 15, "response": "\\boxed{15}"},
        {"id": "a", "problem": "p", "ground_truth": 15, "response": None},
        {"id": "b", "ground_truth": "infeasible", "output": "x"},
        {"problem": "p", "response": "x", "ground_truth": None},
    ]
    got = list(load_responses(save(tmp_path, "r.jsonl", "\n".join(map(json.dumps, rows)))))
    assert [(each.problem.id, each.sample, each.problem.label, each.response) for each in got] == [
        ("a", 0, 15.0, "\\boxed{15}"),
        ("a", 1, 15.0, ""),
        ("b", 0, "infeasible", "x"),
        ("4", 0, None, "x"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "ground_truth": 1}, "no column holds a response"),
        ({"id": "a", "ground_truth": 1, "response": 5}, "the response is of type int"),
        ({"id": "a", "ground_truth": "ten", "response": "x"}, "the answer is the text 'ten'"),
    ],
)
def test_bad_responses_are_refused(tmp_path: Path, row: dict[str, object], message: str) -> None:
    with pytest.raises(ProblemFileError, match=message):
        list(load_responses(save(tmp_path, "r.jsonl", json.dumps(row))))


def test_an_array_with_the_nan_that_python_writes_is_read(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": float("nan")}, {"question": "r", "answer": 1}]
    got = shape(list(load_problems(save(tmp_path, "a.json", json.dumps(rows)))))
    assert got == [("1", "q", None, "missing"), ("2", "r", 1.0, "optimal")]


def test_half_a_character_in_an_array_is_refused_and_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(ProblemFileError, match=r"row 1: the text holds half a character \(U\+D800\)"):
        list(load_problems(save(tmp_path, "a.json", '[{"question": "\\ud800", "answer": 1}]')))


def test_a_row_of_an_array_may_be_longer_than_what_is_read_at_once(tmp_path: Path) -> None:
    text = "\u00e9" * 200_000
    content = json.dumps([{"question": text, "answer": 1}] * 2, ensure_ascii=False)
    assert [each.question for each in load_problems(save(tmp_path, "a.json", content), limit=1)] == [text]
