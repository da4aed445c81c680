"""`calm eval`: an accuracy one can trust, of a Reasoner or of responses that were made elsewhere.

Also the same answers against every version of the labels, and two evaluations compared problem by problem.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calmstorm.errors import InputError

if TYPE_CHECKING:
    from calmstorm.settings import Recipe

Problems = Annotated[
    list[str] | None,
    typer.Option(
        "--problems",
        metavar="FILE|NAME",
        help="A file (JSON Lines, JSON, CSV or parquet) or a benchmark (nl4opt, nl4opt/llmopt); repeatable.",
    ),
]
Responses = Annotated[
    str | None,
    typer.Option(
        "--responses",
        metavar="FILE|RUN[:STAGE]",
        help="Responses made elsewhere: rows of id, problem, ground_truth, response; or the answers of a run.",
    ),
]
Compare = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--compare",
        metavar="FIRST SECOND",
        help="Compare two of what --responses takes, paired on the problems of both.",
    ),
]
Labels = Annotated[
    str | None,
    typer.Option(
        "--labels", help="With --responses: score them against all published versions, or those of a benchmark."
    ),
]
ReasonerName = Annotated[str, typer.Option("--reasoner", help="'pocket', a model directory, or a server's base URL.")]
Folder = Annotated[
    Path | None, typer.Option("--folder", help="Folder of benchmark data; else that of CALM_BENCHMARKS.")
]
Download = Annotated[
    bool, typer.Option("--download", help="Fetch a benchmark that is not there from the Hugging Face hub.")
]
Run = Annotated[Path | None, typer.Option("--run", help="Run directory to keep trajectories in, and to resume.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first so many rows of each source.")]
Tolerance = Annotated[float, typer.Option("--tolerance", min=0, help="Relative tolerance of the comparison.")]
ResponseTokens = Annotated[int | None, typer.Option("--response-tokens", min=1, help="Tokens per response, at most.")]
Executions = Annotated[int | None, typer.Option("--executions", min=0, help="Executions per response, at most.")]
Tier = Annotated[str | None, typer.Option("--tier", help="Isolation of scripts: auto, namespaces, landlock or unsafe.")]


def register(app: typer.Typer) -> None:
    """Adds `eval`."""
    app.command("eval")(evaluate_command)


def evaluate_command(
    problems: Problems = None,
    responses: Responses = None,
    compare: Compare = None,
    labels: Labels = None,
    reasoner: ReasonerName = "pocket",
    model: Annotated[str | None, typer.Option(help="Model name on the server.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Rollouts per problem.")] = 8,
    folder: Folder = None,
    download: Download = False,
    question: Annotated[str | None, typer.Option(help="Column of the problem text.")] = None,
    answer: Annotated[str | None, typer.Option(help="Column of the answer.")] = None,
    run: Run = None,
    limit: Limit = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the sampling.")] = 1,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    top_p: Annotated[float | None, typer.Option(min=0, max=1)] = None,
    tolerance: Tolerance = 1e-3,
    response_tokens: ResponseTokens = None,
    executions: Executions = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Rollouts in flight.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Scripts that run at once.")] = None,
    tier: Tier = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure pass@1 with its 95 % interval, clustered by problem.

    Options that are not given have the paper's values, or those of the pocket recipe for the pocket Reasoner.
    """
    from calmstorm.commands import eval_answers

    if sum(map(bool, (problems, responses, compare))) != 1:
        raise InputError("give one of --problems FILE|NAME, --responses FILE|RUN and --compare FIRST SECOND")
    if labels is not None and responses is None:
        raise InputError("--labels scores answers that are there: name them with --responses FILE|RUN")
    if compare:
        eval_answers.compare(*compare, limit, tolerance, as_json)
    elif responses:
        eval_answers.score(responses, labels, folder, limit, tolerance, as_json)
    else:
        from calmstorm.commands.eval_measure import Plan, measure
        from calmstorm.commands.eval_sources import Sources

        recipe = _recipe(
            reasoner,
            {
                "rollout.response_tokens": response_tokens,
                "rollout.executions": executions,
                "rollout.concurrency": concurrency,
                "rollout.workers": workers,
                "rollout.tier": tier,
                "evaluation.samples": samples,
                "evaluation.temperature": temperature,
                "evaluation.top_p": top_p,
                "evaluation.tolerance": tolerance,
            },
        )
        sources = Sources(problems or [], folder, download, question, answer, limit)
        measure(Plan(sources, reasoner, model, recipe.rollout, recipe.evaluation, seed), run, as_json)


def _recipe(reasoner: str, given: dict[str, object]) -> Recipe:
    """Returns the paper's settings, or the pocket's, with what was given on the command line."""
    from calmstorm.settings import load_recipe

    overrides = {key: str(value) for key, value in given.items() if value is not None}
    return load_recipe("pocket" if reasoner == "pocket" else None, overrides)
