"""The rows of a batch as they lie in verl's transfer queue, read and changed on the driver.

A row is a rollout, an annotated trajectory (for CARFT), a rollout that our machinery failed, or one that verl added to
fill a batch. Only rollouts have tokens that the Reasoner wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch
import transfer_queue
from tensordict import TensorDict
from verl.utils import tensordict_utils


class RowKind(StrEnum):
    """What a row is."""

    ROLLOUT = "rollout"
    ANNOTATED = "annotated"
    FAILED = "failed"
    PADDING = "padding"


@dataclass(frozen=True)
class Row:
    """What the driver needs to know of a row."""

    kind: RowKind
    group: str
    """One for all rows of a problem in a batch."""
    sample: int
    """Of the row in its group."""
    token_ids: tuple[int, ...]
    """Of the response."""
    written: tuple[bool, ...]
    """As many as `token_ids`: by the Reasoner, or in an annotated trajectory also by the Intervener."""
    reward: float
    """1 or 0; 0 too where nothing was rolled out."""
    executions: int
    answered: bool
    """Whether an answer could be read."""


def read_rows(batch: Any) -> list[Row]:  # noqa: ANN401
    """Returns the rows of a batch, in its order."""
    data = read_fields(batch, ["uid", "responses", "response_mask", "extra_fields"])
    columns = zip(data["uid"], data["responses"], data["response_mask"], data["extra_fields"], strict=True)
    rows = []
    for tag, (group, response, mask, info) in zip(batch.tags, columns, strict=True):
        told: dict[str, Any] = getattr(info, "data", info)
        kind = RowKind.PADDING if tag.get("is_padding", False) else RowKind(told["kind"])
        rows.append(
            Row(
                kind=kind,
                group=str(group),
                sample=int(told["sample"]),
                token_ids=tuple(response.tolist()),
                written=tuple(map(bool, told["written"] if kind is RowKind.ANNOTATED else mask.tolist())),
                reward=told["reward_extra_info"]["solved"] or 0.0,
                executions=int(told["executions"]),
                answered=bool(told["answered"]),
            )
        )
    return rows


def read_fields(batch: Any, fields: Sequence[str]) -> Any:  # noqa: ANN401
    """Returns columns of a batch; tensors of unequal length are nested."""
    return transfer_queue.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=[*fields])


def write_fields(batch: Any, **fields: torch.Tensor | list[Any]) -> None:  # noqa: ANN401
    """Writes columns of a batch, those that are there already too."""
    if all(isinstance(values, torch.Tensor) for values in fields.values()):
        columns: Any = TensorDict(fields, batch_size=len(batch))
    else:
        columns = tensordict_utils.get_tensordict(fields)
    transfer_queue.kv_batch_put(keys=batch.keys, partition_id=batch.partition_id, fields=columns)


def nested(values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns rows of unequal length as verl keeps them."""
    return torch.nested.as_nested_tensor([*values], layout=torch.jagged)


def dense(values: torch.Tensor) -> torch.Tensor:
    """Returns rows of equal length as one tensor, however the queue gives them."""
    return values.to_padded_tensor(0.0) if values.is_nested else values
