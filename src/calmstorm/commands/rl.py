"""`calm rl`: reinforces a model on problems with verifiable rewards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, note, say, show
from calmstorm.commands.launching import start_or_say
from calmstorm.commands.rl_status import show_status
from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.records import Problem
    from calmstorm.runs import RunDirectory
    from calmstorm.settings import Recipe, RunConfig


_OBJECTIVES_HELP = "grpo, dr_grpo, dapo or carft; both engines know each."
_ENGINES_HELP = "trl (extra 'train'), or verl (extra 'verl', for many GPUs and nodes); they exclude each other."
_EVALUATE_HELP = "Problems to evaluate on while training (rl.evaluation_steps); without, the run's test problems."
_PROBLEMS_HELP = f"{options.PROBLEMS_HELP}; without, the run's own RL part."


def register(app: typer.Typer) -> None:
    """Adds `rl`."""
    app.command("rl")(rl)


def rl(
    context: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Run directory; a new one needs --recipe.", show_default=False)
    ],
    problems: Annotated[
        str | None,
        typer.Option("--problems", metavar=options.PROBLEMS_METAVAR, help=_PROBLEMS_HELP),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Model directory or hub id.",
            show_default="RUN/models/sft where it exists, else the run's Reasoner",
        ),
    ] = None,
    recipe: options.RecipeName = None,
    objective: Annotated[str | None, typer.Option("--objective", help=_OBJECTIVES_HELP)] = None,
    engine: Annotated[str | None, typer.Option("--engine", help=_ENGINES_HELP)] = None,
    folder: options.Folder = None,
    download: options.Download = False,
    question: options.Question = None,
    answer: options.Answer = None,
    limit: options.Limit = None,
    launch: options.Launch = False,
    override: options.Override = None,
    seed: options.Seed = None,
    evaluate_on: Annotated[
        str | None,
        typer.Option("--evaluate-on", metavar=options.PROBLEMS_METAVAR, help=_EVALUATE_HELP),
    ] = None,
    status: Annotated[
        bool, typer.Option("--status", help="Show steps, evaluations and checkpoints so far, and stop.")
    ] = False,
    dry_run: options.DryRun = False,
    stage: options.LaunchedStage = None,
    as_json: options.AsJson = False,
) -> None:
    """Reinforce a model with GRPO: binary reward, execution output masked. Run it again to resume.

    Objective carft adds a contrastive loss against annotated trajectories: those of --set carft.annotated=RUN.
    """
    if status:
        show_status(run, as_json)
        return
    from calmstorm.interpreter import Interpreter
    from calmstorm.records import Stage
    from calmstorm.settings import changed
    from calmstorm.stages import collect_problems, is_to_be_launched, keep_config, model_path, reinforce, shared_run
    from calmstorm.stages.engines import needs_launch, require_engine
    from calmstorm.stages.training import annotated_problems
    from calmstorm.stages.watching import test_problems
    from calmstorm.training import ranks

    ranks.begin()
    with ranks.in_agreement():
        config = _config(run, recipe)
        flags = {"seed": seed, "rl.objective": objective, "rl.engine": engine}
        settings = changed(config, options.changes(override, flags), str(run))
        require_engine(settings)
        kind = Stage(stage or Stage.RL)
        tuned, target = model_path(run, Stage.SFT), model_path(run, kind)
        base = tuned if start is None and tuned.exists() else options.base_directory(settings, start)
        if target.exists():
            raise InputError(f"{target} exists; a trained model is never overwritten: remove it first")
        given = _given(run, stage, problems, folder, question, answer, limit, download)
        watched = _named(evaluate_on, folder, question, answer, download)
        annotated_problems(run, settings)  # a run is not begun without what its objective needs
        elsewhere = is_to_be_launched(settings, "rl")
    if dry_run or needs_launch(settings):
        _outline(run, settings, base, settings.problems.rl if given is None else len(given), dry_run, as_json)
        return
    if elsewhere:
        start_or_say(context, run, settings, "rl", launch, as_json)
        return

    def begin(directory: RunDirectory) -> None:
        if given is None:
            collect_problems(directory, settings)
        test_problems(directory, settings)
        if stage is None:
            changes = {"rl": settings.rl, "carft": settings.carft}
            keep_config(directory, config.model_copy(update=changes), frozenset(changes))

    with shared_run(run, begin) as directory, Interpreter(settings.rollout.workers, settings.rollout.tier) as code:
        chosen = collect_problems(directory, settings).rl[:limit] if given is None else given
        test = test_problems(directory, settings)
        reinforce(directory, settings, base, _gradable(chosen), code, kind, test=test, evaluate_on=watched)
    ranks.part()
    emit({"model": str(target)}) if as_json else say(str(target))


def _named(
    problems: str | None, folder: Path | None, question: str | None, answer: str | None, download: bool
) -> list[Problem]:
    """Returns the problems that --evaluate-on names; none without it."""
    from calmstorm.problems.benchmarks import open_problems

    if problems is None:
        return []
    return list(open_problems(problems, folder, question=question, answer=answer, download=download)[0])


def _outline(run: Path, settings: Recipe, base: str | Path, problems: int, dry_run: bool, as_json: bool) -> None:
    """Shows what would be done; of a training on several nodes, how it is started there."""
    from calmstorm.records import Stage
    from calmstorm.stages import model_path
    from calmstorm.stages.engines import outlined, write_launch

    target = model_path(run, Stage.RL)
    if dry_run:
        show(outlined(target, settings, base, problems), as_json)
        return
    script = run / "launch" / "rl.sh"
    lines = write_launch(script, target, settings, base, problems, ["calm", *sys.argv[1:]])
    note(f"{settings.rl.nodes} nodes train together, on a Ray cluster:")
    emit({"script": str(script), "commands": lines}) if as_json else say("\n".join(lines))


def _given(
    run: Path,
    stage: str | None,
    problems: str | None,
    folder: Path | None,
    question: str | None,
    answer: str | None,
    limit: int | None,
    download: bool,
) -> list[Problem] | None:
    """Returns the problems that the command names or a pipeline has written, or None where they are the run's own."""
    from calmstorm.problems.benchmarks import open_problems
    from calmstorm.records import Problem, Stage
    from calmstorm.stages import launched_data

    if stage is not None:
        return launched_data(run, Stage(stage), Problem)
    if problems is None:
        return None
    opened, _ = open_problems(problems, folder, question=question, answer=answer, limit=limit, download=download)
    return list(opened)


def _gradable(problems: list[Problem]) -> list[Problem]:
    from calmstorm.grading import is_gradable

    gradable = [problem for problem in problems if is_gradable(problem)]
    if len(gradable) < len(problems):
        note(f"{len(problems) - len(gradable)} of {len(problems)} problems have no usable label and are left out")
    return gradable


def _config(run: Path, recipe: str | None) -> RunConfig:
    """Returns the settings of the run, or for a new one those of the named recipe."""
    from calmstorm.settings import load_recipe
    from calmstorm.stages import recipe_of

    config = recipe_of(run)
    if config is None and recipe is None:
        raise InputError(f"{run}: there is no run with settings here; name a run, or a recipe for a new one: --recipe")
    if config is not None and recipe is not None:
        raise InputError(
            f"--recipe is {recipe}, but {run} has its own settings; leave it out, or change some with --set"
        )
    return config or options.run_settings(load_recipe(recipe))
