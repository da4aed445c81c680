"""The tables about runs: accuracy and what stands behind it, curation, training, flaws, settings, time, versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from calmstorm.evaluation import Summary
from calmstorm.records import Trigger
from calmstorm.report.arms import STAGE_NAMES, Arm, suites_of
from calmstorm.report.collect import RunReport
from calmstorm.report.numbers import CurationNumbers, RunNumbers
from calmstorm.report.published import suite_name
from calmstorm.report.tables import Cell, Column, Table, TableRow, columns, number, rate, row, seconds, share, text

MACRO = "Macro average"
BUDGET_NAMES = {
    "response_tokens": "Response tokens, at most",
    "executions": "Executions, at most",
    "wall_seconds": "Seconds per script, at most",
    "memory_mb": "Memory per script, MiB",
    "output_characters": "Output kept, characters",
    "temperature": "Temperature",
    "top_p": "Top-p",
    "tolerance": "Relative tolerance",
}
COMPARED = ("Prompt", "Response tokens, at most", "Executions, at most", "Temperature", "Top-p", "Relative tolerance")
"""Settings that have to be equal for scores to be comparable."""


# ------------------------------------------------------------------ accuracy


def accuracy_table(arms: Sequence[Arm]) -> Table:
    """Pass@1 suite by suite, the arms within, the macro average last."""
    cells = {
        "Pass@1": lambda result: share(result.pass_at_1, result.ci95),
        "Problems": lambda result: number(result.problems),
        "Samples per problem": lambda result: number(result.samples),
        "Code blocks": lambda result: number(result.code_blocks, 2),
        "Response tokens": lambda result: number(result.response_tokens),
    }
    table = _by_suite("accuracy", "The same numbers, and what the responses look like", arms, cells)
    if len(suites_of(arms)) < 2:
        return table
    blank = [text()] * (len(cells) - 1)
    means = [
        row(arm.name, share(macro.pass_at_1, macro.ci95), *blank, group=MACRO) for arm in arms if (macro := arm.macro)
    ]
    return replace(table, rows=(*table.rows, *means))


def endings_table(arms: Sequence[Arm]) -> Table:
    """How responses end, and what is in no rate."""
    cells = {
        "Executions": lambda result: number(result.executions, 2),
        "Cut off": lambda result: share(result.cut_off),
        "No answer": lambda result: share(result.no_answer),
        "Box as asked": lambda result: share(result.protocol_ok),
        "Machinery failed": lambda result: number(result.infrastructure),
        "No usable label": lambda result: number(result.ungraded),
    }
    note = (
        "Cut off: ended by the limit of tokens or executions; graded like any other. The last two columns count "
        "responses that are in no rate: those that our own machinery failed, and those to problems without a usable "
        "label."
    )
    return replace(_by_suite("responses", "What responses cost, and how they end", arms, cells), notes=(note,))


def pass_at_k_table(arms: Sequence[Arm]) -> Table:
    """pass@k by suite; without rows where there is one sample."""

    def chance(k: int) -> Callable[[Summary], Cell]:
        return lambda result: share(result.pass_at_k.get(k), result.pass_at_k_ci95.get(k))

    tries = sorted({k for arm in arms for result in arm.cells.values() for k in result.pass_at_k})
    cells = {f"pass@{k}": chance(k) for k in tries}
    table = _by_suite("pass-at-k", "Several tries", arms if len(tries) > 1 else (), cells)
    return replace(table, subtitle="chance that one of k samples is right, 95% interval")


def _by_suite(key: str, title: str, arms: Sequence[Arm], cells: dict[str, Callable[[Summary], Cell]]) -> Table:
    rows = [
        row(arm.name, *(cell(arm.cells[suite]) for cell in cells.values()), group=suite_name(suite))
        for suite in suites_of(arms)
        for arm in arms
        if suite in arm.cells
    ]
    return Table(key, title, columns("Model", *cells), tuple(rows))


def labels_table(reports: Sequence[RunReport]) -> Table:
    """Which published version of the labels the answers were held against."""
    rows = []
    for report in reports:
        for suite, labels in report.numbers.labels.items():
            version = ", ".join(filter(None, labels.versions)) or "not recorded"
            rows.append(row(suite_name(suite), text(version), text(report.name), number(labels.problems)))
    heads = (*columns("Suite", "Label version", "Run", numeric=False), Column("Problems"))
    return Table("labels", "What the answers were held against", heads, tuple(rows))


# ------------------------------------------------------------------ curation and training


def curation_table(key: str, curation: CurationNumbers) -> Table:
    """What the hints changed."""
    before = share(curation.correct_before, curation.correct_before_ci95)
    after = share(curation.correct_after, curation.correct_after_ci95)
    rows = (
        row("Correct", before, after),
        row("Response tokens, mean", number(curation.tokens_before), number(curation.tokens_after)),
        row("Golden", number(curation.golden_without_hints), number(curation.golden)),
        row("Hints per attempt", text(), number(curation.hints_per_problem, 2)),
        row("Edited tokens, golden set", text(), share(curation.edited_token_share)),
        row("Token modification, golden set", text(), share(curation.token_modification)),
        row("Attempts ended by a failed review", text(), number(curation.failed_reviews)),
    )
    return Table(key, "What the hints changed", columns("", "Before", "After"), rows)


def spending_table(key: str, curation: CurationNumbers) -> Table:
    """What curation took; dollars only where a price was given."""
    rows = tuple(
        row(
            who,
            number(usage.prompt_tokens),
            number(usage.completion_tokens),
            number(usage.cost or None, 2),
        )
        for who, usage in (("Reasoner", curation.reasoner), ("Intervener", curation.intervener))
    )
    heads = columns("", "Tokens sent", "Tokens drawn", "US dollars")
    return Table(key, "What curation took", heads, rows)


def interventions_table(key: str, curation: CurationNumbers) -> Table:
    """Interventions by trigger."""
    counts, total = curation.triggers, curation.interventions
    rows = trigger_rows(lambda trigger: (number(counts[trigger]), share(counts[trigger] / max(1, total), digits=0)))
    rows.append(row("All", number(total), text(), total=True))
    return Table(key, "Interventions by trigger", columns("Trigger", "Count", "Share"), tuple(rows))


def trigger_rows(cells: Callable[[Trigger], Sequence[Cell]], *, grouped: bool = True) -> list[TableRow]:
    """Returns a row for each trigger."""
    return [
        row(f"{trigger:d}\N{EN SPACE}{trigger.label}", *cells(trigger), group=trigger.group.label if grouped else "")
        for trigger in Trigger
    ]


def learning_table(key: str, numbers: RunNumbers) -> Table:
    """Start and end of every curve: means over its first and last quarter."""
    rows = []
    for log, steps in numbers.learning.items():
        quantities = {"reward": 2, "code blocks": 2, "response tokens": 0} if log.endswith("rl") else {"loss": 3}
        for name, digits in quantities.items():
            values = [value for step in steps if (value := step.get(name.replace(" ", "_"))) is not None]
            if values:
                quarter = max(1, len(values) // 4)
                ends = [number(fmean(part), digits) for part in (values[:quarter], values[-quarter:])]
                rows.append(row(f"{STAGE_NAMES[log]} {name}", number(len(values)), *ends))
    heads = columns("", "Steps", "Start", "End")
    return Table(key, "Start and end of training", heads, tuple(rows), "mean of the first and the last quarter")


def held_out_table(key: str, numbers: RunNumbers) -> Table:
    """Accuracy on held-out problems along training; no rows where nothing was evaluated while training."""
    rows = tuple(
        row(
            str(evaluation.step),
            share(evaluation.pass_at_1, evaluation.ci95),
            number(evaluation.problems),
            number(evaluation.samples),
            group=STAGE_NAMES[log],
        )
        for log, evaluations in numbers.held_out.items()
        for evaluation in evaluations
    )
    heads = columns("Steps made", "Pass@1", "Problems", "Samples per problem")
    return Table(key, "Accuracy along training", heads, rows, "held-out problems, 95% interval")


# ------------------------------------------------------------------ flaws


def flaws_table(arms: Sequence[Arm]) -> Table:
    """Share of responses that show each trigger."""
    searched = {arm.name: arm.flaws.all for arm in arms if arm.flaws is not None}
    rows = trigger_rows(lambda trigger: [rate(flaws.triggers[trigger]) for flaws in searched.values()])
    rows.append(row("No flaw at all", *(rate(flaws.flawless) for flaws in searched.values()), group="All", total=True))
    rows.append(row("Responses", *(number(flaws.responses) for flaws in searched.values()), group="All"))
    subtitle = "95% interval clustered by problem"
    return Table("flaws", "Share of responses by trigger", columns("Trigger", *searched), tuple(rows), subtitle)


# ------------------------------------------------------------------ how it was made


def settings_table(reports: Sequence[RunReport]) -> Table:
    """What a response could use, and what it was asked with: a score says little without it."""
    settings = [_settings(report) for report in reports]
    rows = tuple(row(name, *(text(setting[name]) for setting in settings)) for name in settings[0])
    heads = columns("", *(report.name for report in reports), numeric=False)
    return Table("settings", "What each response could use", heads, rows)


def _settings(report: RunReport) -> dict[str, str]:
    run = report.numbers.run
    settings = {
        "Reasoner": run.reasoner,
        "Prompt": run.prompt,
        "Seed": None if run.seed is None else str(run.seed),
        "Samples per problem": str(report.samples or "none"),
        **{name: getattr(run.budget, key) for key, name in BUDGET_NAMES.items()},
        "Flaws named by": ", ".join(report.numbers.annotators) or "nobody",
        "calmstorm": report.numbers.versions.get("calmstorm"),
        "Commit": run.commit and run.commit[:12],
    }

    def written(value: str | float | None) -> str:
        if isinstance(value, float):
            return f"{value:g}"
        return f"{value:,}" if isinstance(value, int) else value or "not recorded"

    return {name: written(value) for name, value in settings.items()}


def timing_table(numbers: RunNumbers) -> Table:
    """Time per stage."""
    total = sum(numbers.timing.values())
    rows = [
        row(stage, seconds(value), share(value / total if total else None, digits=0))
        for stage, value in numbers.timing.items()
    ]
    if rows:
        rows.append(row("All", seconds(total), text(), total=True))
    return Table("timing", "Time per stage", columns("Stage", "Time", "Share"), tuple(rows))


def versions_table(numbers: RunNumbers) -> Table:
    """Versions of packages and machine."""
    rows = tuple(row(name, text(version)) for name, version in numbers.versions.items())
    return Table("versions", "Versions", columns("Package", "Version", numeric=False), rows)


def differences(reports: Sequence[RunReport]) -> list[str]:
    """Returns what keeps the runs of a report from being compared on equal terms, in words."""
    differing = []
    for name in COMPARED:
        values = dict.fromkeys(_settings(report)[name] for report in reports)
        if len(values) > 1:
            differing.append(f"the runs differ in {name.removesuffix(', at most').lower()}: {', '.join(values)}")
    versions: dict[str, dict[str, None]] = {}
    for report in reports:
        for suite, labels in report.numbers.labels.items():
            versions.setdefault(suite, {})[", ".join(labels.versions)] = None
    for suite, labelled in versions.items():
        if len(labelled) > 1:
            differing.append(f"{suite_name(suite)} was held against different labels: {'; '.join(labelled)}")
    return differing
