"""What can be set, within which bounds, and the paper's values as defaults (appendix E, tables 5 and 6).

A recipe is one TOML file with a section per stage; flags override it as `{"rl.steps": "5"}`. Unknown keys and values
out of range are refused in one line that says what to do. Sections know nothing of the code that uses them.
A run keeps its recipe in `config.toml` as a `RunConfig`, and later commands take it from there.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from calmstorm.errors import SettingsError


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=False)


S = TypeVar("S", bound=Settings)

_RECIPES = "recipes"
"""Folder of named recipes: that of the working directory goes before that of the package."""


def _divides(settings: S, part: str, whole: str) -> S:
    small, large = getattr(settings, part), getattr(settings, whole)
    if large % small:
        raise ValueError(
            f"{part} is {small}; it must divide {whole}, which is {large}: set {part} to a divisor of {large}"
        )
    return settings


class RolloutLimits(Settings):
    """Bounds of one attempt at one problem (paper appendix E)."""

    response_tokens: int = Field(16384, ge=1)
    """Tokens of the whole response, execution output and hints included."""
    executions: int = Field(4, ge=0)
    output_characters: int = Field(800, ge=40)
    """Characters of execution output shown to the Reasoner; more is cut in the middle, visibly."""
    wall_seconds: float = Field(10.0, gt=0)
    """Per execution."""
    memory_mb: int = Field(2048, ge=64)
    """Per execution, MiB."""


class RolloutSettings(RolloutLimits):
    """How attempts are made: within which bounds, how drawn, and how many at once."""

    temperature: float = Field(0.6, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    concurrency: int = Field(64, ge=1)
    """Rollouts in flight at once."""
    workers: int = Field(2, ge=1)
    """Interpreter workers, processes."""
    tier: Literal["auto", "namespaces", "landlock", "unsafe"] = "auto"
    """Isolation of model-written code."""


class CurationSettings(Settings):
    """The hint loop and the golden filter (paper section 3.2)."""

    samples: int = Field(1, ge=1)
    """Trajectories curated per problem."""
    interventions: int = Field(5, ge=0)
    """Hints per trajectory at most."""
    intervener: Literal["rules", "llm", "human"] = "rules"
    """`llm` is `intervener_model` behind the endpoint that CALM_INTERVENER_URL names."""
    intervener_model: str = "gemini-2.5-pro"
    intervener_temperature: float = Field(1.0, ge=0, le=2)
    intervener_top_p: float = Field(0.95, gt=0, le=1)
    golden_tokens: int | None = Field(None, ge=1)
    """Golden trajectories are at most this long, tokens; None means the response limit."""


class SftSettings(Settings):
    """Supervised fine-tuning on golden trajectories (paper table 5)."""

    learning_rate: float = Field(1e-5, gt=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    batch: int = Field(8, ge=1)
    """Trajectories per optimizer step."""
    micro_batch: int = Field(1, ge=1)
    """Trajectories per forward pass; divides `batch`."""
    epochs: float = Field(3, gt=0)
    sequence_tokens: int = Field(22000, ge=1)
    """Longer prompt-and-response pairs are left out."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    gradient_norm: float = Field(1.0, gt=0)
    checkpoint_steps: int = Field(50, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        return _divides(self, "micro_batch", "batch")


class RlSettings(Settings):
    """Reinforcement learning (paper table 6)."""

    objective: Literal["grpo", "dr_grpo", "dapo", "carft"] = "grpo"
    engine: Literal["trl", "verl"] = "trl"
    steps: int | None = Field(None, ge=1)
    """Rollout steps; None means `epochs` passes over the problems."""
    epochs: int = Field(100, ge=1)
    prompts_per_step: int = Field(64, ge=1)
    """Problems per rollout step."""
    samples: int = Field(8, ge=2)
    """Rollouts per problem: the group of GRPO."""
    mini_batch: int = Field(64, ge=1)
    """Problems per optimizer step; divides `prompts_per_step`."""
    micro_batch: int = Field(1, ge=1)
    """Trajectories per forward pass."""
    learning_rate: float = Field(1e-6, gt=0, le=1)
    temperature: float = Field(0.6, gt=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    """1 keeps the sampling distribution and the trained one the same; the paper names no other value for RL."""
    prompt_tokens: int = Field(3000, ge=1)
    """Problems with longer prompts are left out."""
    response_tokens: int = Field(16384, ge=1)
    kl: float = Field(0.0, ge=0)
    """Weight of the KL term; 0 turns it off, as in the paper."""
    clip: float = Field(0.2, gt=0, lt=1)
    gradient_norm: float = Field(1.0, gt=0)
    checkpoint_steps: int = Field(10, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _mini_batches_fill_the_step(self) -> Self:
        return _divides(self, "mini_batch", "prompts_per_step")


class EvaluationSettings(Settings):
    """pass@1 as the mean over samples (paper section 4.1)."""

    samples: int = Field(8, ge=1)
    """Rollouts per problem."""
    temperature: float = Field(0.6, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    tolerance: float = Field(1e-3, ge=0, lt=1)
    """Relative tolerance of the comparator (paper eq. 3); a label that needs a coarser one has its own."""


class ProblemSettings(Settings):
    """Where problems come from, and how many each part of a run takes.

    The defaults are sums over the benchmarks of the paper's table 4.
    """

    source: str = "generated"
    """`generated`; or a folder that `calm problems split` wrote; or, for a command that takes one set of problems, the
    file or benchmark it was given."""
    sft: int = Field(549, ge=0)
    """At most, where they come from a folder."""
    rl: int = Field(719, ge=0)
    """At most, where they come from a folder."""
    easy: int = Field(130, ge=0)
    """Generated test problems; NL4Opt and MAMO-Easy in the paper. Of a folder all test problems are taken."""
    complex: int = Field(280, ge=0)
    """Generated test problems; MAMO-Complex, IndustryOR and OptMath in the paper."""


class Recipe(Settings):
    """Everything a run is made of."""

    name: str = "paper"
    reasoner: str = "Qwen/Qwen3-4B-Thinking-2507"
    """`pocket`, a model directory, or the base URL of a server."""
    model: str | None = None
    """Model name, where `reasoner` is a server."""
    seed: int = Field(1, ge=0, lt=2**31)
    problems: ProblemSettings = ProblemSettings()
    rollout: RolloutSettings = RolloutSettings()
    curation: CurationSettings = CurationSettings()
    sft: SftSettings = SftSettings()
    rl: RlSettings = RlSettings()
    evaluation: EvaluationSettings = EvaluationSettings()


class RunConfig(Recipe):
    """What `config.toml` of a run holds: its recipe, what began it, and the prompt its Reasoner was asked with."""

    command: Literal["run", "curate", "eval"] = "run"
    prompt: str | None = None
    """Name and version ("calm-1")."""


def load_recipe(source: str | Path | None = None, overrides: Mapping[str, str] | None = None) -> Recipe:
    """Reads a recipe.

    Args:
        source: a TOML file, the name of a recipe ("pocket"), or None for the paper's values.
        overrides: dotted keys and values as a user types them; they win over the file. A value is read as TOML, and as
            plain text where it is none.

    Raises:
        SettingsError: the file is absent or no TOML, a key is unknown, or a value is out of range.
    """
    origin, data = ("the paper's recipe", {}) if source is None else _read(str(source))
    return _overridden(Recipe, data, overrides or {}, origin)


def changed(settings: S, overrides: Mapping[str, str], origin: str) -> S:
    """Returns settings with dotted keys set anew, as `load_recipe` does it.

    Raises:
        SettingsError: A key is unknown, or a value is out of range; the message begins with `origin`.
    """
    return _overridden(type(settings), settings.model_dump(mode="json"), overrides, origin)


def validate(kind: type[S], data: Mapping[str, Any], origin: str) -> S:
    """Builds settings, or raises a `SettingsError` of one line that names the first thing wrong and its remedy."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise SettingsError(f"{origin}: {_explain(kind, error)}") from None


def derive_seed(seed: int, *parts: str | int) -> int:
    """Returns a seed in [0, 2**31) that depends on nothing but its arguments, whatever ran before or alongside."""
    text = "\x1f".join(map(str, (seed, *parts)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def _overridden(kind: type[S], data: dict[str, Any], overrides: Mapping[str, str], origin: str) -> S:
    for key, text in overrides.items():
        _put(data, key, _typed(text))
    return validate(kind, data, f"{origin} with overrides" if overrides else origin)


def _read(source: str) -> tuple[str, dict[str, Any]]:
    path = Path(source)
    if path.suffix != ".toml" and not path.is_file():
        return source, _parse(source, _named(source))
    try:
        return source, _parse(source, path.read_bytes())
    except OSError as error:
        raise SettingsError(f"{source}: {error.strerror or error}; name a TOML file or a recipe") from None


def _named(name: str) -> bytes:
    local = Path(_RECIPES) / f"{name}.toml"
    if local.is_file():
        return local.read_bytes()
    folder = resources.files("calmstorm") / _RECIPES
    packaged = folder / f"{name}.toml"
    if packaged.is_file():
        return packaged.read_bytes()
    known = sorted(item.name.removesuffix(".toml") for item in folder.iterdir()) if folder.is_dir() else []
    raise SettingsError(
        f"there is no recipe '{name}'; name a TOML file or one of: {', '.join(known) or 'none installed'}"
    )


def _parse(origin: str, content: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(content.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{origin}: not valid TOML: {error}; correct that place") from None


def _typed(text: str) -> Any:  # noqa: ANN401  a TOML value of any type
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _put(data: dict[str, Any], dotted: str, value: object) -> None:
    *sections, last = dotted.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise SettingsError(
                f"'{dotted}' is not a key: '{section}' holds a value, not a section; drop what follows it"
            )
    data[last] = value


def _explain(kind: type[Settings], error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    given = first["input"]
    if first["type"] == "extra_forbidden":
        return f"'{key}' is not a setting; {_suggestion(key, kind)}"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    rule = first["msg"].removeprefix("Input should be ")
    return f"{key} is {given!r}; it must be {rule}: correct {key}"


def _suggestion(key: str, kind: type[Settings]) -> str:
    known = sorted(_keys(kind))
    last = key.rsplit(".", 1)[-1]
    near = difflib.get_close_matches(key, known, 1, 0.7)
    near = near or [other for other in known if other.rsplit(".", 1)[-1] == last]
    if near:
        return f"did you mean '{near[0]}'?"
    section = key.rsplit(".", 1)[0] + "." if "." in key else ""
    return "known are: " + ", ".join(other for other in known if other.startswith(section))


def _keys(kind: type[Settings], prefix: str = "") -> Iterator[str]:
    for name, field in kind.model_fields.items():
        section = _section(field)
        if section is None:
            yield prefix + name
        else:
            yield from _keys(section, f"{prefix}{name}.")


def _section(field: FieldInfo) -> type[Settings] | None:
    candidates = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Settings)), None)
