"""Exports a golden set for other tools: JSON Lines, parquet, or chat messages with token masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from calmstorm.errors import InputError, MissingExtraError
from calmstorm.records import Author, GoldenTrajectory
from calmstorm.rollout.spans import RL_AUTHORS, SFT_AUTHORS, response_ids, response_mask

FORMATS = ("jsonl", "parquet", "messages")


def export(golden: Iterable[GoldenTrajectory], path: Path, form: str) -> int:
    """Writes a golden set and returns how many trajectories it has.

    Args:
        golden: What to write.
        path: The file.
        form: `jsonl` (whole records), `parquet` or `messages`: one chat a row, with `token_ids` of the response,
            `response_mask` (1 where the Reasoner wrote the token) and `loss_mask` (1 where fine-tuning learns it: hints
            too, never execution output).

    Raises:
        InputError: The format is unknown.
        MissingExtraError: Parquet needs pyarrow.
    """
    if form not in FORMATS:
        raise InputError(f"format is '{form}'; it must be one of {', '.join(FORMATS)}: set --format")
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "jsonl":
        return _write_lines(path, (record.model_dump_json(by_alias=True) for record in golden))
    rows = _messages(golden)
    if form == "messages":
        return _write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    collected = list(rows)
    parquet.write_table(arrow.Table.from_pylist(collected), path)
    return len(collected)


def _messages(golden: Iterable[GoldenTrajectory]) -> Iterator[dict[str, object]]:
    for record in golden:
        trajectory = record.trajectory
        spans = trajectory.spans
        has_ids = all(span.token_ids is not None for span in spans)
        yield {
            "problem_id": trajectory.problem_id,
            "sample": trajectory.sample,
            "messages": [
                {"role": "user", "content": record.question},
                {"role": "assistant", "content": trajectory.response},
            ],
            "token_ids": list(response_ids(spans)) if has_ids else None,
            "response_mask": list(map(int, response_mask(spans, RL_AUTHORS))) if has_ids else None,
            "loss_mask": list(map(int, response_mask(spans, SFT_AUTHORS))) if has_ids else None,
            "hints": [span.text for span in spans if span.author is Author.INTERVENER],
            "edited_token_share": record.edited_token_share,
            "token_modification": record.token_modification,
        }


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line + "\n")
            count += 1
    return count
