from __future__ import annotations

import json
from pathlib import Path

from calmstorm.problems.contamination import Likeness, TextIndex, scan, texts_of

PROBLEM = (
    "A farmer has 500 acres of land for wheat and rye. Each acre of wheat earns $40 and each acre of rye earns $35; "
    "wheat needs 3 hours of work and rye needs 2, and there are 1200 hours. How many acres of each maximize profit?"
)


def index_of(*texts: str) -> TextIndex:
    index = TextIndex()
    for number, text in enumerate(texts):
        index.add(f"p{number}", text)
    return index


def test_the_same_text_is_found_however_it_is_set() -> None:
    (match,) = index_of(PROBLEM, "Something else entirely, 3 and 4.").find(PROBLEM.upper().replace(" ", "\n"))
    assert match == ("p0", Likeness.SAME, 1.0)


def test_a_text_inside_a_long_prompt_is_found() -> None:
    prompt = "Below is a question. " * 40 + PROBLEM + " Write code that answers it. " * 40
    (match,) = index_of(PROBLEM).find(prompt)
    assert (match.name, match.likeness) == ("p0", Likeness.CONTAINED)


def test_a_text_with_other_numbers_is_near_and_another_is_nothing() -> None:
    (match,) = index_of(PROBLEM).find(PROBLEM.replace("1200", "900"))
    assert match.likeness is Likeness.NEAR
    assert 0.6 <= match.share < 1
    assert (
        index_of(PROBLEM).find("A baker makes 20 cakes and 30 pies with 60 eggs. How many of each minimize cost?") == []
    )


def test_blank_and_tiny_texts_match_nothing() -> None:
    assert index_of("", PROBLEM).find("") == []
    assert index_of(PROBLEM).find("A farmer") == []


def test_every_text_of_a_training_row_is_looked_at(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "messages": [{"role": "user", "content": "hello there"}, {"role": "assistant", "content": PROBLEM}]},
        {"prompt": "nothing of the kind"},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    occurrences = list(scan(path, index_of(PROBLEM)))
    assert [(occurrence.match.name, occurrence.place) for occurrence in occurrences] == [("p0", "line 1")]
    assert list(texts_of(rows[0])) == ["user", "hello there", "assistant", PROBLEM]
