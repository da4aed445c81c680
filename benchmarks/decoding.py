"""Tokens per second of the local engine and of `generate` of transformers, same model, same prompts, same process.

    OMP_NUM_THREADS=1 python benchmarks/decoding.py [--rows 128] [--prompt 200] [--new 300] [--only engine|generate]

The model has random weights (4 layers, hidden 192, 6 heads, 2 of keys, vocabulary 1536) and never ends a turn, so both
draw exactly rows x new tokens. Reading the prompts in is part of the time. CPU seconds are given next to wall seconds:
on a machine that others use, compare those.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import time
from collections.abc import Callable
from functools import partial
from importlib.resources import files

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerBase, Qwen3ForCausalLM

from calmstorm.pocket.architecture import pocket_config
from calmstorm.reasoner.engine.scheduler import EngineSettings
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Prefix, Sampling

VOCABULARY = 1536


def build() -> tuple[Qwen3ForCausalLM, PreTrainedTokenizerBase]:
    """Returns a model that never ends its turn, and the pocket tokenizer, which decodes its tokens."""
    tokenizer = AutoTokenizer.from_pretrained(files("calmstorm").joinpath("pocket", "model"))
    torch.manual_seed(0)
    config = pocket_config(
        tokenizer,
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_attention_heads=6,
        max_position_embeddings=4096,
        tie_word_embeddings=False,
    )
    model = Qwen3ForCausalLM(config).eval()
    model.lm_head = torch.nn.Linear(192, VOCABULARY)
    with torch.no_grad():
        model.lm_head.weight.normal_(std=0.3)
        model.lm_head.bias.zero_()
        model.lm_head.bias[tokenizer.eos_token_id] = -1e9
    return model, tokenizer


def engine(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], new: int) -> int:
    """Draws `new` tokens for every prompt with the local engine; returns the number drawn."""

    async def go() -> int:
        reasoner = LocalReasoner.from_model(
            model, tokenizer, prompt="pocket-1", settings=EngineSettings(max_sequences=len(prompts))
        )
        done = await asyncio.gather(
            *(
                reasoner.generate(
                    Prefix(text="", token_ids=tuple(p)), stop=("```\n",), max_tokens=new, sampling=Sampling(seed=i)
                )
                for i, p in enumerate(prompts)
            )
        )
        await reasoner.close()
        return sum(len(completion.token_ids or ()) for completion in done)

    return asyncio.run(go())


def generate(model: Qwen3ForCausalLM, tokenizer: PreTrainedTokenizerBase, prompts: list[list[int]], new: int) -> int:
    """Does the same with `generate` of transformers, prompts padded on the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (longest - len(p)) + [1] * len(p) for p in prompts])
    with torch.inference_mode():
        out = model.generate(  # type: ignore[misc]
            ids, attention_mask=mask, max_new_tokens=new, do_sample=True, temperature=0.6, top_p=0.95, top_k=0
        )
    assert isinstance(out, torch.Tensor)
    return len(prompts) * (out.shape[1] - longest)


def measure(name: str, work: Callable[[], int]) -> None:
    """Prints one line of numbers."""
    wall, cpu = time.perf_counter(), time.process_time()
    tokens = work()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    line = {"engine": name, "tokens": tokens, "wall_seconds": round(wall, 2), "cpu_seconds": round(cpu, 2)}
    print(json.dumps({**line, "tokens_per_second": round(tokens / wall), "tokens_per_cpu_second": round(tokens / cpu)}))


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--prompt", type=int, default=200, help="mean prompt length, tokens; lengths vary by a fifth")
    parser.add_argument("--new", type=int, default=300)
    parser.add_argument("--only", choices=["engine", "generate"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, tokenizer = build()
    rng = random.Random(1)
    spread = options.prompt // 5
    prompts = [
        [rng.randrange(1, VOCABULARY - 1) for _ in range(options.prompt + rng.randint(-spread, spread))]
        for _ in range(options.rows)
    ]
    for name, work in (("engine", engine), ("generate", generate)):
        if options.only in (None, name):
            measure(name, partial(work, model, tokenizer, prompts, options.new))


if __name__ == "__main__":
    main()
