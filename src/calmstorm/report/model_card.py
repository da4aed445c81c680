"""The model card of a trained model: what it was made of, how, and what it scored, as README.md of its directory.

The facts stand beside it in `card.json`, so that the directory says everything about itself. Front matter and licence
are written once and then belong to the user; what stands between the two marks is written anew whenever the model was
evaluated. Nothing in it names this machine: no paths, no addresses of servers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence

from calmstorm.printable import printable
from calmstorm.problems.benchmarks_table import VERSIONS
from calmstorm.records import Record, Stage
from calmstorm.report.arms import STAGE_NAMES
from calmstorm.report.export import markdown_text, to_markdown
from calmstorm.report.tables import Column, Table, columns, number, row, seconds, share, text

CARD = "README.md"
FACTS = "card.json"
BEGIN, END = "<!-- calmstorm: begin -->", "<!-- calmstorm: end -->"
"""What stands between them is calmstorm's to write."""

SettingValue = str | int | float | bool | None


class DataPart(Record):
    """Training data of one suite under one version of its labels."""

    suite: str
    label_version: str
    problems: int
    trajectories: int = 0
    """Golden trajectories; 0 where rollouts are drawn while training."""


class Training(Record):
    """One stage of training that a model went through."""

    stage: Stage
    data: tuple[DataPart, ...]
    settings: dict[str, SettingValue]
    """Those that say how it was trained, by name."""
    changed: tuple[str, ...]
    """Names of settings that differ from the paper's."""
    steps: int
    seconds: float
    """Of the stage, over all resumes."""
    weights: str = ""
    """Which weights were kept, where there was a choice."""


class Score(Record):
    """pass@1 on one suite."""

    suite: str
    label_versions: tuple[str, ...]
    problems: int
    samples: int
    """Per problem."""
    pass_at_1: float | None
    ci95: tuple[float, float] | None
    base: float | None = None
    """pass@1 of the base on the same suite in the same run."""
    base_ci95: tuple[float, float] | None = None


class Evaluation(Record):
    """What a model scored in one run."""

    run: str
    """Name of the run."""
    budget: dict[str, SettingValue]
    """What a response could use."""
    scores: tuple[Score, ...]


class CardFacts(Record):
    """Everything a card says; the content of `card.json`."""

    base: str
    """What the first training began with, in words."""
    base_model: str | None
    """Its hub id, where it has one."""
    pocket: bool
    prompt: str
    seed: int
    trainings: tuple[Training, ...]
    """In order."""
    versions: dict[str, str]
    """Of calmstorm and of what trained."""
    commit: str | None
    """Of the checkout of calmstorm."""
    evaluations: tuple[Evaluation, ...] = ()


def card_text(facts: CardFacts, existing: str | None = None) -> str:
    """Returns the whole card.

    Args:
        facts: What it says.
        existing: The card as it is. What a user wrote outside the marks stays; where the marks are gone, all of it.
    """
    body = f"{BEGIN}\n\n{_body(facts)}\n{END}"
    if existing is None:
        return f"{_front_matter(facts)}\n{body}\n\n{_LICENCE}"
    before, begun, rest = existing.partition(BEGIN)
    _, ended, after = rest.partition(END)
    return before + body + after if begun and ended else existing


_LICENCE = """## Licence

None is chosen here. Whoever publishes this model chooses one, within what the licence of the base model and the terms
of the training data allow, and names it in the front matter: `license: apache-2.0`, for example.
"""


def _front_matter(facts: CardFacts) -> str:
    fields: dict[str, SettingValue | list[str]] = {}
    if facts.base_model is not None:
        fields["base_model"] = facts.base_model
    fields["library_name"] = "transformers"
    fields["pipeline_tag"] = "text-generation"
    fields["tags"] = ["calmstorm", "calm", "operations-research", "optimization-modeling", *_methods(facts)]
    hubs = {version.name: version.hub[0] for version in VERSIONS if version.hub is not None}
    used = [part.label_version for training in facts.trainings for part in training.data]
    datasets = list(dict.fromkeys(hubs[name] for name in used if name in hubs))
    if datasets:
        fields["datasets"] = datasets
    lines = []
    for name, value in fields.items():  # JSON is YAML, and quotes whatever is in a text
        listed = isinstance(value, list)
        written = "".join(f"\n- {_quoted(item)}" for item in value) if listed else f" {_quoted(value)}"  # type: ignore[union-attr]
        lines.append(f"{name}:{written}")
    return "\n".join(["---", *lines, "---"]) + "\n"


def _quoted(value: object) -> str:
    return json.dumps(printable(value) if isinstance(value, str) else value, ensure_ascii=False)


def _methods(facts: CardFacts) -> list[str]:
    methods = []
    for training in facts.trainings:
        methods += [str(training.settings.get("objective", "grpo"))] if training.stage.endswith("rl") else ["sft"]
    return list(dict.fromkeys(methods))


def _body(facts: CardFacts) -> str:
    last = facts.trainings[-1]
    steps = ", then ".join(_sentence(training) for training in facts.trainings)
    parts = [
        f"# {markdown_text(STAGE_NAMES.get(last.stage, last.stage))} of {markdown_text(facts.base)}",
        "A reasoning model for optimization modeling, adapted with calmstorm as in “CALM Before the STORM” "
        "(arXiv 2510.04204): it thinks in text, writes complete solver scripts, reads their output and ends with the "
        f"optimal value in a box. Base: {markdown_text(facts.base)}; {steps}.",
        *_scores(facts),
        "## Data",
        *(_table(_data_table(training)) for training in facts.trainings),
        "## Recipe",
        f"Prompt `{_code(facts.prompt)}`, seed {facts.seed}. A star marks what differs from the paper's value.",
        *(_table(_settings_table(training)) for training in facts.trainings),
        _table(_time_table(facts.trainings)),
        "## Use",
        "Its answers come from scripts that it writes: run them in a sandbox, as `calm solve` does.",
        '```sh\ncalm solve "A bakery has 40 kg of flour ..." --reasoner DIRECTORY_OR_HUB_ID\n```',
        "## Limits",
        "\n".join(f"- {limit}" for limit in _limits(facts)),
        "## Made with",
        _made_with(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _sentence(training: Training) -> str:
    trajectories = sum(part.trajectories for part in training.data)
    problems = sum(part.problems for part in training.data)
    on = f"{trajectories} golden trajectories of {problems} problems" if trajectories else f"{problems} problems"
    kept = f" ({markdown_text(training.weights)})" if training.weights else ""
    verb = "reinforced" if training.stage.endswith("rl") else "fine-tuned"
    return f"{verb} on {on} in {training.steps} steps{kept}"


def _scores(facts: CardFacts) -> Iterator[str]:
    yield "## Evaluation"
    if not facts.evaluations:
        yield "Not evaluated yet."
        return
    yield "pass@1, the mean over samples, with 95% intervals clustered by problem; a share of correct final answers."
    for evaluation in facts.evaluations:
        rows = []
        for score in evaluation.scores:
            versions = text(", ".join(score.label_versions) or "not recorded")
            model, base = share(score.pass_at_1, score.ci95), share(score.base, score.base_ci95)
            rows.append(row(score.suite, versions, number(score.problems), number(score.samples), model, base))
        heads = (
            *columns("Suite", "Labels", numeric=False),
            *map(Column, ("Problems", "Samples", "This model", "Base")),
        )
        bounds = ", ".join(f"{name.replace('_', ' ')} {_plain(value)}" for name, value in evaluation.budget.items())
        yield _table(Table("scores", f"Run {evaluation.run}", heads, tuple(rows), bounds))


def _data_table(training: Training) -> Table:
    learns = any(part.trajectories for part in training.data)
    rows = []
    for part in training.data:
        counts = [number(part.problems), *([number(part.trajectories)] if learns else [])]
        rows.append(row(part.suite or "without a suite", text(part.label_version or "not recorded"), *counts))
    heads = (
        *columns("Suite", "Labels", numeric=False),
        *map(Column, ["Problems", "Golden trajectories"][: 1 + learns]),
    )
    return Table("data", f"{STAGE_NAMES.get(training.stage, training.stage)}: data", heads, tuple(rows))


def _settings_table(training: Training) -> Table:
    rows = [
        row(f"{name} *" if name in training.changed else name, text(_plain(value)))
        for name, value in training.settings.items()
    ]
    title = f"{STAGE_NAMES.get(training.stage, training.stage)}: settings"
    return Table("settings", title, columns("Setting", "Value", numeric=False), tuple(rows))


def _time_table(trainings: Sequence[Training]) -> Table:
    rows = [
        row(STAGE_NAMES.get(training.stage, training.stage), number(training.steps), seconds(training.seconds))
        for training in trainings
    ]
    return Table("time", "Steps and time", columns("Stage", "Steps", "Time"), tuple(rows))


def _limits(facts: CardFacts) -> Iterator[str]:
    if facts.pocket:
        yield "The base is the tiny pocket Reasoner, which shows that a program works: no evidence about large models."
    yield "The scores hold for the suites, labels and bounds that stand beside them, and for nothing else."
    yield "A right final answer can rest on a wrong model: look at the formulation before it decides anything."
    if any(training.weights for training in facts.trainings):
        yield "Its weights were chosen by their score on held-out problems: report other problems than those."


def _made_with(facts: CardFacts) -> str:
    versions = dict(facts.versions)
    own = f"calmstorm {versions.pop('calmstorm', 'of unknown version')}"
    commit = f", commit {facts.commit}" if facts.commit else ""
    others = ", ".join(f"{name} {version}" for name, version in versions.items())
    return markdown_text(f"{own}{commit}; {others}.")


def _table(table: Table) -> str:
    return to_markdown(table).rstrip("\n")


def _plain(value: SettingValue) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not set"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _code(value: str) -> str:
    return re.sub(r"[^\w.-]", "?", value)


def shareable(settings: Mapping[str, object]) -> dict[str, SettingValue]:
    """Returns the settings that may be published: numbers, switches and words, but no path and no address."""
    return {
        name: value
        for name, value in settings.items()
        if value is None
        or isinstance(value, int | float)
        or (isinstance(value, str) and not re.search(r"[/\\:]", value))
    }
