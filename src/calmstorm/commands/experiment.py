"""`calm experiment`: the paper's Table 1, Figure 4 and Figure 6, as arms beside a run's main one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands.recipes import Override, Seed, base_directory, load_local, recipe_from
from calmstorm.errors import InputError


def register(app: typer.Typer) -> None:
    """Adds `experiment`."""
    app.command("experiment")(experiment)


def experiment(
    name: Annotated[str, typer.Argument(help="pilot, ablation or controlled.", show_default=False)],
    run: Annotated[Path, typer.Option("--run", help="Run directory; a finished demo gives the main arm.")] = Path(
        "runs/demo"
    ),
    recipe: Annotated[str, typer.Option(help="Recipe: a name or a TOML file.")] = "pocket",
    override: Override = None,
    seed: Seed = None,
) -> None:
    """Run an experiment of the paper. The run's settings must be the recipe's. Run it again to resume."""
    known = ("pilot", "ablation", "controlled")
    if name not in known:
        raise InputError(f"experiment is '{name}'; it must be one of {', '.join(known)}: name one of them")
    settings = recipe_from(recipe, override, seed)
    from transformers import AutoTokenizer

    from calmstorm.commands.report import report
    from calmstorm.experiments import Experiment, run_experiment
    from calmstorm.intervener.rules import RulesIntervener
    from calmstorm.pipeline import Adaptation
    from calmstorm.reasoner.codec import TokenizerCodec
    from calmstorm.runs import RunDirectory

    base = base_directory(settings)
    tokenizer = AutoTokenizer.from_pretrained(base)
    with RunDirectory(run) as directory:
        directory.keep_config(settings)
        main = Adaptation(settings, directory, base, load_local, RulesIntervener(settings.seed))
        run_experiment(main, Experiment(name), TokenizerCodec(tokenizer), int(tokenizer.eos_token_id))
    report([run])
