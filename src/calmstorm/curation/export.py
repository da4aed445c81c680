"""Exports a golden set for other tools: JSON Lines, parquet, or chat messages with token masks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

from calmstorm.errors import InputError, MissingExtraError
from calmstorm.reasoner.prompting import user_message
from calmstorm.records import Author, GoldenTrajectory
from calmstorm.rollout.spans import RL_AUTHORS, SFT_AUTHORS, response_ids, response_mask

FORMATS = ("jsonl", "parquet", "messages")


def export(golden: Iterable[GoldenTrajectory], path: Path, form: str, *, prompt: str | None = None) -> int:
    """Writes a golden set and returns how many trajectories it has.

    Args:
        golden: What to write.
        path: The file.
        form: `jsonl` (whole records), `parquet` or `messages`: one chat a row, with `token_ids` of the response,
            `response_mask` (1 where the Reasoner wrote the token) and `loss_mask` (1 where fine-tuning learns it: hints
            too, never execution output).
        prompt: Name of the prompt that the Reasoner was asked with: the message of the user is the rendered one. Only
            `jsonl` does without.

    Raises:
        InputError: The format or the prompt is unknown.
        MissingExtraError: Parquet needs pyarrow.
    """
    if form not in FORMATS:
        raise InputError(f"format is '{form}'; it must be one of {', '.join(FORMATS)}: set --format")
    if prompt is None and form != "jsonl":
        raise InputError(
            "the run does not say which prompt was used, which messages need: set prompt in its config.toml"
        )
    if prompt is not None:
        user_message(prompt, "")  # an unknown one is refused before anything is written
    path.parent.mkdir(parents=True, exist_ok=True)
    if form == "jsonl" or prompt is None:
        return _write_lines(path, (record.model_dump_json(by_alias=True) for record in golden))
    rows = _messages(golden, prompt)
    if form == "messages":
        return _write_lines(path, (json.dumps(row, ensure_ascii=False) for row in rows))
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtraError("pyarrow", "parquet") from None
    collected = list(rows)
    parquet.write_table(arrow.Table.from_pylist(collected), path)
    return len(collected)


def _messages(golden: Iterable[GoldenTrajectory], prompt: str) -> Iterator[dict[str, object]]:
    for record in golden:
        trajectory = record.trajectory
        spans = trajectory.spans
        has_ids = all(span.token_ids is not None for span in spans)
        yield {
            "problem_id": trajectory.problem_id,
            "sample": trajectory.sample,
            "messages": [
                {"role": "user", "content": user_message(prompt, record.question)},
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
