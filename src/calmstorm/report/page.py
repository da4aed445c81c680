"""Renders report.html: one file that needs no network, in which nothing a model wrote can run (`html` says how)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from calmstorm.report.arms import Arm, suites_of
from calmstorm.report.build import RunReport
from calmstorm.report.content import Content, content
from calmstorm.report.examples import choose_examples
from calmstorm.report.html import asset, content_policy, plotly, script_json, template
from calmstorm.report.problem_index import ProblemEntry, problem_index
from calmstorm.report.published import suite_name
from calmstorm.report.tables import share
from calmstorm.report.transcripts import example_view

GROUPS = {"code": "Code utilisation distrust", "or": "Lack of OR expertise", "protocol": "Protocol"}
"""Classes of the legend's dots."""
MOST_PROBLEMS = 3000
"""Problems that the page lists; where there are more, the list is problems.csv."""


def render_html(reports: Sequence[RunReport], *, pages: bool = False) -> str:
    """Returns report.html.

    Args:
        reports: the runs, one or several.
        pages: whether the problems' pages lie beside the report, to be linked.
    """
    shown = content(reports)
    return render_content(shown, problem_index(reports, shown.arms), pages=pages)


def render_content(shown: Content, problems: Sequence[ProblemEntry], *, pages: bool) -> str:
    """Returns report.html from what was already put together."""
    theme_js, charts_js, list_js = asset("theme.js"), asset("charts.js"), asset("list.js")
    plotly_source, plotly_packed = plotly()
    first = shown.reports[0]
    return template("report.html.j2").render(
        policy=content_policy(theme_js, charts_js, list_js, plotly_source),
        css=asset("base.css") + "\n" + asset("report.css"),
        dark_css=asset("dark.css"),
        theme_js=theme_js,
        charts_js=charts_js,
        list_js=list_js,
        plotly=plotly_packed,
        figures=script_json(shown.drawn),
        content=shown,
        title=title(shown),
        lede=lede(shown),
        run=first.numbers["run"],
        pocket=any(report.numbers["run"]["pocket"] for report in shown.reports),
        missing=first.numbers["missing"] if shown.alone and not first.is_evaluation else [],
        tiles=tiles(shown),
        groups=GROUPS,
        problems=problems,
        most_problems=MOST_PROBLEMS,
        suite_name=suite_name,
        pages=pages,
        examples=[example_view(each) for each in choose_examples(first)] if shown.alone and shown.trains else [],
        config=_config_text(first) if shown.alone else "",
        commands=reproduce(shown),
    )


def title(shown: Content) -> str:
    """Heading of the page."""
    names = [report.name for report in shown.reports]
    return names[0] if len(names) == 1 else f"{len(names)} runs: {', '.join(names)}"


def lede(shown: Content) -> str:
    """What the report is on, in a sentence."""
    if shown.alone and shown.trains:
        return (
            "One pass through CALM and STORM: a Reasoner solves optimization word problems with code, an Intervener "
            "replaces the first flaw it sees by a short hint, the clean results fine-tune the Reasoner, and "
            "reinforcement learning takes it on from there."
        )
    suites = [suite_name(suite) for suite in suites_of(shown.arms)]
    models = "one model" if len(shown.arms) == 1 else f"{len(shown.arms)} models"
    if not suites:
        return "Runs in which no model has been evaluated yet."
    return f"An evaluation of {models} on {', '.join(suites)}."


def tiles(shown: Content) -> list[dict[str, str]]:
    """The key numbers of the headline; only those there are."""
    if not shown.alone or not shown.trains:
        return [_macro_tile(arm) for arm in shown.arms[:4] if arm.macro is not None]
    result = []
    main = [arm for lineage in shown.lineages for arm in lineage.arms if arm.macro is not None]
    if main:
        first, last = main[0], main[-1]
        names = ", ".join(f"{arm.name} {_interval(arm)}" for arm in dict.fromkeys((first, last)))
        before = _score(first) if len(main) > 1 else ""
        result.append(_tile("Pass@1, mean of suites", before, _score(last), f"{names}; 95% intervals"))
    curation = shown.reports[0].numbers["curation"]
    if curation["attempts"]:
        cells = [
            share(curation[f"correct_{when}"], curation[f"correct_{when}_ci95"], 0) for when in ("before", "after")
        ]
        note = f"{cells[0].interval} and {cells[1].interval}; 95% intervals"
        result.append(_tile("Correct, before and after hints", cells[0].shown, cells[1].shown, note))
        note = f"correct and flawless, of {curation['attempts']:,} attempts at {curation['problems']:,} problems"
        result.append(_tile("Golden trajectories", "", f"{curation['golden']:,}", note))
        edited = share(curation["edited_token_share"]).shown
        length = f"{curation['tokens_after']:,.0f}"
        note = (
            f"{edited} of golden tokens are hints, in responses of {length} tokens (paper: under 2.6% of about 6,500)"
        )
        result.append(_tile("Hints per attempt", "", f"{curation['hints_per_problem']:,.2f}", note))
    return result


def _macro_tile(arm: Arm) -> dict[str, str]:
    count = len(arm.cells)
    suites = f"mean of {count} suites" if count > 1 else suite_name(next(iter(arm.cells)))
    return _tile(arm.name, "", _score(arm), f"pass@1, {suites}; 95% interval {_interval(arm)}")


def _score(arm: Arm) -> str:
    return share(arm.macro["pass_at_1"], None, 0).shown if arm.macro else ""


def _interval(arm: Arm) -> str:
    return share(arm.macro["pass_at_1"], arm.macro["ci95"], 0).interval if arm.macro else ""


def _tile(name: str, before: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "before": before, "value": value, "note": note}


def reproduce(shown: Content) -> str:
    """The commands that make these runs, where it is known how they were made, and this report again."""
    lines = []
    for report in shown.reports:
        run = report.numbers["run"]
        commit = f", at commit {str(run['commit'])[:12]}" if run["commit"] else ""
        lines.append(f"# {report.name}: {run['problems']:,} problems{commit}")
        if report.is_evaluation:
            lines.append(_evaluation(report, [arm for arm in shown.arms if arm.report is report]))
        elif run["pocket"] and run["reasoner"] == "pocket":
            lines.append("calm demo" if run["seed"] is None else f"calm demo --seed {run['seed']}")
    names = [_run(report) for report in shown.reports]
    again = f"calm report {' '.join(names)}" + ("" if shown.alone else " --out DIRECTORY")
    return "\n".join([*lines, again, *(f"calm studio {name}" for name in names)])


def _evaluation(report: RunReport, arms: Sequence[Arm]) -> str:
    run = report.numbers["run"]
    sources = " ".join(f"--problems {shlex.quote(name)}" for name in str(run["evaluated"]).split(", "))
    reasoner, _, server = str(run["reasoner"] or "pocket").partition(" at ")
    how = (
        f"--reasoner {shlex.quote(server)} --model {shlex.quote(reasoner)}"
        if server
        else f"--reasoner {shlex.quote(reasoner)}"
    )
    samples = max((cell["samples"] for arm in arms for cell in arm.cells.values()), default=8)
    return f"calm eval {sources} {how} --samples {samples} --seed {run['seed']} --run {_run(report)}"


def _run(report: RunReport) -> str:
    return shlex.quote(f"runs/{report.name}")


def _config_text(report: RunReport) -> str:
    path = report.run.path / "config.toml"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
