from __future__ import annotations

import pytest
from tiny_model import OUTPUT, golden, ids, span

from calmstorm.errors import InputError
from calmstorm.reasoner.protocol import Prefix
from calmstorm.records import Author, SpanKind, StopReason, Trajectory
from calmstorm.training.encode import IGNORED, encode

PROMPT = Prefix(text="Q", token_ids=ids("Q"))
END = ids("<|im_end|>")


def test_execution_output_and_prompt_are_not_learned_while_hints_are() -> None:
    example = encode(PROMPT, golden(0, hint="Wait, use pulp. ").trajectory, END)
    learned = [label for label in example.labels if label != IGNORED]
    assert tuple(learned) == ids("Wait, use pulp. ```python\nprint(1)\n```\n\\boxed{3}<|im_end|>")
    at = len(PROMPT.token_ids or ()) + len(ids("Wait, use pulp. ```python\nprint(1)\n```\n"))
    assert example.input_ids[at : at + len(ids(OUTPUT))] == ids(OUTPUT)
    assert set(example.labels[at : at + len(ids(OUTPUT))]) == {IGNORED}
    assert set(example.labels[: len(PROMPT.token_ids or ())]) == {IGNORED}


def test_text_that_looks_like_output_is_learned_when_the_reasoner_wrote_it() -> None:
    spans = (
        span(Author.REASONER, SpanKind.TEXT, OUTPUT),
        span(Author.INTERPRETER, SpanKind.OUTPUT, "\\boxed{9}"),
        span(Author.REASONER, SpanKind.TEXT, "ok", end=True),
    )
    trajectory = Trajectory(problem_id="p", sample=0, stage="curation", spans=spans, stop_reason=StopReason.FINISHED)
    example = encode(PROMPT, trajectory, END)
    assert tuple(label for label in example.labels if label != IGNORED) == ids(OUTPUT + "ok<|im_end|>")


def test_end_of_turn_is_the_last_thing_learned() -> None:
    assert encode(PROMPT, golden(0).trajectory, END).labels[-1] == END[0]


def test_a_trajectory_is_refused_when_it_does_not_end_its_turn() -> None:
    whole = golden(0).trajectory
    cut = whole.model_copy(update={"spans": whole.spans[:-1]})
    with pytest.raises(InputError, match="p0/0 does not end with an end-of-turn token"):
        encode(PROMPT, cut, END)


def test_a_trajectory_is_refused_when_it_ran_out_of_tokens() -> None:
    cut = golden(0).trajectory.model_copy(update={"stop_reason": StopReason.LENGTH})
    with pytest.raises(InputError, match="ended with 'length'"):
        encode(PROMPT, cut, END)


def test_text_only_spans_and_prompts_are_refused_with_the_remedy() -> None:
    whole = golden(0).trajectory
    text_only = whole.model_copy(
        update={"spans": (*whole.spans[:-1], whole.spans[-1].model_copy(update={"token_ids": None}))}
    )
    with pytest.raises(InputError, match="no token ids; training never re-encodes text: roll out again"):
        encode(PROMPT, text_only, END)
    with pytest.raises(InputError, match="the prompt has no token ids"):
        encode(Prefix(text="Q"), whole, END)
