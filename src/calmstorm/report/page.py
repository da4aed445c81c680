"""Renders report.html: one file that needs no network, in which nothing a model wrote can run.

Two walls stand between hostile text and the reader's browser. Templates escape everything (jinja2, autoescape on), JSON
is written in ASCII with `<`, `>` and `&` escaped; and should that ever fail, the content security policy runs only
scripts whose SHA-256 it names, and forbids every request. plotly.js is embedded gzipped: 2 MB instead of 5.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import shlex
from functools import cache
from importlib import resources
from typing import Any

import jinja2
from plotly.offline import get_plotlyjs

from calmstorm.records import Trajectory
from calmstorm.report import figures
from calmstorm.report.counts import count, suite_rank
from calmstorm.report.examples import TRIGGER_GROUPS, TRIGGER_NAMES, Example, Passage, choose_examples
from calmstorm.runs import RunDirectory

AUTHORS = {
    "text": "Reasoner",
    "code": "Reasoner, code",
    "output": "Interpreter",
    "dropped": "Dropped",
    "hint": "Intervener",
}
GROUP_CLASSES = {"Code utilisation distrust": "code", "Lack of OR expertise": "or", "Protocol": "protocol"}


def render_html(report: dict[str, Any], run: RunDirectory) -> str:
    """Returns report.html.

    Args:
        report: what `build_report` returned.
        run: the run, for its texts: trajectories to read and config.toml.
    """
    theme_js, charts_js = _asset("theme.js"), _asset("charts.js")
    plotly_source, plotly_packed = _plotly()
    page = _environment().get_template("report.html.j2")
    return page.render(
        **report,
        policy=content_policy(theme_js, charts_js, plotly_source),
        css=_asset("report.css"),
        dark_css=_asset("dark.css"),
        theme_js=theme_js,
        charts_js=charts_js,
        plotly=plotly_packed,
        figures=script_json(draw(report)),
        tiles=tiles(report),
        trigger_groups=_trigger_groups(),
        accuracy_rows=accuracy_rows(report),
        learning_rows=learning_rows(report["learning"]),
        examples=[_example_view(example) for example in choose_examples(run, count(run.trajectories()))],
        timing_rows=_timing_rows(report["timing"]),
        timing_total=sum(report["timing"].values()),
        config=_config_text(run),
        commands=reproduce(report),
    )


def content_policy(*scripts: str) -> str:
    """The content security policy: no request at all, and no script but these, by their hash."""
    hashes = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def script_json(value: object) -> str:
    """JSON that can stand inside a script element: pure ASCII, no character that HTML could take for markup."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def draw(report: dict[str, Any]) -> dict[str, figures.Figure]:
    """All charts the run has numbers for, by the id the template places them under."""
    drawn: dict[str, figures.Figure] = {}
    curation, learning = report["curation"], report["learning"]
    if curation["attempts"]:
        drawn["funnel"] = figures.funnel(curation)
        drawn["triggers"] = figures.triggers(curation)
    if report["evaluation"]:
        drawn["accuracy"] = figures.accuracy(report["evaluation"], report["macro"])
    if learning["rl"]:
        drawn["rl-reward"] = figures.curve(learning["rl"], "reward", share=True)
        drawn["rl-code"] = figures.curve(learning["rl"], "code_blocks")
        drawn["rl-tokens"] = figures.curve(learning["rl"], "response_tokens")
    if learning["sft"]:
        drawn["sft-loss"] = figures.curve(learning["sft"], "loss", colour="--stage-sft")
    if report["flaws"]:
        drawn["flaws"] = figures.flaw_rates(report["flaws"])
    return drawn


def tiles(report: dict[str, Any]) -> list[dict[str, str]]:
    """The key numbers of the headline; only those the run has."""
    result = []
    macro, curation = report["macro"], report["curation"]
    stages = [stage for stage, cell in macro.items() if cell["pass_at_1"] is not None]
    if stages:
        first, last = macro[stages[0]], macro[stages[-1]]
        names = f"{figures.stage_name(stages[0])} [{_bounds(first)}]"
        if len(stages) > 1:
            names += f", {figures.stage_name(stages[-1])} [{_bounds(last)}]"
        before = figures.percent(first["pass_at_1"]) if len(stages) > 1 else ""
        after = figures.percent(last["pass_at_1"])
        result.append(_tile("Pass@1, mean of suites", before, after, f"{names}; 95% intervals"))
    if curation["attempts"]:
        before, after = figures.percent(curation["correct_before"]), figures.percent(curation["correct_after"])
        bounds = [_percents(curation[f"correct_{when}_ci95"]) for when in ("before", "after")]
        note = f"[{bounds[0]}] and [{bounds[1]}]; 95% intervals"
        result.append(_tile("Correct, before and after hints", before, after, note))
        note = f"correct and flawless, of {curation['attempts']:,} attempts at {curation['problems']:,} problems"
        result.append(_tile("Golden trajectories", "", f"{curation['golden']:,}", note))
        share = _percentage(curation["edited_token_share"], 1)
        length = _number(curation["tokens_after"])
        note = f"{share} of golden tokens are hints, in responses of {length} tokens (paper: under 2.6% of about 6,500)"
        result.append(_tile("Hints per attempt", "", _number(curation["hints_per_problem"], 2), note))
    return result


def accuracy_rows(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Rows of the accuracy table: suite by suite, the stages within, the macro average last."""
    evaluation = report["evaluation"]
    suites = sorted(dict.fromkeys(suite for cells in evaluation.values() for suite in cells), key=suite_rank)
    blocks = [
        (suite, {stage: cells[suite] for stage, cells in evaluation.items() if suite in cells}) for suite in suites
    ]
    if len(suites) > 1:
        blocks.append(("Macro average", report["macro"]))
    unknown = dict.fromkeys(("problems", "samples", "code_blocks", "response_tokens"))
    return [
        {**unknown, **cell, "stage": figures.stage_name(stage), "suite": suite, "span": 0 if index else len(cells)}
        for suite, cells in blocks
        for index, (stage, cell) in enumerate(cells.items())
    ]


def learning_rows(learning: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Start and end of every curve: means over its first and last quarter."""
    curves = [
        ("RL reward", "rl", "reward", 2),
        ("RL code blocks", "rl", "code_blocks", 2),
        ("RL response tokens", "rl", "response_tokens", 0),
        ("SFT loss", "sft", "loss", 3),
    ]
    rows = []
    for name, file, key, digits in curves:
        values = [row[key] for row in learning[file] if row.get(key) is not None]
        if values:
            quarter = max(1, len(values) // 4)
            start, end = sum(values[:quarter]) / quarter, sum(values[-quarter:]) / quarter
            rows.append({"name": name, "steps": len(values), "start": start, "end": end, "digits": digits})
    return rows


def reproduce(report: dict[str, Any]) -> str:
    """The commands that make this run, where it is known how it was made, and this report again."""
    run = report["run"]
    name = shlex.quote(f"runs/{run['name']}")
    lines = [f"# at commit {str(run['commit'])[:12]}"] if run["commit"] else []
    if run["pocket"]:
        lines.append("calm demo" if run["seed"] is None else f"calm demo --seed {run['seed']}")
    return "\n".join([*lines, f"calm report {name}", f"calm studio {name}"])


def _example_view(example: Example) -> dict[str, Any]:
    """What the template shows of an example: plain text only."""
    trajectory = example.trajectory
    verdict = trajectory.verdict
    tokens = f"{trajectory.usage.completion_tokens:,}"
    if example.first is not None:
        tokens = f"{example.first.usage.completion_tokens:,} before, {tokens} after"
    facts = [
        ("Stage", f"{trajectory.stage}, sample {trajectory.sample}, round {trajectory.round}"),
        ("Answer", "none" if trajectory.answer is None else str(trajectory.answer)),
        ("Label", "none" if verdict is None or verdict.expected is None else str(verdict.expected)),
        ("Tokens", tokens),
    ]
    if example.first is not None:
        before = "correct" if _is_correct(example.first) else "wrong"
        facts.insert(1, ("Before the hint", f"{before} ({example.first.answer})"))
    return {
        "title": example.title,
        "problem_id": trajectory.problem_id,
        "golden": example.golden,
        "correct": _is_correct(trajectory),
        "status": "not graded" if verdict is None else verdict.status.value.replace("_", " "),
        "facts": facts,
        "question": example.problem.question if example.problem else "",
        "passages": [_passage_view(passage) for passage in example.passages],
        "replaced_hints": example.replaced_hints,
    }


def _is_correct(trajectory: Trajectory) -> bool:
    return trajectory.verdict is not None and trajectory.verdict.correct


def _passage_view(passage: Passage) -> dict[str, Any]:
    hint = passage.intervention
    who = AUTHORS.get(passage.kind, passage.kind)
    return {
        "kind": passage.kind,
        "who": who,
        "text": unfenced(passage.text) if passage.kind in ("code", "output") else passage.text.strip("\n"),
        "rest": passage.rest.strip("\n"),
        "trigger": "" if hint is None else f"Trigger {int(hint.trigger)}: {TRIGGER_NAMES[hint.trigger].lower()}.",
        "why": "" if hint is None else hint.analysis,
    }


def unfenced(text: str) -> str:
    """A code or output span without its Markdown fence, which the page shows by colour instead."""
    return re.sub(r"\n?```\s*\Z", "", re.sub(r"\A\s*```[a-z]*\n", "", text)).strip("\n")


def _trigger_groups() -> list[dict[str, Any]]:
    names = {int(trigger): name for trigger, name in TRIGGER_NAMES.items()}
    return [
        {
            "name": group,
            "css": GROUP_CLASSES[group],
            "triggers": [{"number": number, "key": str(number), "name": names[number]} for number in numbers],
        }
        for group, numbers in TRIGGER_GROUPS.items()
    ]


def _timing_rows(timing: dict[str, float]) -> list[dict[str, Any]]:
    longest = max(timing.values(), default=0.0) or 1.0
    return [{"stage": stage, "seconds": seconds, "share": seconds / longest} for stage, seconds in timing.items()]


def _config_text(run: RunDirectory) -> str:
    path = run.path / "config.toml"
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


# ------------------------------------------------------------------ how numbers are written


def _percentage(share: float | None, digits: int = 0) -> str:
    return figures.UNKNOWN if share is None else f"{100 * share:.{digits}f}%"


def _number(value: float | None, digits: int = 0) -> str:
    return figures.UNKNOWN if value is None else f"{value:,.{digits}f}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _percents(bounds: list[float] | None) -> str:
    return figures.UNKNOWN if bounds is None else f"{100 * bounds[0]:.0f}, {100 * bounds[1]:.0f}"


def _bounds(cell: dict[str, Any]) -> str:
    return _percents(cell["ci95"])


def _tile(name: str, before: str, value: str, note: str) -> dict[str, str]:
    return {"name": name, "before": before, "value": value, "note": note}


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


# ------------------------------------------------------------------ what the page is made of

_INVISIBLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def visible(text: str) -> str:
    """The text with characters that show nothing, break lines or turn the writing direction written out as `<U+202E>`.

    Left in, they could reorder what stands around them, or make code read otherwise than it runs.
    """
    return _INVISIBLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", text)


@cache
def _environment() -> jinja2.Environment:
    templates = resources.files("calmstorm.report") / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: (templates / name).read_text(encoding="utf-8")),
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "pct": _percentage,
        "number": _number,
        "count": _count,
        "duration": _duration,
        "stage_name": figures.stage_name,
    }
    environment.globals["ratio"] = _ratio
    return environment


@cache
def _asset(name: str) -> str:
    return (resources.files("calmstorm.report") / "templates" / name).read_text(encoding="utf-8").strip()


@cache
def _plotly() -> tuple[str, str]:
    """plotly.js as its text, and as it is embedded: gzip, base64."""
    source: str = get_plotlyjs()
    packed = gzip.compress(source.encode(), compresslevel=9, mtime=0)
    return source, base64.b64encode(packed).decode()
