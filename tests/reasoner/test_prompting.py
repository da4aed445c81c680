from __future__ import annotations

import pytest

from calmstorm.errors import InputError
from calmstorm.reasoner.prompting import DEFAULT_PROMPT, MARKER, prompt_names, prompt_of_model, user_message

TRICKY = "Costs are {a: 1} and [[question]] {{x}} %s $5 \\boxed{7}"


CARRIED = ("```python", "```output", "print()", "__main__", "pulp", "scipy", "numpy", "sympy", "\\boxed{}")
"""What the protocol needs of a full prompt."""


@pytest.mark.parametrize("name", prompt_names())
def test_every_prompt_carries_the_question_as_written(name):
    message = user_message(name, TRICKY)
    assert message.count(TRICKY) == 1
    assert message.replace(TRICKY, "").count(MARKER) == 0


def test_pocket_prompt_is_the_question_alone():
    assert user_message("pocket-1", " How many?\n") == "How many?"


def test_full_prompt_states_the_protocol():
    for name in ("calm-1", "paper-1"):
        message = user_message(name, "How many?")
        assert [word for word in CARRIED if word not in message] == []
        assert "\\boxed{1234}" in message
        assert "\\boxed{Total cost is \\$1234.0}" in message
        assert message.endswith("Problem\n\nHow many?")


def test_the_default_is_the_paper_s_which_forbids_none_of_the_flaws_that_are_measured():
    message = user_message(DEFAULT_PROMPT, "How many?").lower()
    assert DEFAULT_PROMPT == "paper-1"
    for word in (
        "by hand",
        "recompute",
        "trust",
        "plausible",
        "check",
        "fragment",
        "infeasible",
        "unbounded",
        "one block",
    ):
        assert word not in message


def test_unknown_prompt_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="calm-1, paper-1, pocket-1"):
        user_message("nothing", "?")


def test_model_directory_chooses_its_prompt(tmp_path):
    assert prompt_of_model(tmp_path) == DEFAULT_PROMPT
    (tmp_path / "calmstorm.json").write_text('{"prompt": "pocket-1"}')
    assert prompt_of_model(tmp_path) == "pocket-1"
    (tmp_path / "calmstorm.json").write_text("nonsense")
    with pytest.raises(InputError, match=r"calmstorm\.json"):
        prompt_of_model(tmp_path)
