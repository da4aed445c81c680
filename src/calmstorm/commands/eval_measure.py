"""`calm eval --problems`: measures a Reasoner, in a run directory if one is named."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from calmstorm.commands.console import note
from calmstorm.commands.eval_results import Results
from calmstorm.commands.eval_sources import Sources

if TYPE_CHECKING:
    from calmstorm.settings import Recipe


def measure(sources: Sources, recipe: Recipe, run: Path | None, as_json: bool) -> None:
    """Runs the rollouts that are missing and shows what they came to."""
    from calmstorm.errors import InfrastructureError
    from calmstorm.interpreter import Interpreter
    from calmstorm.reasoner.opening import open_for
    from calmstorm.records import Stage
    from calmstorm.runs import RunDirectory
    from calmstorm.stages import PACE, config_of, evaluate_model, keep_config, keep_problems

    results = Results(keep_rows=as_json)
    for problem in sources:
        results.add_problem(problem)
    opened = open_for(recipe)
    recipe = opened.named_in(recipe)
    results.prompt = opened.prompt
    with ExitStack() as stack:
        directory = stack.enter_context(RunDirectory(run)) if run is not None else None
        if directory is not None:
            config = config_of(recipe, "eval", opened.prompt)
            keep_config(directory, config, PACE | {"evaluation.samples"})
            keep_problems(directory, sources)
        interpreter = stack.enter_context(Interpreter(recipe.rollout.workers, recipe.rollout.tier))
        failure: InfrastructureError | None = None
        try:
            kept = evaluate_model(
                lambda: opened,
                sources,
                sources.gradable,
                interpreter,
                recipe,
                Stage.BASE,
                run=directory,
                on_trajectory=results.add,
            )
            if kept:
                note(f"{run}: {kept} rollouts were there already")
        except InfrastructureError as error:
            failure = error
    if failure is None or results.answers:
        results.show(sources.title, as_json, budget(recipe))
    if failure is not None:  # what was finished has been shown
        raise failure


def budget(recipe: Recipe) -> dict[str, object]:
    """Returns what a response may use: a score says little without it."""
    bounds, evaluation = recipe.rollout, recipe.evaluation
    return {
        "samples": evaluation.samples,
        "response_tokens": bounds.response_tokens,
        "executions": bounds.executions,
        "wall_seconds": bounds.wall_seconds,
        "memory_mb": bounds.memory_mb,
        "output_characters": bounds.output_characters,
        "temperature": evaluation.temperature,
        "top_p": evaluation.top_p,
        "tolerance": evaluation.tolerance,
    }
