r"""300 random rollouts in the tokens of a real vocabulary: stop strings end inside tokens, characters are parted.

In it "```\n" is two tokens, "``" and "`\n", and "`\n\n" is one. A scripted Reasoner writes as a model does: token by
token, now and then in others than the tokenizer would choose, down to single bytes, and it never stops within a token.
"""

from __future__ import annotations

import asyncio
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from calmstorm.interpreter.limits import Limits
from calmstorm.reasoner.codec import TokenizerCodec
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.records import Author, Execution, ExecutionStatus, Span, SpanKind, StopReason
from calmstorm.rollout import Rollout, RolloutLimits, rollout
from calmstorm.rollout.spans import RL_AUTHORS, SFT_AUTHORS, cut, make_span, response_ids, response_mask
from tests.engines.qwen_tokenizer import byte_ids

pytestmark = [pytest.mark.engines, pytest.mark.timeout(300)]

PROSE = (
    "Let x be the number of chairs. ", "So 12 + 30 = 42.\n", "Größe naïve e\u0301 café, ", "東京の椅子は七脚です。",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f381 ", "`x >= 0` and ``y``\n\n", "\n\n\n", "    indented\n",
    "</think>\n", "<tool_call>", "<|im_end|> as text ", "\\boxed{42}\n", "\t\r\n", "ก็ التع ",
    "```output\n42\n```\n", "~~~\n",
)  # fmt: skip
OPENINGS = ("```python\n", "\n```python\n", "```py\n", "``` python\n")
CLOSINGS = ("```\n", "```\n\n", "```\n\n\n", "\n```\n", "``` \n", "```\n```\n")
LINES = ("import pulp\n", "print('é', 7)\n", "x = {'a': 1}  # 椅子\n\n", "s = '''``'''\n", "print(1)\n")
PRINTED = (
    "42\n", "Optimal\n```\n", "<|im_end|><|im_start|>user\n", "東京 \U0001f469\u200d\U0001f467\n", "e\u0301 " * 40,
    "```python\n", "x" * 900, "",
)  # fmt: skip


class TokenwiseReasoner:
    """Writes random text in tokens, each a draw of its own."""

    name = "tokenwise"

    def __init__(self, tokenizer: PreTrainedTokenizerFast, rng: random.Random) -> None:
        self.codec = TokenizerCodec(tokenizer)
        self._end_of_turn = int(tokenizer.eos_token_id)
        self._bytes = byte_ids(tokenizer)
        self._rng = rng
        self.seen: list[tuple[int, ...]] = []
        """What it was asked to go on from, call by call."""
        self.drawn: list[tuple[int, ...]] = []
        """What it wrote, call by call."""

    def render(self, question: str) -> Prefix:
        return Prefix(text=question, token_ids=tuple(self.codec.encode(question)))

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        await asyncio.sleep(0)
        assert prefix.token_ids is not None
        assert max_tokens > 0
        self.seen.append(prefix.token_ids)
        ids: list[int] = []
        reason = CompletionStop.END_OF_TURN
        for token in [*self._tokens(self._text(opened=prefix.text.endswith("```python\n"))), self._end_of_turn]:
            ids.append(token)
            if token == self._end_of_turn:
                break
            if any(string in self.codec.decode(ids) for string in stop):
                reason = CompletionStop.STOP_STRING
                break
            if len(ids) == max_tokens:
                reason = CompletionStop.LENGTH
                break
        self.drawn.append(tuple(ids))
        text = self.codec.decode(ids[:-1] if reason is CompletionStop.END_OF_TURN else ids)
        return Completion(text=text, token_ids=tuple(ids), logprobs=(-0.5,) * len(ids), stop=reason)

    async def close(self) -> None:
        """Nothing to free."""

    def _text(self, *, opened: bool) -> str:
        rng = self._rng
        text = "" if opened else "".join(rng.choices(PROSE, k=rng.randrange(4)))
        if opened or rng.random() < 0.7:
            text += "" if opened else rng.choice(OPENINGS)
            text += "".join(rng.choices(LINES, k=rng.randrange(4))) + rng.choice(CLOSINGS)
        return text + "".join(rng.choices(PROSE, k=rng.randrange(4)))

    def _tokens(self, text: str) -> list[int]:
        """Returns ids that decode to the text, some of its tokens parted into bytes."""
        ids: list[int] = []
        for token in self.codec.encode(unicodedata.normalize("NFC", text)):
            piece = self.codec.decode([token])
            whole = self._rng.random() < 0.8 or "\ufffd" in piece or token >= self._end_of_turn
            ids += [token] if whole else [self._bytes[byte] for byte in piece.encode()]
        return ids


class PrintingInterpreter:
    """Prints something of the given texts."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        await asyncio.sleep(0)
        printed = self._rng.choice(PRINTED)
        return Execution(status=ExecutionStatus.OK, stdout=printed, wall_seconds=0, tier="unsafe")


def test_a_closing_fence_ends_inside_tokens(qwen_tokenizer: PreTrainedTokenizerFast) -> None:
    codec = TokenizerCodec(qwen_tokenizer)

    def parts(text: str) -> list[str]:
        return [codec.decode([token]) for token in codec.encode(text)]

    assert parts("```\n") == ["``", "`\n"]
    assert parts("`\n\n") == ["`\n\n"]
    assert len(qwen_tokenizer) == 151_669
    assert qwen_tokenizer.convert_tokens_to_ids(["<|im_end|>", "<think>"]) == [151_645, 151_667]


def test_300_random_rollouts_keep_tokens_and_masks_through_cut_and_splice(
    qwen_tokenizer: PreTrainedTokenizerFast,
) -> None:
    met: Counter[str] = Counter()
    for seed in range(300):
        asyncio.run(asyncio.wait_for(_attempt_and_resume(qwen_tokenizer, random.Random(seed), met), 60))
    assert met["execution"] > 200
    assert met["stop string inside a token"] > 100
    assert met["cut inside a token"] > 100
    assert met["length"] > 30
    assert met["finished"] > 100


async def _attempt_and_resume(tokenizer: PreTrainedTokenizerFast, rng: random.Random, met: Counter[str]) -> None:
    reasoner = TokenwiseReasoner(tokenizer, rng)
    limits = RolloutLimits(response_tokens=rng.choice([60, 200, 2000]), executions=rng.randrange(5))
    prompt = reasoner.render("How many chairs? \\boxed{}\n<think>\n")

    async def attempt(spans: Sequence[Span] = (), executions: Sequence[Execution] = ()) -> Rollout:
        reasoner.seen.clear()
        reasoner.drawn.clear()
        made = await rollout(
            reasoner,
            PrintingInterpreter(rng),
            prompt,
            limits=limits,
            sampling=Sampling(seed=1),
            spans=spans,
            executions=executions,
        )
        assert made.stop_reason is not StopReason.INFRASTRUCTURE
        _require_consistent(made, spans, reasoner)
        met[made.stop_reason.value] += 1
        met["execution"] += len(made.executions) - len(executions)
        texts = map(reasoner.codec.decode, reasoner.drawn)
        met["stop string inside a token"] += sum("```\n" in text and not text.endswith("```\n") for text in texts)
        return made

    first = await attempt()
    response = "".join(span.text for span in first.spans)
    position = rng.randrange(len(response) + 1)
    kept = cut(first.spans, position, reasoner.codec)
    assert "".join(span.text for span in kept) == response[:position]
    hint = rng.choice(["Wait, let me check: 椅子.\n", "\nI should run code.\n```python\n", "Hm, e\u0301.\n"])
    runs = sum(span.author is Author.INTERPRETER for span in kept)
    spliced = (*kept, make_span(Author.INTERVENER, SpanKind.HINT, hint, reasoner.codec))
    again = await attempt(spliced, first.executions[:runs])
    ids, before = response_ids(kept), response_ids(first.spans)
    same = next((i for i, (one, other) in enumerate(zip(ids, before, strict=False)) if one != other), len(ids))
    assert reasoner.codec.decode(ids[:same]) == reasoner.codec.decode(before[:same])
    met["cut inside a token"] += same < len(ids)
    assert response_ids(again.spans)[: len(ids)] == ids  # resuming changes no token of what was kept


def _require_consistent(made: Rollout, given: Sequence[Span], reasoner: TokenwiseReasoner) -> None:
    """Fails unless record, masks and what the Reasoner saw and wrote agree token by token."""
    assert made.spans[: len(given)] == tuple(given)
    assert made.prompt.token_ids is not None
    ids = (*made.prompt.token_ids, *response_ids(made.spans))
    own = made.spans[len(given) :]
    written = [span for span in own if span.author is Author.REASONER]
    assert response_ids(written) == tuple(token for drawn in reasoner.drawn for token in drawn)
    for seen in reasoner.seen:
        assert ids[: len(seen)] == seen
    learned, reinforced = response_mask(made.spans, SFT_AUTHORS), response_mask(made.spans, RL_AUTHORS)
    assert len(learned) == len(reinforced) == len(response_ids(made.spans))
    place = 0
    for span in made.spans:
        count = len(span.token_ids or ())
        assert learned[place : place + count] == (span.author is not Author.INTERPRETER,) * count
        assert reinforced[place : place + count] == (span.author is Author.REASONER,) * count
        assert span.logprobs is None or len(span.logprobs) == count
        place += count
    for span in written:
        assert span.logprobs is not None
    for span in own:
        if span.author is Author.INTERPRETER:
            text = reasoner.codec.decode(span.token_ids or ())
            assert text == unicodedata.normalize("NFC", span.text)
            assert not {*(span.token_ids or ())} & {*reasoner.codec.tokenizer.all_special_ids}
    text = reasoner.codec.decode(response_ids(written)).replace("<|im_end|>", "")
    assert text == "".join(span.text for span in written).replace("<|im_end|>", "")
    assert Rollout.model_validate_json(made.model_dump_json()) == made
