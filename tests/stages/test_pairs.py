"""Pairs as training data: one turn without thoughts, all of it learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.problems.pairs import Pair
from calmstorm.reasoner.protocol import Prefix
from calmstorm.stages.pairs import as_golden, pairs_of
from calmstorm.training.encode import IGNORED, encode
from tests.training.tiny_model import CHAT_TEMPLATE, ids, tiny_tokenizer

PAIR = Pair(id="p", question="How many?", answer="max x\n\n```python\nprint(1)\n```")


@pytest.mark.parametrize("thinks", [False, True])
def test_the_answer_is_one_learned_turn_without_thoughts(thinks: bool, tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer()
    if thinks:
        tokenizer.chat_template = CHAT_TEMPLATE.replace("assistant\n' }}{% endif", "assistant\n<think>\n' }}{% endif")
    tokenizer.save_pretrained(tmp_path)
    (item,) = as_golden([PAIR], tmp_path)
    response = ids(("</think>\n\n" if thinks else "") + PAIR.answer + "<|im_end|>")
    example = encode(Prefix(text="?", token_ids=(5, 6)), item.trajectory, {response[-1]})
    assert example.input_ids == (5, 6, *response)
    assert example.labels == (IGNORED, IGNORED, *response)


def test_what_is_left_out_of_a_file_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"question": "A?", "code": "print(1)"}\n{"question": "B?"}\n')
    (item,) = pairs_of(path, tmp_path)
    assert item.question == "A?"
    assert capsys.readouterr().err.startswith(f"1 of 2 rows are no pairs and are left out (first: {path}, line 2: ")
