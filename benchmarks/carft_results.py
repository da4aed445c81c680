"""What benchmarks/carft.py measured: learning curves over seeds, differences from GRPO, and a page of charts.

A curve's interval is Student's t over the seeds, so it holds what differs from training to training. The difference
from GRPO is taken problem by problem, over the answers of all seeds together (calmstorm.evaluation.paired): it says
whether held-out problems come out differently, and takes the seeds as given.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import plotly.io
from interpreting.results import machine
from scipy.special import stdtrit

from calmstorm.evaluation.paired import Comparison, Outcome, compare_outcomes

REFERENCE = "grpo"
_COLOURS = {"grpo": "#333333", "positives": "#0b6e99", "negatives": "#a8763e", "both": "#6a4fa3", "pull": "#3d8a4e"}
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GRPO and CARFT</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1280px; margin: 2rem auto;
        padding: 0 1rem }}
.charts {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 1rem }}
.charts > div {{ min-width: 0 }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums }}
td, th {{ padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid #ddd }}
.note {{ color: #555 }}
</style>
<h1>GRPO and CARFT on the pocket Reasoner</h1>
<p class="note">{machine}</p>
<p>Same start, problems and number of rollouts in each arm; {seeds}. Lines are means over the seeds, bars their 95 %
intervals.</p>
<div class="charts">{charts}</div>
<h2>Held-out problems</h2>
{table}
</html>
"""


@dataclass
class Training:
    """One arm with one seed, as far as it is."""

    steps: list[dict[str, Any]]
    """Rows of `rl.jsonl`."""
    accuracy: dict[int, float]
    """pass@1 on held-out problems, by step."""
    outcomes: dict[int, dict[str, Outcome]]
    """(graded, correct) by step and problem."""

    @property
    def tokens(self) -> int:
        """Tokens of all responses per rollout of a step, added up over the steps."""
        return int(sum(step["response_tokens"] for step in self.steps))


@dataclass
class Results:
    """Everything that was measured."""

    arms: dict[str, dict[int, Training]] = field(default_factory=dict)
    """By arm and seed."""

    def curve(self, arm: str) -> dict[int, tuple[float, float, float, int]]:
        """Returns mean accuracy, its interval and the number of seeds, by step."""
        return _by_step(training.accuracy for training in self.arms[arm].values())

    def series(self, arm: str, name: str) -> dict[int, tuple[float, float, float, int]]:
        """Returns the same of a number in the rows of steps."""
        return _by_step(
            {row["step"]: row[name] for row in training.steps if row.get(name) is not None}
            for training in self.arms[arm].values()
        )

    def difference(self, arm: str, step: int) -> Comparison | None:
        """Returns how an arm compares with GRPO at a step, over the seeds that both have; None without any."""
        seeds = [
            seed
            for seed, training in self.arms[arm].items()
            if step in training.outcomes and step in self.arms.get(REFERENCE, {}).get(seed, _NOTHING).outcomes
        ]
        first, second = (_added(self.arms[name][seed].outcomes[step] for seed in seeds) for name in (REFERENCE, arm))
        return compare_outcomes([(first[key], second[key]) for key in sorted(first.keys() & second.keys())])

    def as_json(self) -> dict[str, Any]:
        """Returns all of it as JSON values."""
        document: dict[str, Any] = {"machine": machine(), "arms": {}, "curves": {}, "differences": {}}
        for arm, trainings in self.arms.items():
            document["arms"][arm] = {seed: vars(training) for seed, training in trainings.items()}
            document["curves"][arm] = self.curve(arm)
            document["differences"][arm] = {
                step: comparison.model_dump()
                for step in self.curve(arm)
                if arm != REFERENCE and (comparison := self.difference(arm, step)) is not None
            }
        return document


_NOTHING = Training([], {}, {})


def collect(folder: Path, arms: Sequence[str], seeds: Sequence[int]) -> Results:
    """Reads what there is of each arm and seed."""
    results = Results()
    for arm in arms:
        found = {seed: _read(folder / f"{arm}-{seed}") for seed in seeds}
        results.arms[arm] = {seed: training for seed, training in found.items() if training.accuracy}
    return results


def _read(run: Path) -> Training:
    rows = _rows(run / "outcomes.jsonl")
    return Training(
        steps=_rows(run / "rl.jsonl"),
        accuracy={row["step"]: row["evaluation"]["pass_at_1"] for row in rows},
        outcomes={
            row["step"]: {key: (graded, correct) for key, (graded, correct) in row["outcomes"].items()} for row in rows
        },
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []


def _by_step(trainings: Iterable[dict[int, float]]) -> dict[int, tuple[float, float, float, int]]:
    values: dict[int, list[float]] = {}
    for training in trainings:
        for step, value in training.items():
            values.setdefault(step, []).append(value)
    return {step: _interval(values[step]) for step in sorted(values)}


def _interval(values: Sequence[float]) -> tuple[float, float, float, int]:
    """Returns mean, bounds of the 95 % interval by Student's t, and how many values there are; of one no interval."""
    mean, count = statistics.fmean(values), len(values)
    half = float(stdtrit(count - 1, 0.975)) * statistics.stdev(values) / count**0.5 if count > 1 else 0.0
    return mean, mean - half, mean + half, count


def _added(parts: Iterable[dict[str, Outcome]]) -> dict[str, Outcome]:
    total: dict[str, Outcome] = {}
    for part in parts:
        for key, (graded, correct) in part.items():
            before = total.get(key, (0, 0))
            total[key] = (before[0] + graded, before[1] + correct)
    return total


def table(results: Results) -> list[list[str]]:
    """Returns rows of the table, the first is the head."""
    rows = [["arm", "step", "seeds", "held-out pass@1", "95 % over seeds", "minus GRPO", "95 % by problem"]]
    for arm in results.arms:
        for step, (mean, low, high, count) in results.curve(arm).items():
            row = [arm, str(step), str(count), f"{mean:.1%}", f"{low:.1%} to {high:.1%}" if count > 1 else "-"]
            comparison = results.difference(arm, step) if arm != REFERENCE else None
            if comparison is not None:
                bounds = [f"{100 * bound:+.1f}" for bound in comparison.ci95]
                row += [f"{100 * comparison.difference:+.1f} points", " to ".join(bounds)]
            rows.append([*row, "", ""][: len(rows[0])])
    return rows


def show(results: Results) -> None:
    """Prints the table, and what the trainings took."""
    rows = table(results)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    for arm, trainings in results.arms.items():
        for seed, training in trainings.items():
            seconds = sum(step["seconds"] for step in training.steps)
            last = statistics.fmean(step["reward"] for step in training.steps[-3:]) if training.steps else 0.0
            print(
                f"{arm}, seed {seed}: {len(training.steps)} steps, {seconds:.0f} s, reward of the last three "
                f"{last:.2f}, {training.tokens} response tokens a rollout over all steps"
            )


def write_page(path: Path, results: Results) -> None:
    """Writes the page."""
    charts = {
        "Held-out pass@1": {arm: results.curve(arm) for arm in results.arms},
        "Reward of rollouts": {arm: results.series(arm, "reward") for arm in results.arms},
        "Similarity of correct rollouts to the annotated one": {
            arm: results.series(arm, "similarity_correct") for arm in results.arms
        },
        "Similarity of wrong rollouts to the annotated one": {
            arm: results.series(arm, "similarity_wrong") for arm in results.arms
        },
    }
    drawn = [
        plotly.io.to_html(
            _chart(title, curves),
            full_html=False,
            include_plotlyjs=number == 0,
            config={"displayModeBar": False, "responsive": True},
        )
        for number, (title, curves) in enumerate(charts.items())
    ]
    head, *rows = table(results)
    cells = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    seeds = sorted({seed for trainings in results.arms.values() for seed in trainings})
    facts = machine()
    path.write_text(
        _PAGE.format(
            machine=escape(f"{facts['cores']} cores, {facts['processor']}, Python {facts['python']}"),
            seeds=f"seeds {', '.join(map(str, seeds))}",
            charts="".join(drawn),
            table=f"<table><tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>{cells}</table>",
        ),
        encoding="utf-8",
    )


def _chart(title: str, curves: dict[str, dict[int, tuple[float, float, float, int]]]) -> dict[str, Any]:
    data = []
    for arm, curve in curves.items():
        if not curve:
            continue
        means = [mean for mean, *_ in curve.values()]
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": arm,
                "x": list(curve),
                "y": means,
                "line": {"color": _COLOURS[arm], "width": 2},
                "error_y": {
                    "array": [high - mean for mean, _, high, _ in curve.values()],
                    "color": _COLOURS[arm],
                    "thickness": 1,
                },
            }
        )
    return {
        "data": data,
        "layout": {
            "title": {"text": escape(title), "x": 0, "xref": "container", "font": {"size": 16}},
            "height": 380,
            "margin": {"l": 56, "r": 16, "t": 44, "b": 48},
            "plot_bgcolor": "#fff",
            "font": {"family": "system-ui, sans-serif", "size": 13, "color": "#222"},
            "xaxis": {"title": {"text": "step"}, "gridcolor": "#e5e5e5"},
            "yaxis": {"gridcolor": "#e5e5e5"},
        },
    }
