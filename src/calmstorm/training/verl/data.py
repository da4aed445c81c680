"""Parquet files from problems: what verl's dataset reads, and what the agent loop needs of each problem.

A row's `extra_info` holds the problem as JSON (and for CARFT its annotated trajectory), so that the loop grades with
the one comparator; verl's own reward function is never asked. `reward_model.ground_truth` is the problem's id: it is
the one column that verl's dumps of rollouts repeat.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from calmstorm.errors import InputError, MissingExtraError
from calmstorm.reasoner.prompting import chat, user_message
from calmstorm.records import GoldenTrajectory, Problem
from calmstorm.training.verl.recipe import RowInfo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def row(
    index: int, problem: Problem, prompt: str, annotated: GoldenTrajectory | None = None, held_out: bool = False
) -> dict[str, Any]:
    """Returns one row of a file.

    Args:
        index: Of the row.
        problem: With a label.
        prompt: Name of the prompt that it is put in.
        annotated: Its annotated trajectory, for CARFT.
        held_out: Whether it is evaluated on instead of trained on.
    """
    info = RowInfo(
        index=index,
        problem=problem.model_dump_json(by_alias=True),
        annotated="" if annotated is None else annotated.model_dump_json(by_alias=True),
        held_out=held_out,
    )
    return {
        "data_source": problem.suite or "problems",
        "prompt": [{"role": "user", "content": user_message(prompt, problem.question)}],
        "ability": "optimization modeling",
        "reward_model": {"style": "rule", "ground_truth": problem.id},
        "extra_info": info.model_dump(),
    }


def fitting(
    problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, prompt: str, most_tokens: int
) -> list[Problem]:
    """Returns the problems whose prompts are at most `most_tokens` long; verl would end at the first longer one."""

    def tokens(problem: Problem) -> int:
        text = chat(tokenizer, user_message(prompt, problem.question))
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    return [problem for problem in problems if tokens(problem) <= most_tokens]


def write_problems(
    path: Path,
    problems: Sequence[Problem],
    prompt: str,
    annotated: Mapping[str, GoldenTrajectory] | None = None,
    held_out: bool = False,
) -> None:
    """Writes a parquet file of problems, or leaves the old one.

    Args:
        path: Of the file.
        problems: Its rows, in order; at least one.
        prompt: Name of the prompt that they are put in.
        annotated: Annotated trajectories by problem id.
        held_out: Whether they are evaluated on instead of trained on.

    Raises:
        InputError: There are no problems.
        MissingExtraError: `pyarrow` is not installed.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    if not problems:
        raise InputError("there are no problems to write for verl; it needs at least one: bring problems with labels")
    known = annotated or {}
    rows = [row(index, problem, prompt, known.get(problem.id), held_out) for index, problem in enumerate(problems)]
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        parquet.write_table(pyarrow.Table.from_pylist(rows), draft)
        with draft.open("rb") as whole:
            os.fsync(whole.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
