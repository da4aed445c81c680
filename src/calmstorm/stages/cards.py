"""Model cards of a run: written when a training is complete, and again whenever its model was evaluated."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from calmstorm.atomic import write_atomically
from calmstorm.evaluation.summary import Summary, Tally
from calmstorm.progress import note
from calmstorm.reasoner.codec import is_hub_id
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.reasoner.prompting import DEFAULT_PROMPT, prompt_of_model
from calmstorm.records import GoldenTrajectory, Problem, Stage, Verdict
from calmstorm.report.model_card import (
    CARD,
    FACTS,
    CardFacts,
    DataPart,
    Evaluation,
    Score,
    SettingValue,
    Training,
    card_text,
    shareable,
)
from calmstorm.report.numbers import suite_rank
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe, Settings
from calmstorm.stages.config import run_config

ALWAYS = {
    "sft": ("learning_rate", "schedule", "batch", "epochs", "sequence_tokens", "lora_rank"),
    "rl": (
        *("objective", "engine", "learning_rate", "prompts_per_step", "mini_batch", "samples", "temperature"),
        *("response_tokens", "clip", "kl", "lora_rank"),
    ),
}
"""Settings that a card names also where they are the paper's."""
PACE = ("micro_batch", "checkpoint_steps", "processes", "nodes", "sharding", "servers", "annotated")
"""Those that it leaves out: they say how fast and where, or name something on this machine."""
TRAINED_BY = ("calmstorm", "torch", "transformers", "trl", "verl", "peft")


def write_card(
    run: RunDirectory,
    recipe: Recipe,
    stage: Stage,
    model: Path,
    start: str | Path,
    data: Iterable[GoldenTrajectory] | Iterable[Problem],
    weights: str = "",
) -> None:
    """Writes the card of a model whose training is complete, unless it has one; the process that writes the run does.

    Args:
        run: Has the steps and the time of the training.
        recipe: What it was trained with.
        stage: Which training.
        model: Directory of the model.
        start: What the training began with: where that has a card, this one goes on from it.
        data: What it was trained on.
        weights: Which weights were kept, where there was a choice.
    """
    if run.readonly or (model / FACTS).exists():
        return
    environment = run.environment()
    environment = [environment, *environment.get("resumed_with", ())][-1]
    before = read_facts(Path(start))
    section: Settings = recipe.rl if stage.endswith("rl") else recipe.sft
    settings, changed = _settings(section, recipe)
    training = Training(
        stage=stage,
        data=_data(run, data),
        settings=settings,
        changed=changed,
        steps=max((row["step"] for row in run.read_rows(stage)), default=0),
        seconds=run.seconds_by_stage().get(stage, 0.0),
        weights=weights,
    )
    facts = CardFacts(
        base=before.base if before else _described(start),
        base_model=before.base_model if before else _hub_id(start),
        pocket=before.pocket if before else Path(start) == pocket_directory(),
        prompt=recipe.prompt or prompt_of_model(model) or DEFAULT_PROMPT,
        seed=recipe.seed,
        trainings=(*(before.trainings if before else ()), training),
        versions={
            name: environment["versions"][name] for name in TRAINED_BY if name in environment.get("versions", {})
        },
        commit=environment.get("commit"),
    )
    _write(model, facts)


def add_scores(run: RunDirectory, recipe: Recipe, stage: Stage) -> None:
    """Puts what a model scored in a run into its card, where it has one.

    It is the run's own model of that stage; or, for the base of a run, a model directory that the run was asked to
    evaluate, whose card is written in another run.
    """
    model = Path(recipe.reasoner) if stage is Stage.BASE else run.path / "models" / stage
    facts = read_facts(model)
    scores = _scores(run, stage)
    if facts is None or not scores:
        return
    evaluation = Evaluation(run=run.path.resolve().name, budget=_budget(recipe), scores=scores)
    others = [known for known in facts.evaluations if known.run != evaluation.run]
    try:
        _write(model, facts.model_copy(update={"evaluations": (*others, evaluation)}))
    except OSError as error:
        note(f"{model / CARD} was not brought up to date: {error.strerror}")


def refresh_cards(run: RunDirectory) -> None:
    """Brings the cards of all models of a run up to date with what they scored in it."""
    for stage in [stage for stage in Stage if (run.path / "models" / stage / FACTS).exists()]:
        add_scores(run, run_config(run), stage)


def read_facts(model: Path) -> CardFacts | None:
    """Returns what the card of a model directory says; None where it has none of ours."""
    try:
        return CardFacts.model_validate_json((model / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _write(model: Path, facts: CardFacts) -> None:
    card = model / CARD
    existing = card.read_text(encoding="utf-8") if card.exists() else None
    text = card_text(facts, existing)
    if text != existing:
        write_atomically(card, text)
    written = facts.model_dump_json(indent=1) + "\n"
    path = model / FACTS
    if not path.exists() or path.read_text(encoding="utf-8") != written:
        write_atomically(path, written)


def _hub_id(start: str | Path) -> str | None:
    return start if isinstance(start, str) and is_hub_id(start) else None


def _described(start: str | Path) -> str:
    if Path(start) == pocket_directory():
        return "the pocket Reasoner of calmstorm"
    return _hub_id(start) or f"{Path(start).resolve().name} (a directory, without a hub id)"


def _settings(section: Settings, recipe: Recipe) -> tuple[dict[str, SettingValue], tuple[str, ...]]:
    """Returns the settings of a training that a card names, and which of them are not the paper's."""
    own = shareable(section.model_dump(mode="json", exclude=set(PACE)))
    paper = type(section)().model_dump(mode="json")
    always = ALWAYS["rl" if section is recipe.rl else "sft"]
    changed = {name for name, value in own.items() if value != paper[name]}
    named = {name: value for name, value in own.items() if name in always or name in changed}
    if section is recipe.rl and recipe.rl.steps is None:
        named["epochs"] = recipe.rl.epochs
    if section is recipe.rl and recipe.rl.objective == "carft":
        contrast = shareable(recipe.carft.model_dump(mode="json", exclude=set(PACE)))
        default = type(recipe.carft)().model_dump(mode="json")
        named |= {f"carft.{name}": value for name, value in contrast.items()}
        changed |= {f"carft.{name}" for name, value in contrast.items() if value != default[name]}
    return named, tuple(name for name in named if name in changed)


def _data(run: RunDirectory, data: Iterable[GoldenTrajectory] | Iterable[Problem]) -> tuple[DataPart, ...]:
    """Counts problems, and golden trajectories where it is these, by suite and version of the labels."""
    known: dict[str, tuple[str, str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    problems: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for item in data:
        if isinstance(item, Problem):
            part, name, trajectories = (item.suite, item.label_version), item.id, 0
        else:
            known = known or {kept.id: (kept.suite, kept.label_version) for kept in run.read("problems", Problem)}
            name, trajectories = item.trajectory.problem_id, 1
            part = known.get(name, (item.trajectory.suite, ""))
        problems[part].add(name)
        counts[part] += trajectories
    return tuple(
        DataPart(suite=suite, label_version=version, problems=len(names), trajectories=counts[suite, version])
        for (suite, version), names in sorted(problems.items())
    )


def _scores(run: RunDirectory, stage: Stage) -> tuple[Score, ...]:
    own = _summaries(run, stage)
    base = _summaries(run, Stage.BASE) if stage is not Stage.BASE else {}
    versions: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for problem in run.read("problems", Problem) if own else ():
        if problem.label_version:
            versions[problem.suite][problem.label_version] = None
    return tuple(
        Score(
            suite=suite,
            label_versions=tuple(versions[suite]),
            problems=cell.problems,
            samples=cell.samples,
            pass_at_1=cell.pass_at_1,
            ci95=cell.ci95,
            base=base[suite].pass_at_1 if suite in base else None,
            base_ci95=base[suite].ci95 if suite in base else None,
        )
        for suite, cell in own.items()
    )


def _summaries(run: RunDirectory, stage: Stage) -> Mapping[str, Summary]:
    """Returns results by suite, from the index alone: texts stay on disk."""
    tallies: defaultdict[str, Tally] = defaultdict(Tally)
    for place in run.places(stage):
        verdict = Verdict(correct=place.correct, expected=None, got=None, tolerance=0.0, status=place.status)
        tallies[place.suite].add(place.suite, place.problem_id, verdict, tokens=place.tokens)
    return {suite: tallies[suite].summary() for suite in sorted(tallies, key=suite_rank)}


def _budget(recipe: Recipe) -> dict[str, SettingValue]:
    return {
        "response_tokens": recipe.rollout.response_tokens,
        "executions": recipe.rollout.executions,
        "temperature": recipe.evaluation.temperature,
        "top_p": recipe.evaluation.top_p,
        "tolerance": recipe.evaluation.tolerance,
    }
