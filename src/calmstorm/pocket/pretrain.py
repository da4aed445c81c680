"""`calm pocket train`: trains the pocket Reasoner from scratch on its own corpus.

A Qwen3 architecture of about 1.3 million parameters, one thread, bf16 autocast, Muon for matrices and AdamW for the
rest. Batches are made of documents of similar length, so that little is padded. The learning rate is constant and
falls linearly to zero over the last part of `tokens`; a run can be stopped and resumed, also with another number of
tokens.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from calmstorm.pocket.architecture import pocket_config
from calmstorm.pocket.corpus import Document, stream
from calmstorm.pocket.tokenizer import build_tokenizer
from calmstorm.training.cpu.attention import right_padded

BATCH_TOKENS = 4096
WARMUP_STEPS = 60
COOLDOWN = 0.35
"""Share of the tokens over which the learning rate falls to zero."""
MATRIX_RATE = 0.02
OTHER_RATE = 0.004


@dataclass(frozen=True)
class Progress:
    """One line of the training log."""

    step: int
    tokens: int
    chunk: int
    response_loss: float
    """Mean cross-entropy of the Reasoner's own tokens, nats."""
    digit_accuracy: float
    """Share of the Reasoner's digits that are the most likely token."""
    tokens_per_second: float

    def to_json(self) -> str:
        """One line for the log."""
        return json.dumps(asdict(self))


def new_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3ForCausalLM:
    """Returns an untrained model."""
    torch.manual_seed(seed)
    model = Qwen3ForCausalLM(pocket_config(tokenizer))
    for name, parameter in model.named_parameters():
        if _is_hidden_matrix(name, parameter):
            scale = 0.3 if "o_proj" in name or "down_proj" in name else 1.0  # residual branches start small
            torch.nn.init.normal_(parameter, std=scale / parameter.shape[1] ** 0.5)
    return model


def _is_hidden_matrix(name: str, parameter: torch.nn.Parameter) -> bool:
    return parameter.dim() == 2 and "embed" not in name and "lm_head" not in name


def batches(documents: list[Document], rng: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields (ids, weights), each of shape (B, T), right-padded with weight 0, of about `BATCH_TOKENS` tokens."""
    groups: list[list[Document]] = [[]]
    for document in sorted(documents, key=lambda document: len(document.token_ids) + rng.random()):
        if groups[-1] and (len(groups[-1]) + 1) * len(document.token_ids) > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(document)
    rng.shuffle(groups)
    for group in groups:
        ids = pad_sequence([torch.from_numpy(document.token_ids) for document in group], batch_first=True)
        weights = pad_sequence([torch.from_numpy(document.weights) for document in group], batch_first=True)
        yield ids, weights


def train(
    output: Path,
    *,
    tokens: int,
    seed: int = 0,
    checkpoint_seconds: float = 120.0,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> None:
    """Trains, or goes on training, the model in `output`.

    Args:
        output: Directory for tokenizer, checkpoints and, at the end, the finished model in `output/model`.
        tokens: How many tokens to see in all.
        seed: Of weights and corpus.
        checkpoint_seconds: How often to save, seconds.
        on_progress: Called about every 20 seconds.
    """
    torch.set_num_threads(1)  # more threads are slower for a model this small
    tokenizer_path = output / "tokenizer"
    if not (tokenizer_path / "tokenizer.json").exists():
        build_tokenizer(seed=seed).save_pretrained(tokenizer_path)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tokenizer_path)
    training = _Training(new_model(tokenizer, seed), tokenizer, output / "checkpoint.pt")
    training.load()
    reporter = _ProgressReporter(on_progress)
    last_save = time.monotonic()
    for chunk, documents in stream(str(tokenizer_path), seed, training.chunk):
        for ids, weights in batches(documents, random.Random(f"{seed}/{chunk}")):
            if training.tokens >= tokens:
                break
            reporter.add(training, chunk, *training.update(ids, weights, training.tokens / tokens))
        training.chunk = chunk + 1
        if time.monotonic() - last_save > checkpoint_seconds or training.tokens >= tokens:
            training.save()
            last_save = time.monotonic()
        if training.tokens >= tokens:
            break
    export(training.model, tokenizer, output / "model", {**training.state(), "seed": seed})


class _Training:
    """Model, optimizers and how far they are."""

    def __init__(self, model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, checkpoint: Path) -> None:
        self.model, self.checkpoint = model, checkpoint
        self.step, self.tokens, self.chunk = 0, 0, 0
        self.digits = torch.zeros(len(tokenizer), dtype=torch.bool)
        self.digits[tokenizer.convert_tokens_to_ids(list("0123456789"))] = True
        matrices: list[torch.nn.Parameter] = []
        self.others: list[torch.nn.Parameter] = []
        for name, parameter in model.named_parameters():
            (matrices if _is_hidden_matrix(name, parameter) else self.others).append(parameter)
        self.muon = torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.0)
        self.adam = torch.optim.AdamW(self.others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)

    def state(self) -> dict[str, int]:
        """Returns how far the training is."""
        return {"step": self.step, "tokens": self.tokens, "chunk": self.chunk}

    def load(self) -> None:
        """Loads the checkpoint, if there is one."""
        if not self.checkpoint.exists():
            return
        saved = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.muon.load_state_dict(saved["muon"])
        self.adam.load_state_dict(saved["adam"])
        state = saved["state"]
        self.step, self.tokens, self.chunk = state["step"], state["tokens"], state["chunk"]

    def save(self) -> None:
        """Writes the checkpoint, whole or not at all."""
        partial = self.checkpoint.with_suffix(".partial")
        optimizers = {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}
        torch.save({"model": self.model.state_dict(), **optimizers, "state": self.state()}, partial)
        partial.replace(self.checkpoint)

    def update(self, ids: torch.Tensor, weights: torch.Tensor, fraction: float) -> tuple[float, float, int]:
        """Makes one update.

        Args:
            ids: Shape (B, T).
            weights: Loss weights, shape (B, T).
            fraction: Share of the training that is done.

        Returns:
            Loss on the Reasoner's tokens, accuracy on its digits, tokens learnt.
        """
        rate = min(1.0, (self.step + 1) / WARMUP_STEPS) * min(1.0, (1 - fraction) / COOLDOWN)
        targets, target_weights = ids[:, 1:], weights[:, 1:]
        with right_padded(self.model), torch.autocast("cpu", torch.bfloat16):
            logits = self.model(input_ids=ids[:, :-1], use_cache=False).logits
        losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        loss = (losses * target_weights).sum() / target_weights.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.others, 1.0)
        rates: dict[torch.optim.Optimizer, float] = {self.muon: MATRIX_RATE, self.adam: OTHER_RATE}
        for optimizer, base in rates.items():
            optimizer.param_groups[0]["lr"] = base * rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        count = int((weights != 0).sum())
        self.step += 1
        self.tokens += count
        own = target_weights == 1
        hits = (logits.argmax(-1) == targets)[own & self.digits[targets]].float().mean()
        return float(losses.detach()[own].mean()), float(hits), count


class _ProgressReporter:
    """Averages what updates report, and reports it about every 20 seconds."""

    def __init__(self, on_progress: Callable[[Progress], None]) -> None:
        self.on_progress = on_progress
        self.started = self.last = time.monotonic()
        self.seen = 0
        self.window: list[tuple[float, float]] = []

    def add(self, training: _Training, chunk: int, loss: float, hits: float, count: int) -> None:
        self.seen += count
        self.window.append((loss, hits))
        now = time.monotonic()
        if now - self.last > 20:
            mean_loss, accuracy = (float(np.mean(column)) for column in zip(*self.window, strict=True))
            speed = self.seen / (now - self.started)
            self.on_progress(Progress(training.step, training.tokens, chunk, mean_loss, accuracy, speed))
            self.window, self.last = [], now


def export(
    model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerFast, target: Path, provenance: dict[str, int]
) -> None:
    """Writes a standard Hugging Face directory in bf16, with the prompt the Reasoner knows and where it came from.

    The embeddings are untied: with tied ones, vLLM's logits are silently wrong after weights are reloaded.
    """
    target.mkdir(parents=True, exist_ok=True)
    config = Qwen3Config.from_dict({**model.config.to_dict(), "tie_word_embeddings": False})
    untied = Qwen3ForCausalLM(config)
    state = model.state_dict()
    untied.load_state_dict({**state, "lm_head.weight": state["model.embed_tokens.weight"].clone()})
    generation = untied.generation_config
    assert generation is not None  # noqa: S101 - every causal language model has one
    generation.update(
        do_sample=True,
        temperature=0.6,
        top_p=0.95,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    untied.to(torch.bfloat16).save_pretrained(target)  # type: ignore[arg-type]
    tokenizer.save_pretrained(target)
    (target / "calmstorm.json").write_text(
        json.dumps({"prompt": "pocket-1", "pretraining": provenance}, indent=1) + "\n"
    )
