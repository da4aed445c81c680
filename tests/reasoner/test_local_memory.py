"""How much memory the cache of the local engine takes, and what is said when it is not enough."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from calmstorm.errors import InputError
from calmstorm.reasoner.engine import memory
from calmstorm.reasoner.engine.kv_cache import KVCacheSpec
from calmstorm.reasoner.engine.memory import GIB, cache_bounds, device_of, free_bytes
from calmstorm.reasoner.engine.scheduler import FIRST_SLOTS, EngineSettings, Scheduler
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.opening import open_local
from calmstorm.reasoner.protocol import Prefix, Reasoner, Sampling
from calmstorm.settings import LocalSettings

CPU = torch.device("cpu")
GPU = torch.device("cuda")
PAPER = 3000 + 16384
"""Tokens of the paper's longest prompt and response."""


def scheduler_of_qwen3_4b(dtype: torch.dtype, settings: EngineSettings) -> Scheduler:
    """The geometry of Qwen3-4B, without weights."""
    runner = SimpleNamespace(
        cache_spec=lambda: KVCacheSpec(36, 8, 128, dtype, CPU), max_positions=262144, vocabulary=151936
    )
    return Scheduler(runner, lambda ids: "", frozenset({151645}), settings)  # type: ignore[arg-type]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 24 GiB with 16 GiB left, 1 GiB of which torch holds without using it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (15 * GIB, 24 * GIB))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 8 * GIB)


@pytest.mark.parametrize(("dtype", "positions"), [(torch.bfloat16, 14562), (torch.float32, 7280)])
def test_two_gib_are_too_little_for_a_response_of_qwen3_4b(dtype, positions):
    assert scheduler_of_qwen3_4b(dtype, EngineSettings()).max_length == positions


@pytest.mark.parametrize(("dtype", "gib"), [(torch.bfloat16, 2.7), (torch.float32, 5.4)])
def test_a_response_of_qwen3_4b_fits_where_the_memory_is_allowed_or_free(dtype, gib, monkeypatch: pytest.MonkeyPatch):
    given = cache_bounds(CPU, gib, alone=True)
    assert scheduler_of_qwen3_4b(dtype, EngineSettings(128, *given)).max_length >= PAPER
    monkeypatch.setattr(memory, "free_bytes", lambda: 12 * GIB)
    found = cache_bounds(CPU, None, alone=True)
    assert found == (2 * GIB, 6 * GIB)
    assert scheduler_of_qwen3_4b(dtype, EngineSettings(128, *found)).max_length >= PAPER


def test_a_gpu_gives_what_is_free_but_for_a_reserve(gpu: None):
    bounds = cache_bounds(GPU, None, alone=True)
    assert bounds.usual == bounds.most == 16 * GIB - int(2.4 * GIB)
    assert scheduler_of_qwen3_4b(torch.bfloat16, EngineSettings(128, *bounds)).max_length >= 5 * PAPER
    assert cache_bounds(GPU, 1.5, alone=True) == (1.5 * GIB, 1.5 * GIB)


def test_a_model_in_training_leaves_most_of_a_gpu_to_it(gpu: None):
    assert cache_bounds(GPU, None, alone=False) == (2 * GIB, 8 * GIB)


def test_free_memory_is_that_of_the_container_where_it_has_less(tmp_path, monkeypatch: pytest.MonkeyPatch):
    assert GIB // 100 < free_bytes() < 2**50
    limit, used = tmp_path / "memory.max", tmp_path / "memory.current"
    monkeypatch.setattr(memory, "_GROUP_FILES", ((str(limit), str(used)),))
    limit.write_text("max\n")
    used.write_text("2048\n")
    unlimited = free_bytes()
    limit.write_text("4096\n")
    assert free_bytes() == 2048 < unlimited


def test_auto_takes_a_gpu_where_there_is_one(gpu: None, monkeypatch: pytest.MonkeyPatch):
    assert device_of("auto") == GPU
    assert device_of("cpu") == CPU
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "mps", "meta", "cuda:1"])
def test_a_device_that_is_not_there_is_refused_in_one_line(gpu: None, name: str):
    with pytest.raises(InputError, match=r"^device is '.*it must be auto, cpu, cuda or cuda:N: set local\.device$"):
        device_of(name)


def test_a_gpu_is_refused_where_torch_sees_none(model, tokenizer, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="torch sees 0 GPUs here"):
        open_local(tmp_path, local=LocalSettings(device="cuda"))


@pytest.fixture
def directory(make_model, tokenizer, tmp_path):
    make_model(tokenizer, positions=16384).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    return tmp_path


def drawn(reasoner: Reasoner, ids: list[tuple[int, ...]], count: int) -> list[Any]:
    async def go():
        made = await asyncio.gather(
            *(
                reasoner.generate(
                    Prefix(text="", token_ids=one), stop=(), max_tokens=count, sampling=Sampling(temperature=0)
                )
                for one in ids
            )
        )
        await reasoner.close()
        return [(list(completion.token_ids or ()), list(completion.logprobs or ())) for completion in made]

    return asyncio.run(go())


def test_settings_of_a_recipe_bound_sequences_and_cache(directory):
    opened = open_local(
        directory, local=LocalSettings(dtype="float32", cache_gib=0.002, sequences=3), prompt="pocket-1"
    )
    # 2 layers x 2 (keys and values) x 2 heads x 16 x 4 bytes = 512 bytes a token: 0.002 GiB are 4193 tokens
    with pytest.raises(InputError) as raised:
        drawn(opened.reasoner, [(5, 6, 7)], 5000)
    said = str(raised.value)
    assert said.startswith(
        "5003 tokens of prompt and response need 0.00239 GiB of cache (512 bytes a token), and 0.002 "
    )
    assert "enough for 4193" in said
    for remedy in ("local.cache_gib", "local.dtype bfloat16", "lower response_tokens", "a server"):
        assert remedy in said
    assert "\n" not in said
    with pytest.raises(InputError, match="the model's positions: lower response_tokens"):
        drawn(opened.reasoner, [(5, 6, 7)], 16384)


def test_bfloat16_on_a_cpu_draws_nearly_what_float32_draws(directory):
    ids = [tuple(range(3, 40 + i)) for i in range(5)]
    exact = drawn(LocalReasoner(directory, prompt="pocket-1", local=LocalSettings(dtype="float32")), ids, 12)
    rough = drawn(open_local(directory, prompt="pocket-1", local=LocalSettings(dtype="bfloat16")).reasoner, ids, 12)
    for (_, expected), (_, got) in zip(exact, rough, strict=True):
        assert got[0] == pytest.approx(expected[0], abs=0.15)


def test_the_cache_grows_as_sequences_come(model, tokenizer):
    settings = EngineSettings(max_sequences=64)
    reasoner = LocalReasoner.from_model(model, tokenizer, prompt="pocket-1", settings=settings)
    scheduler = reasoner._scheduler
    seen = []
    grow = scheduler._resize

    def resize(slots: int, capacity: int, order: list[int]) -> None:
        seen.append((slots, capacity))
        grow(slots, capacity, order)

    scheduler._resize = resize  # type: ignore[method-assign]
    assert scheduler._sequences.slots == FIRST_SLOTS
    assert scheduler._allocated is None
    alone = [
        drawn(LocalReasoner.from_model(model, tokenizer, prompt="pocket-1"), [tuple(range(3 + i, 60))], 6)[0][0]
        for i in range(0, 50, 10)
    ]
    together = drawn(reasoner, [tuple(range(3 + i, 60)) for i in range(50)], 6)
    assert seen == [(32, 512), (64, 512)]
    assert [ids for ids, _ in together[::10]] == alone


def test_a_sequence_that_needs_more_than_is_usual_runs_alone(directory):
    reasoner = LocalReasoner(directory, prompt="pocket-1")
    model, tokenizer = reasoner.model, reasoner.codec.tokenizer
    small = EngineSettings(cache_bytes=400 * 512, longest_bytes=4000 * 512)
    reasoner = LocalReasoner.from_model(model, tokenizer, prompt="pocket-1", settings=small)
    ids = [tuple(range(3, 300)) * 3, tuple(range(4, 100))]
    assert reasoner._scheduler.max_length == 3999
    expected = drawn(LocalReasoner.from_model(model, tokenizer, prompt="pocket-1"), ids, 4)
    assert [tokens for tokens, _ in drawn(reasoner, ids, 4)] == [tokens for tokens, _ in expected]
