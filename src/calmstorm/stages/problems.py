"""The problems of a run: drawn from the generator, or read from the parts of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from calmstorm.errors import InputError
from calmstorm.problems.files import load_problems
from calmstorm.problems.generator import COMPLEX_SIZES, EASY_SIZES, Side, generate
from calmstorm.problems.splits import Part
from calmstorm.problems.texts import normalised
from calmstorm.progress import track
from calmstorm.records import Problem
from calmstorm.runs import RunDirectory
from calmstorm.settings import Recipe

GENERATED = "generated"
"""Source of problems that are drawn and not read."""
_TEST_SUITES = {"easy": EASY_SIZES, "complex": COMPLEX_SIZES}
"""Generated suites: sizes that dominate the training of the pocket Reasoner, and larger or combined problems."""
_TRAINING_SIZES = (*EASY_SIZES, *EASY_SIZES, *COMPLEX_SIZES)


class Parts(NamedTuple):
    """The problems of a run by what they are for."""

    sft: list[Problem]
    rl: list[Problem]
    test: list[Problem]


def collect_problems(run: RunDirectory, recipe: Recipe) -> Parts:
    """Returns the problems of a run and stores those that are not in it yet.

    Raises:
        InputError: The recipe's source is no folder of a split, or its problems are not those the run began with.
    """
    if recipe.problems.source == GENERATED:
        return _generated(run, recipe)
    parts = _of_split(Path(recipe.problems.source), recipe)
    keep_problems(run, (problem for part in parts for problem in part))
    return parts


def keep_problems(run: RunDirectory, problems: Iterable[Problem]) -> set[str]:
    """Stores the problems that a run does not have yet, and returns the ids of all that were given.

    Raises:
        InputError: The run has another problem under one of the ids.
    """
    known = {problem.id: problem.question for problem in run.read("problems", Problem)}
    ids = set()
    for problem in problems:
        ids.add(problem.id)
        if problem.id not in known:
            run.append("problems", problem)
        elif known[problem.id] != problem.question:
            raise InputError(
                f"{run.path}: problem {problem.id} has another text in this run than in its source; "
                "restore the source or name another run directory"
            )
    return ids


def _of_split(folder: Path, recipe: Recipe) -> Parts:
    if not folder.is_dir():
        raise InputError(
            f"problems.source is '{folder}', no folder with parts for training and testing; it must be '{GENERATED}' "
            "or a folder of a split: write one with calm problems split --out; calm rl takes other problems with "
            "--problems"
        )
    missing = [part for part in Part if not (folder / f"{part.value}.jsonl").is_file()]
    if missing:
        raise InputError(
            f"problems.source is '{folder}', which holds no {missing[0].value}.jsonl; it must be '{GENERATED}' or a "
            "folder of a split: write one with calm problems split --out"
        )

    def read(part: Part, limit: int | None) -> list[Problem]:
        return [
            problem.model_copy(update={"id": f"{part.value}-{problem.suite}-{problem.id}"})
            for problem in load_problems(folder / f"{part.value}.jsonl", limit=limit)
        ]

    sizes = recipe.problems
    return Parts(read(Part.SFT, sizes.sft), read(Part.RL, sizes.rl), read(Part.TEST, None))


def _generated(run: RunDirectory, recipe: Recipe) -> Parts:
    sizes = recipe.problems
    wanted = {"sft": sizes.sft, "rl": sizes.rl, "easy": sizes.easy, "complex": sizes.complex}
    suites: dict[str, list[Problem]] = {name: [] for name in wanted}
    for problem in run.read("problems", Problem):
        suites[problem.suite].append(problem)
    stored = sum(map(len, suites.values()))
    if stored < sum(wanted.values()):
        with run.stage("problems"), track("problems", sum(wanted.values()), stored) as advance:
            for problem in _missing(recipe, wanted, suites):
                run.append("problems", problem)
                suites[problem.suite].append(problem)
                advance("")
    return Parts(suites["sft"], suites["rl"], [*suites["easy"], *suites["complex"]])


def _missing(recipe: Recipe, wanted: dict[str, int], suites: dict[str, list[Problem]]) -> Iterator[Problem]:
    """Draws all suites in order, since each keeps clear of those before it, and yields what is not stored."""
    seen: set[str] = set()
    for suite, count in wanted.items():
        drawn = generate(
            count,
            seed=recipe.seed,
            suite=suite,
            sizes=_TEST_SUITES.get(suite, _TRAINING_SIZES),
            side=Side.EVALUATE if suite in _TEST_SUITES else Side.ADAPT,
            exclude=frozenset(seen),
        )
        stored = len(suites[suite])
        for index, problem in enumerate(drawn):
            seen.add(normalised(problem.question))
            if index >= stored:
                yield problem
