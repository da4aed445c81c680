from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from calmstorm.runs.toml import differing_keys, to_toml

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(texts, st.integers(-(2**60), 2**60), st.booleans(), st.floats(allow_nan=False))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=12,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_written_is_read_back_by_the_standard_library(data: dict[str, object]) -> None:
    assert tomllib.loads(to_toml(data)) == data


def test_none_is_left_out_and_tables_follow_plain_values() -> None:
    assert to_toml({"rl": {"steps": 5, "kl": None}, "seed": 1, "none": None}) == "seed = 1\n\n[rl]\nsteps = 5\n"


def test_differences_are_named_by_dotted_key() -> None:
    old = {"seed": 1, "rl": {"steps": 5, "kl": None}, "gone": 1}
    new = {"seed": 1, "rl": {"steps": 6, "kl": None}, "pair": (1, 2)}
    assert differing_keys(old, new) == [("gone", 1, None), ("pair", None, [1, 2]), ("rl.steps", 5, 6)]
    assert differing_keys({"pair": [1, 2]}, {"pair": (1, 2), "absent": None}) == []
