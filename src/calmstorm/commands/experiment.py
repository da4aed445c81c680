"""`calm experiment`: the paper's Table 1, Figure 4 and Figure 6, as arms beside a run's main one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `experiment`."""
    app.command("experiment")(experiment)


def experiment(
    name: Annotated[str, typer.Argument(help="pilot, ablation or controlled.", show_default=False)],
    run: Annotated[Path, typer.Option("--run", help="Run directory; a finished demo gives the main arm.")] = Path(
        "runs/demo"
    ),
    recipe: options.RecipeName = None,
    pairs: options.Pairs = None,
    question: options.Question = None,
    override: options.Override = None,
    seed: options.Seed = None,
    as_json: options.AsJson = False,
) -> None:
    """Run an experiment of the paper, with the run's own settings; a new run needs --recipe. Run it again to resume."""
    known = ("pilot", "ablation", "controlled")
    if name not in known:
        raise InputError(f"experiment is '{name}'; it must be one of {', '.join(known)}: name one of them")
    from calmstorm.commands.report import report
    from calmstorm.commands.run import refuse_unfinished
    from calmstorm.experiments import Experiment, run_experiment
    from calmstorm.pipeline import Adaptation
    from calmstorm.reasoner.codec import TokenizerCodec, load_tokenizer
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import changed, load_recipe
    from calmstorm.stages import keep_config, recipe_of
    from calmstorm.stages.pairs import pairs_of

    before = recipe_of(run)
    if before is None and recipe is None:
        raise InputError(f"{run}: there is no run here; run calm demo first, or name a recipe for a new run: --recipe")
    config = before if before is not None and recipe is None else options.run_settings(load_recipe(recipe))
    settings = changed(config, options.changes(override, {"seed": seed}), str(run))
    base = options.base_directory(settings)
    if pairs is not None and name != "pilot":
        raise InputError(f"--pairs is what the pilot fine-tunes on; experiment is '{name}': leave --pairs out")
    given = None if pairs is None else pairs_of(pairs, base, question)
    tokenizer = load_tokenizer(str(base))
    with RunDirectory(run) as directory:
        keep_config(directory, settings)
        main = Adaptation(settings, directory, base, options.intervener_of(settings, run))
        run_experiment(main, Experiment(name), TokenizerCodec(tokenizer), int(tokenizer.eos_token_id), given)
    report([run], as_json=as_json)
    refuse_unfinished(main.unfinished)
