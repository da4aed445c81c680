"""No setting without effect: every field of every settings class is read by code outside `calmstorm.settings`."""

from __future__ import annotations

import ast
from pathlib import Path

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

    def kind_of(node: ast.AST, names: dict[str, str]) -> str | None:
        if isinstance(node, ast.Name):
            return names.get(node.id)
        if isinstance(node, ast.Attribute):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                return attributes.get(node.attr)
            owner = kind_of(node.value, names)
            section = SETTINGS[owner].model_fields.get(node.attr) if owner else None
            return named(ast.Name(getattr(section.annotation, "__name__", ""))) if section else None
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return CALLS.get(node.func.id)
        return None

    seen: set[tuple[str, str]] = set()

    def walk(node: ast.AST, names: dict[str, str]) -> None:
        names = {**names, **named_in(node)}
        if isinstance(node, ast.Attribute) and (owner := kind_of(node.value, names)):
            seen.add((owner, node.attr))
        for child in ast.iter_child_nodes(node):
            walk(child, names)
            if isinstance(child, ast.Assign):
                pairs = [(child.targets[0], child.value)]
                if isinstance(child.targets[0], ast.Tuple) and isinstance(child.value, ast.Tuple):
                    pairs = list(zip(child.targets[0].elts, child.value.elts, strict=True))
                for target, value in pairs:
                    if isinstance(target, ast.Name) and (kind := kind_of(value, names)):
                        names[target.id] = kind

    walk(tree, known)
    return seen


CALLS = {"load_recipe": "Recipe", "recipe_for": "Recipe", "changed": "Recipe", "run_config": "RunConfig"}
"""Functions that return settings."""


def named(annotation: ast.expr | None) -> str | None:
    """Returns the settings class that an annotation names."""
    text = ast.unparse(annotation).strip("'\"").removesuffix(" | None") if annotation is not None else ""
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
        if not any(field in base.model_fields for base in kind.__bases__)  # another default of a field that is read
    }
    recorded = {
        ("RunConfig", "prompt"),
        ("RunConfig", "command"),
    }  # compared when a run is resumed, and shown by reports
    read = {(name, field) for kind, field in seen for name in SETTINGS if issubclass(SETTINGS[kind], SETTINGS[name])}
    assert sorted(declared - read - recorded) == []


def test_a_setting_that_nothing_reads_is_noticed() -> None:
    code = (
        "def f(settings: RlSettings, recipe: Recipe):\n    bounds = recipe.rollout\n    return settings.kl, bounds.tier"
    )
    assert reads(ast.parse(code), {}) == {("RlSettings", "kl"), ("Recipe", "rollout"), ("RolloutSettings", "tier")}
