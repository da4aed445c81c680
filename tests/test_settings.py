from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.errors import SettingsError
from calmstorm.settings import Recipe, RlSettings, derive_seed, load_recipe, validate


def write(folder: Path, text: str) -> str:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_the_defaults_are_the_paper_s_numbers() -> None:
    recipe = load_recipe()
    assert (recipe.rollout.response_tokens, recipe.rollout.executions, recipe.rollout.temperature) == (16384, 4, 0.6)
    assert (recipe.curation.interventions, recipe.curation.golden) == (5, "paper")
    assert (recipe.intervener.model, recipe.intervener.temperature, recipe.intervener.top_p) == (
        "gemini-2.5-pro",
        1.0,
        0.95,
    )
    assert (recipe.sft.learning_rate, recipe.sft.batch, recipe.sft.epochs, recipe.sft.sequence_tokens) == (
        1e-5,
        8,
        3,
        22000,
    )
    assert (recipe.rl.learning_rate, recipe.rl.samples, recipe.rl.prompts_per_step, recipe.rl.kl) == (1e-6, 8, 64, 0.0)
    assert (recipe.evaluation.samples, recipe.evaluation.tolerance) == (8, 1e-3)


def test_a_file_overrides_the_defaults_and_flags_override_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, 'reasoner = "pocket"\n[rl]\nsteps = 20\nlearning_rate = 1e-4\n')
    recipe = load_recipe(path, {"rl.steps": "5", "name": "quick", "rl.objective": "carft"})
    assert (recipe.reasoner, recipe.rl.steps, recipe.rl.learning_rate) == ("pocket", 5, 1e-4)
    assert (recipe.name, recipe.rl.objective) == ("quick", "carft")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[rl]\nstepz = 5\n", "'rl.stepz' is not a setting; did you mean 'rl.steps'?"),
        ("learning_rate = 1e-4\n", "'learning_rate' is not a setting; did you mean 'rl.learning_rate'?"),
        ("[rl]\nzzz = 5\n", "known are: rl."),
        ("[rl]\nsamples = 1\n", "rl.samples is 1; it must be greater than or equal to 2"),
        ('[sft]\nepochs = "many"\n', "sft.epochs is 'many'; it must be a valid number"),
        ("[evaluation]\ntolerance = nan\n", "evaluation.tolerance is nan; it must be a finite number"),
        (
            "[rl]\nprompts_per_step = 6\nmini_batch = 4\n",
            "mini_batch is 4; it must divide prompts_per_step, which is 6",
        ),
        ("[rl\n", "not valid TOML"),
        ("rl = 5\n", "rl is 5"),
        ('[server]\ncommand = "vllm serve"\n', "server.command is 'vllm serve'; it must be a list in TOML"),
        ('[server]\ncommand = ["vllm", "serve", "{model}"]\n', "server: command holds no {port}"),
        ('[[prices]]\nmodel = "m"\ninputs = 1.0\n', "'prices.0.inputs' is not a setting; did you mean 'prices.input'?"),
        ('[intervener]\ntop_p = "none"\n', "intervener.top_p"),
        ("[intervener]\ntop_p = 0.0\n", "top_p is 0.0; it must be above 0 and at most 1, or 'default'"),
    ],
)
def test_a_bad_file_is_refused_in_one_line_with_a_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_recipe(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_override_with_an_unknown_key_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(SettingsError, match=r"did you mean 'rollout.temperature'\?"):
        load_recipe(None, {"rollout.temprature": "0.7"})


def test_lists_and_tables_are_set_as_toml() -> None:
    recipe = load_recipe(
        None,
        {
            "server.command": '["vllm", "serve", "{model}", "--port", "{port}"]',
            "prices": '[{model = "m", input = 1, output = 2.5}]',
        },
    )
    assert recipe.server.command == ("vllm", "serve", "{model}", "--port", "{port}")
    assert [(price.model, price.input, price.output) for price in recipe.prices] == [("m", 1.0, 2.5)]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("prices", "[{input = 1}]", "prices.0.model is missing from {'input': 1}: add model"),
        ("prices", "[3]", "prices.0 is 3; it must be a table of keys and values"),
        ("prices", '{model = "m"}', r'it must be a list in TOML, such as .* or \[{model = "NAME"}\]'),
        ("prices", '[{model = "m"}, {model = "m", input = 1}]', "prices name 'm' twice; a model has one price"),
        ("rollout", "3", "rollout is 3; it must be a table of keys and values"),
        ("intervener.top_p", "high", "or 'default': correct intervener.top_p$"),
    ],
)
def test_a_wrong_table_or_choice_is_named_with_its_rule(key: str, value: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        load_recipe(None, {key: value})


def test_an_override_below_a_plain_value_is_refused() -> None:
    with pytest.raises(SettingsError, match="'name' holds a value, not a section"):
        load_recipe(None, {"name": "mine", "name.first": "x"})


@pytest.mark.parametrize("source", ["no-such-recipe", "no/such/file.toml"])
def test_an_absent_recipe_is_refused(source: str) -> None:
    with pytest.raises(SettingsError, match="name a TOML file or"):
        load_recipe(source)


def test_a_named_recipe_is_found_in_the_recipes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "tiny.toml").write_text("seed = 7\n")
    monkeypatch.chdir(tmp_path)
    assert load_recipe("tiny").seed == 7


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe().seed = 2  # type: ignore[misc]


def test_a_section_is_checked_on_its_own() -> None:
    assert validate(RlSettings, {"steps": 3}, "flags").steps == 3
    with pytest.raises(SettingsError, match="flags: 'step' is not a setting; did you mean 'steps'"):
        validate(RlSettings, {"step": 3}, "flags")


def test_seeds_depend_on_every_part_and_on_nothing_else() -> None:
    seeds = {
        derive_seed(s, stage, p, k)
        for s in (1, 2)
        for stage in ("base", "rl")
        for p in ("a", "b", "1")
        for k in range(8)
    }
    assert len(seeds) == 2 * 2 * 3 * 8
    assert derive_seed(1, "base", "a", 0) == derive_seed(1, "base", "a", 0)
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derive_seed(1, "a", "b") != derive_seed(1, "ab")
