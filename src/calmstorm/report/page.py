"""Renders report.html: one file that needs no network, in which nothing a model wrote can run (`html` says how)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from calmstorm.report.arms import Arm, run_argument, suites_of
from calmstorm.report.collect import RunReport
from calmstorm.report.content import Content, content
from calmstorm.report.examples import choose_examples
from calmstorm.report.html import document, plotly, script_json
from calmstorm.report.numbers import CurationNumbers
from calmstorm.report.problems import ProblemEntry, list_problems
from calmstorm.report.published import suite_name
from calmstorm.report.run_tables import differences
from calmstorm.report.tables import Cell, number, share

MOST_PROBLEMS = 3000
"""Problems that the page lists; where there are more, the list is problems.csv."""
METHOD = (
    "One pass through CALM and STORM: a Reasoner solves optimization word problems with code, an Intervener replaces "
    "the first flaw it sees by a short hint, the clean results fine-tune the Reasoner, and reinforcement learning "
    "takes it on from there."
)


@dataclass(frozen=True)
class Tile:
    """A key number of the headline."""

    name: str
    value: str
    note: str
    before: str = ""
    """What the value was at first."""


def render_html(reports: Sequence[RunReport], *, pages: bool = False) -> str:
    """Returns report.html.

    Args:
        reports: The runs, one or several.
        pages: Whether the problems' pages lie beside the report, to be linked.
    """
    shown = content(reports)
    return render_content(shown, list_problems(reports, shown.arms), pages=pages)


def render_content(shown: Content, problems: Sequence[ProblemEntry], *, pages: bool) -> str:
    """Returns report.html from what was already put together."""
    plotly_source, plotly_packed = plotly()
    first = shown.reports[0]
    is_run = shown.is_alone and shown.trains
    return document(
        "report.html.j2",
        scripts=("charts.js", "list.js"),
        foreign_scripts=(plotly_source,),
        plotly=plotly_packed,
        figures=script_json({key: figure.drawn for key, figure in shown.figures.items()}),
        content=shown,
        title=_title(shown),
        lede=METHOD if is_run else _evaluated(shown),
        run=first.numbers.run,
        pocket=any(report.numbers.run.pocket for report in shown.reports),
        missing=first.numbers.missing if is_run else (),
        tiles=_run_tiles(shown) if is_run else _arm_tiles(shown),
        differences=differences(shown.reports),
        problems=problems,
        most_problems=MOST_PROBLEMS,
        pages=pages,
        examples=choose_examples(first) if is_run else [],
        config=_config_text(first) if shown.is_alone else "",
        commands=_commands(shown),
    )


def _title(shown: Content) -> str:
    names = [report.name for report in shown.reports]
    return names[0] if len(names) == 1 else f"{len(names)} runs: {', '.join(names)}"


def _evaluated(shown: Content) -> str:
    suites = [suite_name(suite) for suite in suites_of(shown.arms)]
    models = "one model" if len(shown.arms) == 1 else f"{len(shown.arms)} models"
    if not suites:
        return "Runs in which no model has been evaluated yet."
    return f"An evaluation of {models} on {', '.join(suites)}."


# ------------------------------------------------------------------ key numbers


def _arm_tiles(shown: Content) -> list[Tile]:
    tiles = []
    for arm in shown.arms[:4]:
        if arm.macro is not None:
            suites = [suite_name(suite) for suite in arm.cells]
            where = suites[0] if len(suites) == 1 else f"mean of {len(suites)} suites"
            score = _score(arm)
            tiles.append(Tile(arm.name, score.shown, f"pass@1, {where}; 95% interval {score.bounds}"))
    return tiles


def _run_tiles(shown: Content) -> list[Tile]:
    tiles = []
    scores = {arm.name: _score(arm) for lineage in shown.lineages for arm in lineage.arms if arm.macro is not None}
    if scores:
        ends = {name: scores[name] for name in (next(iter(scores)), next(reversed(scores)))}
        note = ", ".join(f"{name} {score.bounds}" for name, score in ends.items())
        *before, value = (score.shown for score in ends.values())
        tiles.append(Tile("Pass@1, mean of suites", value, f"{note}; 95% intervals", "".join(before)))
    curation = shown.reports[0].numbers.curation
    return tiles + (_curation_tiles(curation) if curation.attempts else [])


def _curation_tiles(curation: CurationNumbers) -> list[Tile]:
    before = share(curation.correct_before, curation.correct_before_ci95, 0)
    after = share(curation.correct_after, curation.correct_after_ci95, 0)
    golden = f"correct and flawless, of {curation.attempts:,} attempts at {curation.problems:,} problems"
    edited = (
        f"{share(curation.edited_token_share).shown} of golden tokens are hints, in responses of "
        f"{number(curation.tokens_after).shown} tokens (paper: under 2.6% of about 6,500)"
    )
    intervals = f"{before.bounds} and {after.bounds}; 95% intervals"
    return [
        Tile("Correct, before and after hints", after.shown, intervals, before.shown),
        Tile("Golden trajectories", f"{curation.golden:,}", golden),
        Tile("Hints per attempt", number(curation.hints_per_problem, 2).shown, edited),
    ]


def _score(arm: Arm) -> Cell:
    return share(arm.macro.pass_at_1, arm.macro.ci95, 0) if arm.macro else share(None)


# ------------------------------------------------------------------ how to make it again


def _commands(shown: Content) -> str:
    """The commands that make these runs, where it is known how they were made, and this report again."""
    lines = []
    for report in shown.reports:
        run = report.numbers.run
        commit = f", at commit {run.commit[:12]}" if run.commit else ""
        lines.append(f"# {report.name}: {run.problems:,} problems{commit}")
        if report.is_evaluation:
            lines.append(_evaluation_command(report))
        elif run.pocket and run.reasoner == "pocket":
            lines.append("calm demo" if run.seed is None else f"calm demo --seed {run.seed}")
    runs = [run_argument(report) for report in shown.reports]
    lines.append(f"calm report {' '.join(runs)}{'' if shown.is_alone else ' --out DIRECTORY'}")
    return "\n".join([*lines, *(f"calm studio {run}" for run in runs)])


def _evaluation_command(report: RunReport) -> str:
    run = report.numbers.run
    sources = " ".join(f"--problems {shlex.quote(name)}" for name in (run.evaluated or "").split(", "))
    reasoner, _, server = (run.reasoner or "pocket").partition(" at ")
    model = f"{shlex.quote(server)} --model {shlex.quote(reasoner)}" if server else shlex.quote(reasoner)
    results = [result for suites in report.numbers.evaluation.values() for result in suites.values()]
    samples = max((result.samples for result in results), default=8)
    how = f"--reasoner {model} --samples {samples} --seed {run.seed}"
    return f"calm eval {sources} {how} --run {run_argument(report)}"


def _config_text(report: RunReport) -> str:
    path = report.index.run.path / "config.toml"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
