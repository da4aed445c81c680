"""On TRL's own trainer: tokens that nobody is to learn have a gradient of exactly zero, packed or not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from calmstorm.reasoner.local import LocalReasoner
from calmstorm.records import Author
from calmstorm.settings import SftSettings
from calmstorm.training import policy, sft
from calmstorm.training.encode import Example, encode
from calmstorm.training.sft import SftStep, train_sft
from tests.training.tiny_model import golden

LESSONS = [golden(n, answer=n, hint="wait " * n) for n in range(5)]
SETTINGS = SftSettings(learning_rate=1e-2, batch=5, micro_batch=5, epochs=1)
PACKED = SETTINGS.model_copy(update={"packing": True, "sequence_tokens": 250})


class Watch:
    """Keeps the gradient of each position's last hidden state, and whether the token after it was to be learned."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.learned: list[float] = []
        self.unlearned: list[float] = []
        self.rows = 0
        monkeypatch.setattr(sft, "load_policy", self._load)

    def _load(self, *arguments: Any) -> LocalReasoner:
        loaded = policy.load_policy(*arguments)
        self.authors = {}
        for item in LESSONS:
            prompt = loaded.render(item.question).token_ids or ()
            tokens, written = list(prompt), [False] * len(prompt)
            for span in item.trajectory.spans:
                tokens += span.token_ids or ()
                written += [span.author is not Author.INTERPRETER] * len(span.token_ids or ())
            self.authors[tuple(tokens)] = written
        loaded.model.register_forward_pre_hook(self._before, with_kwargs=True)
        loaded.model.model.norm.register_forward_hook(self._after)
        return loaded

    def _before(self, model: Any, arguments: Any, given: dict[str, Any]) -> None:
        rows = given["input_ids"].tolist()
        self.rows += len(rows)
        self.wanted = []
        for row, tokens in enumerate(rows):
            if "position_ids" in given:
                starts = [place for place, at in enumerate(given["position_ids"][row].tolist()) if at == 0]
                bounds = list(pairwise([*starts, len(tokens)]))
            else:
                bounds = [(0, int(given["attention_mask"][row].sum()))]
            wanted = [False] * (len(tokens) + 1)
            for start, end in bounds:
                wanted[start:end] = self.authors[tuple(tokens[start:end])]
            self.wanted.append(wanted[1:])

    def _after(self, module: Any, arguments: Any, hidden: torch.Tensor) -> None:
        wanted = torch.tensor(self.wanted)

        def keep(gradient: torch.Tensor) -> None:
            size = gradient.abs().amax(-1)
            self.learned += size[wanted].tolist()
            self.unlearned += size[~wanted].tolist()

        hidden.register_hook(keep)


@pytest.mark.parametrize("settings", [SETTINGS, PACKED], ids=["padded", "packed"])
def test_the_gradient_of_what_is_not_learned_is_exactly_zero(
    settings: SftSettings, random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)
    train_sft(random_model, LESSONS, tmp_path / "out", settings)
    assert watch.rows == (2 if settings.packing else 5)
    assert len(watch.unlearned) > 100
    assert set(watch.unlearned) == {0.0}
    assert min(watch.learned) > 0


def test_the_gradient_is_not_zero_where_the_mask_is_missing(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = Watch(monkeypatch)

    def unmasked(*arguments: Any) -> Example:
        example = encode(*arguments)
        return Example(input_ids=example.input_ids, labels=example.input_ids)

    monkeypatch.setattr(sft, "encode", unmasked)
    train_sft(random_model, LESSONS, tmp_path / "out", SETTINGS)
    assert max(watch.unlearned) > 0


def test_packed_sequences_teach_what_they_teach_alone(
    random_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("calmstorm.training.trl.session.bf16_pays", lambda: False)
    losses: dict[str, list[float]] = {}
    for name, settings in (("alone", SETTINGS), ("packed", PACKED)):
        steps: list[SftStep] = []
        changed = settings.model_copy(update={"epochs": 3})
        train_sft(random_model, LESSONS, tmp_path / name, changed, on_log=steps.append)
        losses[name] = [step.loss for step in steps]
    assert losses["packed"] == pytest.approx(losses["alone"], rel=1e-5)
    alone, packed = (load_file(tmp_path / name / "model.safetensors") for name in losses)
    base = load_file(random_model / "model.safetensors")
    for name, value in alone.items():
        torch.testing.assert_close(packed[name], value, atol=1e-5, rtol=0)
    assert max(float((alone[name] - base[name]).abs().max()) for name in alone) > 1e-2
