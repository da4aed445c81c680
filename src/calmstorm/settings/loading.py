"""Reads recipes, and explains in one line what is wrong with one."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from calmstorm.errors import SettingsError
from calmstorm.settings.base import Settings
from calmstorm.settings.recipe import Recipe

S = TypeVar("S", bound=Settings)

_RECIPES = "recipes"
"""Folder of named recipes: that of the working directory goes before that of the package."""


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
    place = first["loc"][:-1] if first["loc"][-1:] == ("float",) else first["loc"]  # it names a branch of a union
    key = ".".join(map(str, place))
    given = first["input"]
    if first["type"] == "extra_forbidden":
        return f"'{key}' is not a setting; {_suggestion(key, kind)}"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}" if key else str(first["ctx"]["error"])
    if first["type"] == "missing":
        return f"{key} is missing from {given!r}: add {first['loc'][-1]}"
    branches = [other["msg"] for other in error.errors() if place != first["loc"] and other["loc"][:-1] == place]
    rule = " or ".join(message.removeprefix("Input should be ") for message in branches or [first["msg"]])
    if first["type"] == "tuple_type":
        rule = 'a list in TOML, such as ["one", "two"]' + (' or [{model = "NAME"}]' if key == "prices" else "")
    if first["type"] == "model_type":
        rule = "a table of keys and values"
    return f"{key} is {given!r}; it must be {rule}: correct {key}"


def _suggestion(key: str, kind: type[Settings]) -> str:
    key = ".".join(part for part in key.split(".") if not part.isdecimal())  # places in a list
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
    annotation = field.annotation
    candidates = (annotation, *(get_args(annotation) if get_origin(annotation) in (UnionType, tuple) else ()))
    return next((kind for kind in candidates if isinstance(kind, type) and issubclass(kind, Settings)), None)
