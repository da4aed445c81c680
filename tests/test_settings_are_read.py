"""No setting without effect: every field of every settings class is read by code outside `calmstorm.settings`."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import calmstorm
import calmstorm.settings as settings_module
from calmstorm.settings import Settings

SOURCES = sorted((Path(calmstorm.__file__).parent).rglob("*.py"))
SETTINGS = {
    kind.__name__: kind
    for kind in vars(settings_module).values()
    if isinstance(kind, type) and issubclass(kind, Settings) and kind is not Settings
}


def reads(tree: ast.AST, known: dict[str, str]) -> set[tuple[str, str]]:
    """Returns (settings class, field) for every field that code reads of an expression known to be settings.

    Types are followed from annotations of arguments and attributes, through sections and assignments to names.
    """
    attributes = {
        statement.target.id: kind
        for owner in ast.walk(tree)
        if isinstance(owner, ast.ClassDef)
        for statement in owner.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if (kind := named(statement.annotation))
    }

    def named_in(function: ast.AST) -> dict[str, str]:
        arguments = function.args if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) else None
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs] if arguments else []
        return {argument.arg: kind for argument in every if (kind := named(argument.annotation))}

    for owner in ast.walk(tree):  # `self._settings = settings`, alone or among others
        if isinstance(owner, ast.FunctionDef) and owner.name == "__init__":
            given = named_in(owner)
            assigned = [pair for each in ast.walk(owner) if isinstance(each, ast.Assign) for pair in pairs(each)]
            for target, value in assigned:
                value = value.values[0] if isinstance(value, ast.BoolOp) else value
                if isinstance(target, ast.Attribute) and isinstance(value, ast.Name) and value.id in given:
                    attributes[target.attr] = given[value.id]

    def kind_of(node: ast.AST, names: dict[str, str]) -> str | None:
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return attributes.get(node.attr)
            owner = kind_of(node.value, names)
            section = SETTINGS[owner].model_fields.get(node.attr) if owner else None
            kinds = [section.annotation, *get_args(section.annotation)] if section else []  # a list is what it holds
            return next((kind for each in kinds if (kind := named(ast.Name(getattr(each, "__name__", ""))))), None)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return CALLS.get(node.func.id)
        return None

    seen: set[tuple[str, str]] = set()

    def walk(node: ast.AST, names: dict[str, str]) -> None:
        names = {**names, **named_in(node)}
        loops = [*getattr(node, "generators", ()), *([node] if isinstance(node, ast.For) else ())]
        names |= {
            loop.target.id: kind
            for loop in loops
            if isinstance(loop.target, ast.Name) and (kind := kind_of(loop.iter, names))
        }
        if isinstance(node, ast.Attribute) and (owner := kind_of(node.value, names)):
            seen.add((owner, node.attr))
        for child in ast.iter_child_nodes(node):
            walk(child, names)
            if isinstance(child, ast.Assign):
                for target, value in pairs(child):
                    if isinstance(target, ast.Name) and (kind := kind_of(value, names)):
                        names[target.id] = kind

    walk(tree, known)
    return seen


def pairs(node: ast.Assign) -> list[tuple[ast.expr, ast.expr]]:
    """Returns what is assigned to what."""
    target = node.targets[0]
    if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
        return list(zip(target.elts, node.value.elts, strict=True))
    return [(target, node.value)]


CALLS = {"load_recipe": "Recipe", "recipe_for": "Recipe", "changed": "Recipe", "run_config": "RunConfig"}
"""Functions that return settings."""


def named(annotation: ast.expr | None) -> str | None:
    """Returns the settings class that an annotation names."""
    text = ast.unparse(annotation).strip("'\"").removesuffix(" | None") if annotation is not None else ""
    text = re.sub(r"^(?:Iterable|Sequence|tuple)\[(\w+).*", r"\1", text)  # many are what each of them is
    return text if text in SETTINGS else None


def test_every_setting_is_read_by_something() -> None:
    seen = set()
    for path in SOURCES:
        if path.parent.name != "settings":
            seen |= reads(ast.parse(path.read_text(encoding="utf-8")), {})
    declared = {
        (kind.__name__, field)
        for kind in SETTINGS.values()
        for field, info in kind.model_fields.items()
        if field in kind.__annotations__ and info.annotation not in SETTINGS.values()
        if not any(
            field in base.model_fields for base in kind.__bases__ if issubclass(base, Settings)
        )  # another default of a field that is read
    }
    recorded = {
        ("RunConfig", "prompt"),
        ("RunConfig", "command"),
    }  # compared when a run is resumed, and shown by reports
    read = {
        (name, field)
        for kind, field in seen
        for name in SETTINGS
        if issubclass(SETTINGS[kind], SETTINGS[name]) or issubclass(SETTINGS[name], SETTINGS[kind])
    }
    assert sorted(declared - read - recorded) == []


def test_a_setting_that_nothing_reads_is_noticed() -> None:
    code = (
        "def f(settings: RlSettings, recipe: Recipe):\n    bounds = recipe.rollout\n    return settings.kl, bounds.tier"
    )
    assert reads(ast.parse(code), {}) == {("RlSettings", "kl"), ("Recipe", "rollout"), ("RolloutSettings", "tier")}
