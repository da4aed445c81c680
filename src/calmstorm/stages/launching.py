"""Training stages in several processes: the run that they share, the command that starts them, and what they train on.

Every process runs `calm sft RUN` or `calm rl RUN`. Where a pipeline or an experiment trains, it writes what to learn to
`RUN/launch/<stage>.jsonl` and starts the same command with `--stage`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from calmstorm.atomic import writing_atomically
from calmstorm.errors import InputError
from calmstorm.records import Record, Stage
from calmstorm.runs import RunDirectory
from calmstorm.runs.lines import read_lines
from calmstorm.settings import Recipe

if TYPE_CHECKING:
    from calmstorm.training.launch import Launch

Section = Literal["sft", "rl"]
"""Of a recipe; also the name of the command that trains."""
R = TypeVar("R", bound=Record)


@contextmanager
def shared_run(path: Path, begin: Callable[[RunDirectory], object]) -> Iterator[RunDirectory]:
    """Opens a run in every process of a training: in the first for writing, in the others, after that, for reading.

    Args:
        path: The run directory.
        begin: Writes what all are to find in it; the first process does.

    Raises:
        CalmstormError: In all processes, where one of them cannot go on.
    """
    from calmstorm.training.ranks import in_agreement, is_first

    with ExitStack() as stack:
        with in_agreement():
            if is_first():
                run = stack.enter_context(RunDirectory(path))
                begin(run)
        if not is_first():
            run = stack.enter_context(RunDirectory(path, readonly=True))
        yield run


def is_to_be_launched(recipe: Recipe, section: Section) -> bool:
    """Whether a section of a recipe wants more processes than this one.

    Raises:
        InputError: A launcher has started another number of processes than it says.
    """
    if section == "rl" and recipe.rl.engine == "verl":
        return False  # which brings its own processes
    from calmstorm.training import launch

    return launch.is_to_be_launched(getattr(recipe, section))


def launch_of(run: Path, recipe: Recipe, stage: str, section: Section, words: Sequence[str]) -> Launch:
    """Returns how a training stage is started in several processes, and writes the configuration that it takes.

    Args:
        run: Run directory.
        recipe: Its section says how many processes.
        stage: Names the files.
        section: Of the recipe.
        words: The command that trains, without `calm`.
    """
    from calmstorm.training.launch import prepare

    return prepare(run, stage, getattr(recipe, section), recipe.local, words)


def train_elsewhere(
    run: RunDirectory, recipe: Recipe, stage: Stage, section: Section, start: str | Path, data: Sequence[Record]
) -> None:
    """Trains in several processes, to which the run is left for so long.

    Raises:
        InputError: They are on several nodes, so that they cannot be started from here.
        WorkError: The training failed.
    """
    from calmstorm.training.launch import start as start_processes

    words = [section, str(run.path), "--from", str(start), "--stage", stage.value]
    launch = launch_of(run.path, recipe, stage, section, words)
    with writing_atomically(_data_file(run.path, stage)) as file:
        for record in data:
            print(record.model_dump_json(by_alias=True), file=file)
    with run.left_to_others():
        start_processes(launch)


def launched_data(run: Path, stage: Stage, kind: type[R]) -> list[R]:
    """Returns what a pipeline or an experiment has a stage trained on.

    Raises:
        InputError: None has started this stage.
    """
    path = _data_file(run, stage)
    if not path.exists():
        raise InputError(f"{path} does not exist; --stage is for trainings that calm run and calm experiment start")
    return [kind.model_validate_json(line) for _, line in read_lines(path)]


def _data_file(run: Path, stage: Stage) -> Path:
    return run / "launch" / f"{stage}.jsonl"
