"""`calm eval`: an accuracy one can trust, of a Reasoner or of responses that were made elsewhere.

Also the same answers against every version of the labels, and two evaluations compared problem by problem.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from calmstorm.commands import options
from calmstorm.errors import InputError
from calmstorm.settings import changed

Problems = Annotated[
    list[str] | None,
    typer.Option("--problems", metavar=options.PROBLEMS_METAVAR, help=f"{options.PROBLEMS_HELP}; repeatable."),
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
RunToKeep = Annotated[Path | None, typer.Option("--run", help="Run directory to keep trajectories in, and to resume.")]
Tolerance = Annotated[
    float | None,
    typer.Option("--tolerance", min=0, help="Relative tolerance of the comparison.", show_default="0.001"),
]
ResponseTokens = Annotated[int | None, typer.Option("--response-tokens", min=1, help="Tokens per response, at most.")]
Tier = Annotated[str | None, typer.Option("--tier", help="Isolation of scripts: auto, namespaces, landlock or unsafe.")]


def register(app: typer.Typer) -> None:
    """Adds `eval`."""
    app.command("eval")(evaluate_command)


def evaluate_command(
    problems: Problems = None,
    responses: Responses = None,
    compare: Compare = None,
    labels: Labels = None,
    reasoner: options.ReasonerName = None,
    model: options.Model = None,
    tokenizer: options.Tokenizer = None,
    prompt: options.Prompt = None,
    text: options.Text = None,
    samples: Annotated[int, typer.Option(min=1, help="Rollouts per problem.")] = 8,
    folder: options.Folder = None,
    download: options.Download = False,
    question: options.Question = None,
    answer: options.Answer = None,
    run: RunToKeep = None,
    limit: options.Limit = None,
    recipe: options.RecipeName = None,
    override: options.Override = None,
    seed: options.Seed = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2, help="0 is greedy.")] = None,
    tolerance: Tolerance = None,
    response_tokens: ResponseTokens = None,
    tier: Tier = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure pass@1 with its 95 % interval, clustered by problem.

    What is not given has the paper's value, or that of the pocket recipe for the pocket Reasoner; --set changes any.
    """
    from calmstorm.commands import eval_answers
    from calmstorm.grading import TOLERANCE

    if sum(map(bool, (problems, responses, compare))) != 1:
        raise InputError("give one of --problems FILE|NAME, --responses FILE|RUN and --compare FIRST SECOND")
    if labels is not None and responses is None:
        raise InputError("--labels scores answers that are there: name them with --responses FILE|RUN")
    within = TOLERANCE if tolerance is None else tolerance
    if compare:
        eval_answers.compare(*compare, limit, within, as_json)
    elif responses:
        eval_answers.score(responses, labels, folder, limit, within, as_json)
    else:
        from calmstorm.commands.eval_measure import measure
        from calmstorm.commands.eval_sources import Sources
        from calmstorm.stages import recipe_of

        flags = {
            **options.reasoner_flags(model, tokenizer, prompt, text),
            "seed": seed,
            "rollout.response_tokens": response_tokens,
            "rollout.tier": tier,
            "evaluation.samples": samples,
            "evaluation.temperature": temperature,
            "evaluation.tolerance": tolerance,
        }
        settings = options.recipe_for(
            reasoner, recipe, options.changes(override, flags), recipe_of(run) if run else None
        )
        sources = Sources(problems or [], folder, download, question, answer, limit)
        source = {"problems.source": options.as_toml(sources.title)}
        measure(sources, changed(settings, source, "--problems"), run, as_json)
