"""The tables about runs: accuracy and what stands behind it, curation, training, flaws, settings, time, versions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from calmstorm.report.arms import Arm, stage_name, suites_of
from calmstorm.report.build import RunReport
from calmstorm.report.published import suite_name
from calmstorm.report.tables import Cell, Column, Row, Table, columns, number, rate, row, seconds, share, text
from calmstorm.report.triggers import TRIGGER_GROUPS, TRIGGER_NAMES

MACRO = "Macro average"


# ------------------------------------------------------------------ accuracy


def accuracy_table(arms: Sequence[Arm]) -> Table:
    """Pass@1 suite by suite, the arms within, the macro average last."""
    rows = _by_suite(
        arms,
        lambda cell: (
            share(cell["pass_at_1"], cell["ci95"]),
            number(cell["problems"]),
            number(cell["samples"]),
            number(cell["code_blocks"], 2),
            number(cell["response_tokens"]),
        ),
    )
    if len(suites_of(arms)) > 1:
        blank = (text(""),) * 4
        means = [(arm.name, arm.macro) for arm in arms if arm.macro is not None]
        rows += [row(name, share(cell["pass_at_1"], cell["ci95"]), *blank, group=MACRO) for name, cell in means]
    heads = columns("Model", "Pass@1", "Problems", "Samples per problem", "Code blocks", "Response tokens")
    return Table("accuracy", "The same numbers, and what the responses look like", heads, tuple(rows))


def endings_table(arms: Sequence[Arm]) -> Table:
    """How responses end, and what is in no rate."""
    rows = _by_suite(
        arms,
        lambda cell: (
            number(cell["executions"], 2),
            share(cell["cut_off"]),
            share(cell["no_answer"]),
            share(cell["protocol_ok"]),
            number(cell["infrastructure"]),
            number(cell["ungraded"]),
        ),
    )
    heads = columns(
        "Model", "Executions", "Cut off", "No answer", "Box as asked", "Machinery failed", "No usable label"
    )
    note = (
        "Cut off: ended by the limit of tokens or executions; graded like any other. The last two columns count "
        "responses that are in no rate: those that our own machinery failed, and those to problems without a usable "
        "label."
    )
    return Table("responses", "What responses cost, and how they end", heads, tuple(rows), notes=(note,))


def pass_at_k_table(arms: Sequence[Arm]) -> Table | None:
    """pass@k by suite, where there is more than one sample."""
    tries = sorted({int(k) for arm in arms for cell in arm.cells.values() for k in cell["pass_at_k"]})
    if len(tries) < 2:
        return None

    def at(cell: dict[str, Any], k: int) -> Cell:
        return share(cell["pass_at_k"].get(str(k)), cell["pass_at_k_ci95"].get(str(k)))

    rows = _by_suite(arms, lambda cell: tuple(at(cell, k) for k in tries))
    subtitle = "chance that one of k samples is right, 95% interval"
    return Table("pass-at-k", "Several tries", columns("Model", *(f"pass@{k}" for k in tries)), tuple(rows), subtitle)


def _by_suite(arms: Sequence[Arm], cells: Callable[[dict[str, Any]], tuple[Cell, ...]]) -> list[Row]:
    return [
        row(arm.name, *cells(arm.cells[suite]), group=suite_name(suite))
        for suite in suites_of(arms)
        for arm in arms
        if suite in arm.cells
    ]


def labels_table(reports: Sequence[RunReport]) -> Table:
    """Which published version of the labels the answers were held against."""
    rows = []
    for report in reports:
        for suite, labels in report.numbers["labels"].items():
            version = ", ".join(filter(None, labels["versions"])) or "not recorded"
            rows.append(row(suite_name(suite), text(version), text(report.name), number(labels["problems"])))
    heads = (*(Column(name, numeric=False) for name in ("Suite", "Label version", "Run")), Column("Problems"))
    return Table("labels", "What the answers were held against", heads, tuple(rows))


# ------------------------------------------------------------------ curation and training


def curation_table(report: RunReport, key: str) -> Table:
    """What the hints changed."""
    found = report.numbers["curation"]
    rows = (
        row(
            "Correct",
            share(found["correct_before"], found["correct_before_ci95"]),
            share(found["correct_after"], found["correct_after_ci95"]),
        ),
        row("Response tokens, mean", number(found["tokens_before"]), number(found["tokens_after"])),
        row("Golden", number(found["golden_without_hints"]), number(found["golden"])),
        row("Hints per attempt", text(""), number(found["hints_per_problem"], 2)),
        row("Edited tokens, golden set", text(""), share(found["edited_token_share"])),
    )
    return Table(key, "What the hints changed", columns("", "Before", "After"), rows)


def interventions_table(report: RunReport, key: str) -> Table:
    """Interventions by trigger."""
    found = report.numbers["curation"]
    total = found["interventions"]
    rows = [
        row(
            f"{n}\N{EN SPACE}{TRIGGER_NAMES[n]}",
            number(found["triggers"][str(n)]),
            share(found["triggers"][str(n)] / total if total else None, digits=0),
            group=group,
        )
        for group, numbers in TRIGGER_GROUPS.items()
        for n in numbers
    ]
    rows.append(row("All", number(total), text(""), total=True))
    return Table(key, "Interventions by trigger", columns("Trigger", "Count", "Share"), tuple(rows))


def learning_table(report: RunReport, key: str) -> Table | None:
    """Start and end of every curve: means over its first and last quarter."""
    quantities = {"rl": [("reward", 2), ("code blocks", 2), ("response tokens", 0)], "sft": [("loss", 3)]}
    rows = []
    for log, steps in report.numbers["learning"].items():
        for name, digits in quantities["rl" if log.endswith("rl") else "sft"]:
            values = [step[name.replace(" ", "_")] for step in steps if step.get(name.replace(" ", "_")) is not None]
            if values:
                quarter = max(1, len(values) // 4)
                start, end = sum(values[:quarter]) / quarter, sum(values[-quarter:]) / quarter
                rows.append(
                    row(f"{stage_name(log)} {name}", number(len(values)), number(start, digits), number(end, digits))
                )
    subtitle = "mean of the first and the last quarter"
    return (
        Table(key, "Start and end of training", columns("", "Steps", "Start", "End"), tuple(rows), subtitle)
        if rows
        else None
    )


# ------------------------------------------------------------------ flaws


def flaws_table(arms: Sequence[Arm]) -> Table:
    """Share of responses that show each trigger."""
    found = [(arm.name, arm.flaws.all) for arm in arms if arm.flaws is not None]
    rows = [
        row(f"{n}\N{EN SPACE}{TRIGGER_NAMES[n]}", *(rate(flaws.triggers[n]) for _, flaws in found), group=group)
        for group, numbers in TRIGGER_GROUPS.items()
        for n in numbers
    ]
    rows.append(row("No flaw at all", *(rate(flaws.flawless) for _, flaws in found), group="All", total=True))
    rows.append(row("Responses", *(number(flaws.responses) for _, flaws in found), group="All"))
    heads = columns("Trigger", *(name for name, _ in found))
    return Table("flaws", "Share of responses by trigger", heads, tuple(rows), "95% interval clustered by problem")


# ------------------------------------------------------------------ how it was made


def settings_table(reports: Sequence[RunReport], arms: Sequence[Arm]) -> Table:
    """What a response could use, and what it was asked with: a score says little without it."""

    def budget(key: str) -> tuple[Cell, ...]:
        values = [report.numbers["run"]["budget"][key] for report in reports]
        return tuple(
            text("not recorded" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:g}")
            for value in values
        )

    def said(key: str) -> tuple[Cell, ...]:
        values = [report.numbers["run"][key] for report in reports]
        return tuple(text("not recorded" if value is None else str(value)) for value in values)

    samples = [
        max((cell["samples"] for arm in arms if arm.report is report for cell in arm.cells.values()), default=0)
        for report in reports
    ]
    rows = (
        row("Reasoner", *said("reasoner")),
        row("Prompt", *said("prompt")),
        row("Seed", *said("seed")),
        row("Samples per problem", *(text(str(count) if count else "none") for count in samples)),
        row("Response tokens, at most", *budget("response_tokens")),
        row("Executions, at most", *budget("executions")),
        row("Seconds per script, at most", *budget("wall_seconds")),
        row("Memory per script, MiB", *budget("memory_mb")),
        row("Output kept, characters", *budget("output_characters")),
        row("Temperature", *budget("temperature")),
        row("Top-p", *budget("top_p")),
        row("Relative tolerance", *budget("tolerance")),
        row("Flaws named by", *(text(", ".join(report.numbers["annotators"]) or "nobody") for report in reports)),
        row("calmstorm", *(text(report.numbers["versions"].get("calmstorm", "not recorded")) for report in reports)),
        row("Commit", *(text(str(report.numbers["run"]["commit"] or "not recorded")[:12]) for report in reports)),
    )
    heads = [Column(name, numeric=False) for name in ("", *(report.name for report in reports))]
    return Table("settings", "What each response could use", tuple(heads), rows)


def timing_table(report: RunReport) -> Table | None:
    """Time per stage."""
    timing = report.numbers["timing"]
    total = sum(timing.values())
    if not timing:
        return None
    rows = [
        row(stage, seconds(value), share(value / total if total else None, digits=0)) for stage, value in timing.items()
    ]
    rows.append(row("All", seconds(total), text(""), total=True))
    return Table("timing", "Time per stage", columns("Stage", "Time", "Share"), tuple(rows))


def versions_table(report: RunReport) -> Table | None:
    """Versions of packages and machine."""
    rows = tuple(row(name, text(value)) for name, value in report.numbers["versions"].items())
    heads = (columns("Package")[0], columns("Version")[0])
    return Table("versions", "Versions", heads, rows) if rows else None


def differences(reports: Sequence[RunReport]) -> list[str]:
    """What keeps the runs of a report from being compared on equal terms, in words."""
    found = []
    names = {
        "response_tokens": "response tokens",
        "executions": "executions",
        "temperature": "temperature",
        "top_p": "top-p",
        "tolerance": "tolerance",
    }
    for key, name in names.items():
        values = list(dict.fromkeys(report.numbers["run"]["budget"][key] for report in reports))
        if len(values) > 1:
            shown = ", ".join("not recorded" if value is None else f"{value:,}" for value in values)
            found.append(f"the runs differ in {name}: {shown}")
    prompts = list(dict.fromkeys(str(report.numbers["run"]["prompt"] or "not recorded") for report in reports))
    if len(prompts) > 1:
        found.append(f"the runs differ in the prompt: {', '.join(prompts)}")
    labels: dict[str, dict[str, None]] = {}
    for report in reports:
        for suite, each in report.numbers["labels"].items():
            labels.setdefault(suite, {})[", ".join(each["versions"])] = None
    found += [
        f"{suite_name(suite)} was held against different labels: {'; '.join(each)}"
        for suite, each in labels.items()
        if len(each) > 1
    ]
    return found
