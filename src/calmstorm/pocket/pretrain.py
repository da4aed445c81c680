"""`calm pocket train`: trains the pocket Reasoner from scratch on its own corpus.

A Qwen3 architecture of about 1.3 million parameters, one thread, bf16 autocast, Muon for matrices and AdamW for the
rest. Batches are made of documents of similar length, so that little is padded. The learning rate is constant and
falls linearly to zero over the last part of `tokens`; a run can be stopped and resumed, also towards another number
of tokens.
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
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from calmstorm.pocket.corpus import Document, stream
from calmstorm.pocket.tokenizer import build_tokenizer
from calmstorm.training.attention import right_padded

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
    """Returns an untrained model, head_dim 32 as vLLM needs it; embeddings are tied while it learns, see `export`."""
    torch.manual_seed(seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen3ForCausalLM(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2 and "embed" not in name and "lm_head" not in name:
            scale = 0.3 if "o_proj" in name or "down_proj" in name else 1.0  # quiet residual branches at the start
            torch.nn.init.normal_(parameter, std=scale / parameter.shape[1] ** 0.5)
    return model


def batches(documents: list[Document], rng: random.Random) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields (ids, weights), each of shape (B, T), right-padded with weight 0, of about `BATCH_TOKENS` tokens."""
    order = sorted(range(len(documents)), key=lambda i: len(documents[i].token_ids) + rng.random())
    groups: list[list[int]] = []
    group: list[int] = []
    for index in order:
        if group and (len(group) + 1) * len(documents[index].token_ids) > BATCH_TOKENS:
            groups.append(group)
            group = []
        group.append(index)
    groups.append(group)
    rng.shuffle(groups)
    for members in groups:
        longest = max(len(documents[i].token_ids) for i in members)
        ids = np.zeros((len(members), longest), dtype=np.int64)
        weights = np.zeros((len(members), longest), dtype=np.float32)
        for row, i in enumerate(members):
            n = len(documents[i].token_ids)
            ids[row, :n], weights[row, :n] = documents[i].token_ids, documents[i].weights
        yield torch.from_numpy(ids), torch.from_numpy(weights)


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
    digits = torch.zeros(len(tokenizer), dtype=torch.bool)
    digits[[tokenizer.convert_tokens_to_ids(d) for d in "0123456789"]] = True
    model = new_model(tokenizer, seed)
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n and "lm_head" not in n]
    others = [p for n, p in model.named_parameters() if not (p.dim() == 2 and "embed" not in n and "lm_head" not in n)]
    muon = torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=0.0)
    adam = torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    state = {"step": 0, "tokens": 0, "chunk": 0}
    checkpoint = output / "checkpoint.pt"
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        muon.load_state_dict(saved["muon"])
        adam.load_state_dict(saved["adam"])
        state = saved["state"]

    def save() -> None:
        partial = checkpoint.with_suffix(".partial")
        torch.save(
            {"model": model.state_dict(), "muon": muon.state_dict(), "adam": adam.state_dict(), "state": state}, partial
        )
        partial.replace(checkpoint)

    started, seen, last_log, last_save = time.monotonic(), 0, time.monotonic(), time.monotonic()
    window: list[tuple[float, float]] = []
    for chunk, documents in stream(str(tokenizer_path), seed, state["chunk"]):
        for ids, weights in batches(documents, random.Random(f"{seed}/{chunk}")):
            fraction = state["tokens"] / tokens
            if fraction >= 1:
                break
            rate = min(1.0, (state["step"] + 1) / WARMUP_STEPS) * min(1.0, (1 - fraction) / COOLDOWN)
            window.append(_step(model, muon, adam, others, ids, weights, rate, digits))
            count = int((weights != 0).sum())
            state["step"] += 1
            state["tokens"] += count
            seen += count
            now = time.monotonic()
            if now - last_log > 20:
                loss, accuracy = (float(np.mean(column)) for column in zip(*window, strict=True))
                on_progress(Progress(state["step"], state["tokens"], chunk, loss, accuracy, seen / (now - started)))
                window, last_log = [], now
        state["chunk"] = chunk + 1
        if time.monotonic() - last_save > checkpoint_seconds or state["tokens"] >= tokens:
            save()
            last_save = time.monotonic()
        if state["tokens"] >= tokens:
            break
    export(model, tokenizer, output / "model", {**state, "seed": seed})


def _step(
    model: Qwen3ForCausalLM,
    muon: torch.optim.Optimizer,
    adam: torch.optim.Optimizer,
    others: list[torch.nn.Parameter],
    ids: torch.Tensor,
    weights: torch.Tensor,
    rate: float,
    digits: torch.Tensor,
) -> tuple[float, float]:
    """One update; returns the loss on the Reasoner's tokens and the accuracy on its digits."""
    targets, target_weights = ids[:, 1:], weights[:, 1:]
    with right_padded(model), torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
    loss = (losses * target_weights).sum() / target_weights.sum()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(others, 1.0)
    for optimizer, base in ((muon, MATRIX_RATE), (adam, OTHER_RATE)):
        optimizer.param_groups[0]["lr"] = base * rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    own = target_weights == 1
    own_digits = own & digits[targets]
    hits = (logits.argmax(-1) == targets)[own_digits].float().mean()
    return float(losses.detach()[own].mean()), float(hits)


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
