"""What commands have in common: their options, and how recipe, Reasoner and Intervener are made of them.

Two rules hold for all: a command that works on a run takes RUN as its argument, and recipe and Reasoner from there; one
that begins or resumes a run names it with `--run`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.errors import InputError
from calmstorm.reasoner.codec import check_source
from calmstorm.reasoner.opening import POCKET, is_server, pocket_directory
from calmstorm.settings import Recipe, changed, load_recipe

if TYPE_CHECKING:
    from calmstorm.intervener.protocol import Intervener
    from calmstorm.settings import RunConfig

Run = Annotated[Path, typer.Argument(metavar="RUN", help="Run directory, for example runs/demo.", show_default=False)]
ReasonerName = Annotated[
    list[str] | None,
    typer.Option(
        "--reasoner",
        help="pocket, a model directory, a hub id, or servers' base URLs: repeated, separated by commas, or in a file.",
        show_default="the recipe's, or pocket",
    ),
]
Model = Annotated[
    str | None, typer.Option("--model", help="A server's name of the model, where it serves more than one.")
]
Tokenizer = Annotated[
    str | None,
    typer.Option("--tokenizer", help="For servers: directory or hub id of the tokenizer.", show_default="the model's"),
]
Prompt = Annotated[
    str | None,
    typer.Option("--prompt", help="Prompt of the Reasoner.", show_default="the model's own, or the recipe's"),
]
Text = Annotated[
    bool | None,
    typer.Option("--text", help="For servers: text goes in and out instead of token ids.", show_default=False),
]
RecipeName = Annotated[str | None, typer.Option("--recipe", help="Recipe: a name or a TOML file.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, for example rl.steps=5; may be repeated."),
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Seed of everything that is drawn.")]
Folder = Annotated[
    Path | None, typer.Option("--folder", help="Folder of benchmark data; else that of CALM_BENCHMARKS.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a benchmark that is not there from the Hugging Face hub.")
]
Question = Annotated[str | None, typer.Option("--question", help="Column of the problem text.")]
Answer = Annotated[str | None, typer.Option("--answer", help="Column of the label.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many rows of each source.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the settings and stop.")]
Pairs = Annotated[
    Path | None,
    typer.Option(
        "--pairs", metavar="FILE", help="Train on pairs of a problem and its model and code, without any reasoning."
    ),
]
Launch = Annotated[
    bool, typer.Option("--launch", help="Start the processes that the recipe wants here, instead of saying how to.")
]
LaunchedStage = Annotated[str | None, typer.Option("--stage", hidden=True, help="Of a pipeline that started this.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]

REPLIES = "replies.sqlite"
"""File of a run in which replies of reviewing models are kept by content."""
PROBLEMS_HELP = "A file (JSON Lines, JSON, CSV or parquet) or a benchmark (nl4opt, nl4opt/llmopt)"
PROBLEMS_METAVAR = "FILE|NAME"


def changes(override: list[str] | None, given: Mapping[str, object] | None = None) -> dict[str, str]:
    """Returns what flags change in a recipe, by dotted key.

    Args:
        override: What `--set` was given.
        given: Values of flags of their own; None where a flag was not given.

    Raises:
        InputError: A `--set` is not of the form KEY=VALUE.
    """
    by_key: dict[str, str] = {}
    for item in override or []:
        key, separator, value = item.partition("=")
        if not separator or not key:
            raise InputError(f"--set {item}: it must read KEY=VALUE, for example --set rl.steps=5")
        by_key[key.strip()] = value.strip()
    return by_key | {key: as_toml(value) for key, value in (given or {}).items() if value is not None}


def as_toml(value: object) -> str:
    """Returns a value of a flag as settings read it: a text stays one, also where it looks like a number."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str | bool) else str(value)


def reasoner_flags(
    model: str | None, tokenizer: str | None, prompt: str | None, text: bool | None
) -> dict[str, str | bool | None]:
    """Returns what the flags beside `--reasoner` set, by dotted key; None where one was not given."""
    return {"model": model, "tokenizer": tokenizer, "prompt": prompt, "server.text_only": text or None}


def recipe_for(
    reasoner: list[str] | None, recipe: str | None, changes: Mapping[str, str], run: Recipe | None = None
) -> Recipe:
    """Returns the recipe of a command that begins or resumes a run.

    Args:
        reasoner: What `--reasoner` names, each time it is given. Without it the recipe's is taken.
        recipe: What `--recipe` names. Without it a run that is resumed keeps its own; of others the pocket Reasoner has
            its own recipe, any other the paper's values.
        changes: By dotted key.
        run: The settings of the run that is resumed.

    Raises:
        SettingsError: There is no such recipe, or a setting is wrong.
    """
    named = ",".join(reasoner or ())
    changes = {**changes, "reasoner": as_toml(named)} if named else changes
    if run is not None and recipe is None:
        return changed(run, changes, "the run's settings")
    return load_recipe(recipe or (POCKET if named in ("", POCKET) else None), changes)


def base_directory(recipe: Recipe, given: str | None = None) -> str | Path:
    """Returns directory or hub id of the model to train: the given one, the recipe's `base`, or its Reasoner's.

    Raises:
        InputError: The recipe names servers and no model, or what is named is neither directory nor hub id.
    """
    named = given or recipe.base or (recipe.model if is_server(recipe.reasoner) else recipe.reasoner)
    if named == POCKET:
        return pocket_directory()
    try:
        if named is not None:
            return check_source(named)
    except InputError:
        if given or recipe.base or not is_server(recipe.reasoner):
            raise
    served = f"its model {named!r} is neither a directory nor a hub id" if named else "its model is not named"
    raise InputError(
        f"the Reasoner is a server, which cannot be trained, and {served}: name the weights with --set base=..."
    )


def run_settings(recipe: Recipe) -> RunConfig:
    """Returns the settings of a run of the whole pipeline; they name the prompt that its Reasoner asks for.

    They also name the model of servers, which are asked for it where the recipe does not say.

    Raises:
        InputError: The model to train is not known, or servers have several.
        InfrastructureError: No server can be asked.
    """
    from calmstorm.reasoner.opening import served_model
    from calmstorm.reasoner.prompting import prompt_of_model
    from calmstorm.stages import config_of

    if recipe.model is None and is_server(recipe.reasoner):
        recipe = recipe.model_copy(update={"model": served_model(recipe)})
    return config_of(recipe, "run", recipe.prompt or prompt_of_model(Path(base_directory(recipe))))


def intervener_of(recipe: Recipe, run: Path | None = None) -> Intervener:
    """Returns the Intervener that a recipe names.

    Args:
        recipe: Names it, and how it is asked.
        run: Run directory; a model's replies are kept there, so that none is paid for twice.

    Raises:
        InputError: It needs a server or a terminal that is not there.
    """
    settings = recipe.intervener
    if settings.kind == "human":
        from calmstorm.intervener.human import HumanIntervener

        return HumanIntervener(seed=recipe.seed)
    from calmstorm.intervener.rules import RulesIntervener

    rules = RulesIntervener(recipe.seed)
    if settings.kind == "rules":
        return rules
    from calmstorm.intervener.combined import CombinedIntervener
    from calmstorm.intervener.llm import LlmIntervener

    cache = None if run is None else run / REPLIES
    model = LlmIntervener(settings, reasoner_prompt=reasoner_prompt_of(recipe), cache=cache)
    return model if settings.kind == "llm" else CombinedIntervener(rules, model)


def reasoner_prompt_of(recipe: Recipe) -> str:
    """Returns the name of the prompt that the Reasoner of a recipe is asked with.

    Raises:
        InputError: A model directory's settings cannot be read.
    """
    from calmstorm.reasoner.prompting import DEFAULT_PROMPT, prompt_of_model

    if recipe.prompt is not None:
        return recipe.prompt
    if recipe.reasoner == POCKET:
        return prompt_of_model(pocket_directory())
    directory = Path(recipe.reasoner)
    return prompt_of_model(directory) if directory.is_dir() else DEFAULT_PROMPT
