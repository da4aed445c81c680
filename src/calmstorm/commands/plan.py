"""`calm plan RECIPE`: what a recipe will take, before it is run: rollouts, tokens, time, memory, disk and cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from calmstorm.commands import options
from calmstorm.commands.console import emit, say, table
from calmstorm.commands.plan_bounds import StageBounds, bounds, problem_counts
from calmstorm.commands.plan_geometry import geometry_of
from calmstorm.commands.plan_memory import USABLE, disk, memory
from calmstorm.commands.plan_time import Paces, seconds_at, seconds_like
from calmstorm.costs import cost, reasoner_model
from calmstorm.errors import InputError
from calmstorm.records import Stage, Usage
from calmstorm.settings import Recipe, TrainingSettings, load_recipe

_PARTS = {"gathered": "gathered weights", "activations": "activations", "loss": "working memory"}
REVIEW_INSTRUCTIONS = 3000
"""Tokens of a review's prompt beside problem and response."""


def register(app: typer.Typer) -> None:
    """Adds `plan`."""
    app.command("plan")(plan)


def plan(
    recipe: Annotated[str, typer.Argument(help="Recipe: a name or a TOML file.", show_default=False)],
    like: Annotated[Path | None, typer.Option("--like", help="A finished run, for its pace.")] = None,
    tokens_per_second: Annotated[
        float | None, typer.Option("--tokens-per-second", min=0.001, help="That all servers write together, for hours.")
    ] = None,
    executions_per_second: Annotated[
        float | None, typer.Option("--executions-per-second", min=0.001, help="Of scripts, with --tokens-per-second.")
    ] = None,
    train_tokens_per_second: Annotated[
        float | None,
        typer.Option("--train-tokens-per-second", min=0.001, help="That all GPUs train on together, for hours."),
    ] = None,
    train_tflops: Annotated[
        float | None,
        typer.Option("--train-tflops", min=0.001, help="Instead: what one GPU sustains, such as 0.4 of its peak."),
    ] = None,
    review_tokens: Annotated[
        int, typer.Option("--review-tokens", min=1, help="Tokens of a reply of the Intervener, thinking included.")
    ] = 4000,
    gpu_gib: Annotated[float, typer.Option("--gpu-gib", min=1, help="Memory of one GPU.")] = 80.0,
    override: options.Override = None,
    as_json: options.AsJson = False,
) -> None:
    """Say what a recipe will take. Counts are bounds; hours come from a past run or a pace you give, or are not given.

    Cost needs prices in the recipe.
    """
    settings = load_recipe(recipe, options.changes(override))
    stages = bounds(settings)
    paces = Paces(tokens_per_second, executions_per_second, train_tokens_per_second, train_tflops)
    model = str(options.base_directory(settings))
    geometry = geometry_of(model)
    if like is not None and any(paces):
        raise InputError("--like and another option give a pace; give --like or paces")
    seconds = seconds_like(like, stages) if like is not None else seconds_at(settings, stages, paces, geometry)
    data: dict[str, Any] = {
        "recipe": settings.name,
        "reasoner": settings.reasoner,
        "stages": [{**stage._asdict(), "seconds": seconds.get(stage.stage)} for stage in stages],
        "memory_gib": memory(settings, geometry, gpu_gib) if geometry is not None else None,
        "disk_gib": disk(settings, stages, geometry),
        "cost": costs(settings, stages, review_tokens),
        "assumptions": assumptions(settings, model, geometry is not None, review_tokens, paces),
        "like": str(like) if like else None,
    }
    emit(data) if as_json else _print(data, stages, seconds, gpu_gib)


def costs(recipe: Recipe, stages: list[StageBounds], review_tokens: int) -> dict[str, float]:
    """Returns US dollars at most, by model, for the models that the recipe has prices of.

    Args:
        recipe: Its prices, lengths, and who is asked.
        stages: Its bounds.
        review_tokens: Tokens of a reply of the Intervener.
    """
    asked = [stage for stage in stages if stage.stage in (f"evaluate {Stage.BASE}", Stage.CURATION)]
    longest = recipe.rl.prompt_tokens + recipe.rollout.response_tokens
    rollouts = Usage(
        prompt_tokens=sum(stage.rollouts + stage.executions for stage in asked) * longest,
        completion_tokens=sum(stage.tokens for stage in asked),
    )
    usages = [(reasoner_model(recipe), rollouts)]
    if recipe.intervener.kind in ("llm", "rules+llm"):
        reviews = next(stage.rollouts for stage in stages if stage.stage == Stage.CURATION)
        read, written = reviews * (longest + REVIEW_INSTRUCTIONS), reviews * review_tokens
        usages.append((recipe.intervener.model, Usage(prompt_tokens=read, completion_tokens=written)))
    found: dict[str, float] = {}
    for model, usage in usages:
        if dollars := cost(recipe.prices, model, usage):
            found[model] = round(found.get(model, 0.0) + dollars, 2)
    return found


def assumptions(recipe: Recipe, model: str, known: bool, review_tokens: int, paces: Paces) -> list[str]:
    """Returns what the figures rest on, one line each."""
    counts = problem_counts(recipe)
    problems = f"problems: {counts.sft} for sft, {counts.rl} for rl, {counts.test} for testing"
    if counts.assumed:
        problems += f" ({recipe.problems.source} is not there yet: sizes of the paper's table 4)"
    lines = [problems, "every response is at its limit and every hint is used; what is really taken is less"]
    if paces.tokens_per_second:
        lines.append("all rollouts are at the same pace, and nothing else is done meanwhile")
        if not paces.trains:
            lines.append("hours of rl are those of its rollouts, without updates of weights")
    elif paces.trains:
        lines.append("hours of rl need the pace of its rollouts too: --tokens-per-second N")
    if known:
        lines.append(
            f"memory: bfloat16 to serve; to train, {_spread('sft', recipe.sft)}, {_spread('rl', recipe.rl)}, "
            "activations made again for the gradient, logits in tiles; counted, not measured on a GPU"
        )
    else:
        lines.append(f"memory: the sizes of {model} are not known here; download it, or name a directory")
    if recipe.prices:
        lines.append(f"cost: one review an attempt, {review_tokens:,} tokens a reply, nothing cached or repeated")
    else:
        lines.append("cost: the recipe has no prices; add [[prices]]")
    return lines


def _spread(stage: str, settings: TrainingSettings) -> str:
    """Says over what a training is spread."""
    processes = settings.processes * settings.nodes
    how = "" if settings.sharding == "none" else f" by {settings.sharding}"
    return f"{stage} over {processes} {'GPU' if processes == 1 else 'GPUs'}{how}"


def _print(data: dict[str, Any], stages: list[StageBounds], seconds: dict[str, float], gpu_gib: float) -> None:
    def hours(stage: StageBounds) -> str:
        return f"{seconds[stage.stage] / 3600:,.2f}" if stage.stage in seconds else "-"

    table(
        ["stage", "rollouts, at most", "executions, at most", "tokens, at most", "hours"],
        [[s.stage, f"{s.rollouts:,}", f"{s.executions:,}", f"{s.tokens:,}", hours(s)] for s in stages],
    )
    if data["memory_gib"]:
        table(["memory", "", ""], _memory_rows(data["memory_gib"], gpu_gib))
    rows = [[name.replace("_", " "), f"{gib:,.1f} GiB at most"] for name, gib in data["disk_gib"].items()]
    table(["disk", ""], rows)
    if data["cost"]:
        table(["cost", ""], [[model, f"{dollars:,.2f} USD at most"] for model, dollars in data["cost"].items()])
    for line in data["assumptions"]:
        say(f"- {line}")
    if not seconds:
        say("- hours need a pace: --like RUN, or --tokens-per-second N and --train-tflops N")


def _memory_rows(needs: dict[str, float], gpu_gib: float) -> list[list[str]]:
    serving = f"{needs['serving_weights']:,.2f} GiB and {needs['cache_of_one_sequence']:,.2f} a sequence at its limit"
    rows = [["serve", serving, f"{needs['full_sequences_that_fit']:,.0f} sequences at once in {gpu_gib:g} GiB"]]
    for stage in ("sft", "rl"):
        states = sum(needs[f"{stage}_{part}"] for part in ("weights", "gradients", "optimizer"))
        rest = {part: needs[f"{stage}_{part}"] for part in ("gathered", "activations", "loss")}
        total = states + sum(rest.values())
        fits = "fits" if total < USABLE * gpu_gib else "DOES NOT FIT"
        parts = [f"{states:,.2f} of weights, gradients and optimizer"]
        parts += [f"{size:,.2f} of {_PARTS[part]}" for part, size in rest.items() if size]
        rows.append([stage, f"{total:,.2f} GiB a GPU: {', '.join(parts)}", f"{fits} {gpu_gib:g} GiB"])
    if "rl_sequences_that_fit" in needs:
        one, fitting = needs["rl_cache_of_one_sequence"], needs["rl_sequences_that_fit"]
        rows.append(["rl rollouts", f"{one:,.2f} GiB a sequence at its limit", f"{fitting:,.0f} sequences at once"])
    return rows
