from __future__ import annotations

import random
from itertools import islice
from typing import cast

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from calmstorm.interpreter import Interpreter
from calmstorm.pocket import corpus
from calmstorm.pocket.corpus import PROMPT_WEIGHT, copying_exercise, encode, run_in_process, sizes_of, traces
from calmstorm.pocket.traces import Trace
from calmstorm.problems.generator import Side, side_of
from calmstorm.records import Author
from calmstorm.rollout.output_block import output_block


class Characters:
    """A tokenizer with one token per character."""

    eos_token_id = 7

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [1000 + ord(c) for c in text]}


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setattr(corpus, "CHUNK", 36)


def test_only_the_reasoners_own_tokens_are_learnt():
    trace = Trace()
    trace.write("I try.\n")
    trace.add_hint("Wait.\n\n```python\n")
    trace.add_script(lambda script: "```output\n1\n```\n", "print(1)\n", opened=True)
    trace.write("\\boxed{1}")
    document = encode(cast(PreTrainedTokenizerBase, Characters()), trace, prompt="Q?\n")
    learnt = dict.fromkeys((0.0, 0.1, 1.0), "")
    for token, weight in zip(document.token_ids, document.weights, strict=True):
        learnt[round(float(weight), 3)] += chr(token - 1000) if token != 7 else "$"
    assert learnt == {
        np.round(PROMPT_WEIGHT, 3): "Q?\n",
        0.0: "Wait.\n\n```python\n```output\n1\n```\n",
        1.0: "I try.\nprint(1)\n```\n\\boxed{1}$",
    }
    assert len(document.token_ids) == len(document.weights)


def test_a_chunk_depends_on_its_seed_and_number_alone(few):
    def drawn(seed: int, chunk: int) -> list:
        return [(question, trace.segments) for question, trace in islice(traces(seed, chunk, (2, 3)), 6)]

    first = drawn(1, 5)
    random.seed(99)
    assert drawn(1, 5) == first
    assert drawn(1, 6) != first
    assert drawn(2, 5) != first


def test_no_text_of_another_side_is_learnt(few):
    questions = {question for question, _ in traces(3, 0, (2, 3, 4))}
    assert len(questions) >= 20
    assert {side_of(question) for question in questions} == {Side.PRETRAIN}


def test_some_traces_have_hints_and_some_have_none(few):
    hinted = [any(author is Author.INTERVENER for author, _ in trace.segments) for _, trace in traces(3, 1, (2,))]
    assert 0.2 < sum(hinted) / len(hinted) < 0.7


def test_output_is_worded_as_in_a_rollout():
    scripts = ("print(1)\n", "print(1 / 0)\n", "x = 1\n", "import pulp\ny = z\n", "def f(:\n", "print('a' * 2000)\n")
    with Interpreter(workers=1) as interpreter:
        for script in scripts:
            assert run_in_process(script) == output_block(interpreter.run(script), 800), script


def test_sizes_grow_with_the_chunks():
    largest = [max(sizes_of(chunk)) for chunk in (0, 11, 12, 29, 30, 500)]
    assert largest == sorted(largest)
    assert (largest[0], largest[-1]) == (3, 6)


def test_a_copying_exercise_is_learnt_from_its_first_repetition_on():
    document = copying_exercise(random.Random(2), 100, [50, 51], reserved=5)
    length = int((document.weights == 0).sum())
    assert (document.token_ids[:length] == document.token_ids[length : 2 * length]).all()
    assert (document.weights[length:] == 1).all()
    assert len(document.token_ids) % length == 0
    assert document.token_ids.min() >= 5
