"""The pocket tokenizer: byte-level BPE in which every digit is a token of its own.

Single digits make copying a number a matter of copying its characters; punctuation stays in runs, so that a fence is
one token. The special tokens and the chat template follow Qwen3's, with the thinking tag opened by the prompt.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from calmstorm.pocket.flaws import FLAW_RATES
from calmstorm.pocket.plan import plan_of
from calmstorm.pocket.traces import write_trace
from calmstorm.problems.generator import FAMILIES, Side, draw, side_of

VOCABULARY = 2048
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = [PAD, START, END, "<think>", "</think>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
# words; single digits; runs of punctuation, with the space after them when a number comes next; white space
_PIECES = r"""\d|\n| ?[A-Za-z]+| ?[^\sA-Za-z\d]+(?: (?=\d))?|\s"""


def _texts(documents: int, seed: int) -> Iterator[str]:
    """Yields problem texts with a trace whose output blocks are left empty: solving would only add digits."""
    rng = random.Random(f"tokenizer/{seed}")
    families = list(FAMILIES)
    for index in range(documents):
        family = families[index % len(families)]
        case, optimum = draw(rng, family, rng.choice((2, 3, 4, 5)))
        if side_of(case.question) is not Side.PRETRAIN:
            continue
        trace = write_trace(
            rng, case, optimum, FLAW_RATES[family], lambda script: "```output\nOptimal 0.0\n```\n", hints=0.3
        )
        yield case.question + "\n" + trace.text + "\n" + plan_of(case).script()


def build_tokenizer(documents: int = 6000, seed: int = 7) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on generated text of the pre-training side."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=8,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(documents, seed), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
