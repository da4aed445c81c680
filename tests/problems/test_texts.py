from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from calmstorm.problems.texts import jaccard, normalised, text_key, word_grams


def test_what_copying_and_typesetting_change_is_taken_away() -> None:
    assert normalised("  $10 \\ \\mathrm{kg}$ of\r\nFOOD\u00a0\uff11 ") == "10kgoffood1"
    assert text_key("A b\\%") == text_key("a  B%")
    assert text_key("Meet it.") == text_key('Meet it.\n\nData:\n{"demand": 3}')
    assert text_key("A 1") != text_key("A 2")


@given(st.text(max_size=60))
def test_normalising_twice_changes_nothing_and_leaves_plain_characters(text: str) -> None:
    once = normalised(text)
    assert normalised(once) == once
    assert once == "" or (once.isascii() and once.isalnum())


def test_similarity_is_the_share_of_common_runs_of_words() -> None:
    assert jaccard(word_grams("a b c d e"), word_grams("a b c d f")) == 1 / 3
    assert jaccard(word_grams(""), word_grams("")) == 0
    assert len(word_grams("two words")) == 1
