"""The page of each problem: everything is there, nothing hostile acts, memory stays flat."""

from __future__ import annotations

import csv
import json
import random
import re
import tracemalloc
from pathlib import Path

import pytest

from calmstorm.records import (
    Author,
    Constraint,
    Domain,
    Execution,
    ExecutionStatus,
    Formulation,
    Sense,
    Span,
    SpanKind,
    Variable,
)
from calmstorm.report import read_run, write_reports
from calmstorm.report.content import Content
from calmstorm.report.pages import problem_page
from tests.report.hostile_run import HOSTILE
from tests.report.page_reader import read
from tests.report.synthetic_run import make_problem, trajectory


def pages_of(root: Path) -> list[Path]:
    return sorted((root / "report_files" / "problems").glob("*.html"))


@pytest.fixture(scope="module")
def written(run_path: Path) -> list[Path]:
    write_reports([run_path], run_path)
    return pages_of(run_path)


def test_every_problem_with_a_trajectory_has_a_page_and_the_report_leads_to_it(
    written: list[Path], run_path: Path
) -> None:
    rows = (run_path / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(written) == len({json.loads(row)["problem_id"] for row in rows}) == 88
    html = (run_path / "report.html").read_text(encoding="utf-8")
    links = re.findall(r'href="report_files/problems/([^"]+)"', html)
    assert sorted(links) == [path.name for path in written]


def test_pages_hold_every_trajectory_and_every_hint(written: list[Path], run_path: Path) -> None:
    texts = [re.sub(r"\s+", " ", "".join(read(path.read_text(encoding="utf-8")).text)) for path in written]
    spans = 0
    for line in (run_path / "trajectories.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        mine = [text for text in texts if f" {row['problem_id']} " in text]
        assert len(mine) == 1
        for span in row["spans"]:
            inner = re.sub(r"```(?:python|output)?", "", span["text"])
            assert re.sub(r"\s+", " ", inner).strip() in mine[0]
            spans += 1
    assert spans > 1000
    hints = [json.loads(line) for line in (run_path / "interventions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(any(re.sub(r"\s+", " ", hint["hint"]).strip() in text for text in texts) for hint in hints)


def test_a_page_shows_samples_verdicts_flaws_and_the_label(written: list[Path]) -> None:
    html = next(path for path in written if "test-easy-003" in path.name).read_text(encoding="utf-8")
    reader = read(html)
    text = re.sub(r"\s+", " ", " ".join(reader.text))
    anchors = [attributes["id"] for tag, attributes in reader.tags if tag == "details" and "id" in attributes]
    assert anchors == [f"arm-{arm}-{sample}" for arm in range(3) for sample in range(4)]
    assert "generated-1" in text
    assert "\u2713 correct" in text
    assert "What is the maximum profit?" in text
    links = [attributes.get("href") for tag, attributes in reader.tags if tag == "a"]
    assert "../../report.html#problems" in links


def test_pages_lead_to_one_another_in_the_order_of_the_report(written: list[Path]) -> None:
    def linked(path: Path, rel: str) -> str | None:
        link = re.search(rf'<a href="([^"]+)" rel="{rel}">', path.read_text(encoding="utf-8"))
        return link[1] if link else None

    folder = written[0].parent
    (first,) = [path for path in written if linked(path, "prev") is None]
    seen, at = [first.name], first
    while (after := linked(at, "next")) is not None:
        assert linked(folder / after, "prev") == at.name
        at = folder / after
        seen.append(after)
    assert len(seen) == len(set(seen)) == len(written)
    assert seen[0].startswith("easy-test-easy-000")


def test_the_model_that_was_solved_is_shown(tmp_path: Path) -> None:
    problem = make_problem(0, "easy", "test", random.Random(1))
    spans = [
        Span(author=Author.REASONER, kind=SpanKind.CODE, text="```python\nx\n```\n"),
        Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="```output\n5\n```\n"),
    ]
    solved = Formulation(
        source="pulp",
        sense=Sense.MAXIMIZE,
        costs={"desk<b>": 3.0},
        variables=(Variable(name="desk<b>", domain=Domain.INTEGER, lower=0, upper=7, value=5),),
        constraints=(Constraint(name="c", coefficients={"desk<b>": 2.0}, operator="<=", bound=11),),
        solver="CBC",
        solver_status="Optimal",
        objective=15.0,
    )
    run = Execution(status=ExecutionStatus.OK, stdout="5", wall_seconds=0.25, tier="namespaces", formulations=(solved,))
    made = trajectory(problem, spans, 15.0, stage="base", sample=0).model_copy(update={"executions": (run,)})
    (tmp_path / "trajectories.jsonl").write_text(made.to_json() + "\n", encoding="utf-8")
    write_reports([tmp_path], tmp_path)
    (page,) = pages_of(tmp_path)
    html = page.read_text(encoding="utf-8")
    assert "Model that was solved by CBC: Optimal, objective 15" in html
    assert "maximize 3 desk&lt;b&gt;" in html
    assert "integer: desk&lt;b&gt; &lt;= 7" in html
    assert "ok, 0.25 s" in html
    assert "problems.jsonl does not hold this problem" in html


def test_file_names_are_safe_and_hostile_text_stays_text(hostile_path: Path) -> None:
    write_reports([hostile_path], hostile_path)
    pages = pages_of(hostile_path)
    assert len(pages) == 18
    assert all(re.fullmatch(r"[a-z0-9-]{1,70}\.html", page.name) for page in pages)
    for page in pages:
        html = page.read_text(encoding="utf-8")
        reader = read(html)
        assert len(reader.raw["script"]) == 1
        assert not set(html) & set("\u202e\u2028\u2029\x00\x1b")
        assert not [name for _, attributes in reader.tags for name in attributes if name.startswith("on")]
        assert not [tag for tag, _ in reader.tags if tag in ("img", "iframe", "object", "form", "base")]
        links = {str(attributes["href"]) for tag, attributes in reader.tags if tag == "a"}
        assert all(
            re.fullmatch(r"#[a-z0-9-]+|[a-z0-9-]+\.html|\.\./\.\./report\.html#problems", link) for link in links
        )
        assert HOSTILE.split("\u2028")[0] in "".join(reader.text)
    files = [path.name for path in (hostile_path / "report_files").rglob("*")]
    assert all(re.fullmatch(r"[a-z0-9-]+(\.[a-z]+)?", name) for name in files)


def test_ids_that_differ_only_in_signs_have_pages_of_their_own(tmp_path: Path) -> None:
    names = ["a/b", "a b", "a.b", "../../a b", "A-B", "\u00e4", ""]
    problems = [make_problem(0, "easy", "x", random.Random(1)).model_copy(update={"id": name}) for name in names]
    words = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x")
    made = [trajectory(problem, [words], 1.0, stage="base", sample=0) for problem in problems]
    rows = "".join(trajectory.to_json() + "\n" for trajectory in made)
    (tmp_path / "trajectories.jsonl").write_text(rows, encoding="utf-8")
    (tmp_path / "problems.jsonl").write_text(
        "".join(problem.model_dump_json() + "\n" for problem in problems), encoding="utf-8"
    )
    write_reports([tmp_path], tmp_path)
    assert len(pages_of(tmp_path)) == len(names)
    assert {path.parent for path in tmp_path.rglob("*.html")} == {tmp_path, tmp_path / "report_files" / "problems"}


def test_pages_of_an_earlier_report_go_and_no_pages_are_written_when_none_are_wanted(
    run_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    write_reports([run_path], out)
    assert len(pages_of(out)) == 88
    stale = out / "report_files" / "problems" / "old.html"
    stale.write_text("old", encoding="utf-8")
    write_reports([run_path], out)
    assert not stale.exists()
    write_reports([run_path], out, pages=False)
    assert pages_of(out) == []
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "report_files/problems/" not in html.replace("report_files/problems.csv", "")


def test_problems_csv_counts_what_the_trajectories_show(written: list[Path], run_path: Path) -> None:
    table = (run_path / "report_files" / "problems.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(table.splitlines()))
    assert len(rows) == 88
    assert {row["page"] for row in rows} == {path.name for path in written}
    made = [json.loads(line) for line in (run_path / "trajectories.jsonl").read_text(encoding="utf-8").splitlines()]
    right = sum(row["verdict"]["correct"] for row in made if row["stage"] == "rl")
    assert sum(int(row["RL correct"]) for row in rows) == right
    assert sum(int(row["RL graded"]) for row in rows) == 192
    kept = (run_path / "golden.jsonl").read_text(encoding="utf-8").splitlines()
    golden = {json.loads(line)["trajectory"]["problem_id"] for line in kept}
    assert {row["id"] for row in rows if row["curation"] == "golden"} == golden


def test_memory_holds_one_problem_at_a_time(tmp_path: Path) -> None:
    rng = random.Random(1)
    long = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x" * 300_000)
    with (tmp_path / "trajectories.jsonl").open("w", encoding="utf-8") as file:
        for number in range(80):
            problem = make_problem(number, "easy", "test", rng)
            file.write(trajectory(problem, [long], 1.0, stage="base", sample=0).to_json() + "\n")
    write_reports([tmp_path], tmp_path)  # modules, templates and plotly are loaded now
    tracemalloc.start()
    write_reports([tmp_path], tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16_000_000  # the trajectories are 24 MB, the page with plotly is 2
    assert sum(page.stat().st_size for page in pages_of(tmp_path)) > 24_000_000


def test_a_page_is_made_of_nothing_but_its_problem(run_path: Path) -> None:
    shown = Content([read_run(run_path)])
    html = problem_page(shown, 0)
    first, *others = (entry.name for entry in shown.problems)
    assert first in html
    assert not any(f">{name}<" in html for name in others)
