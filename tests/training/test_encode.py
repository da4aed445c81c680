from __future__ import annotations

import pytest

from calmstorm.errors import InputError
from calmstorm.reasoner.protocol import Prefix
from calmstorm.records import Author, Span, SpanKind, StopReason, Trajectory
from calmstorm.training.encode import IGNORED, Example, encode, prompt_ids
from tests.training.tiny_model import OUTPUT, SCRIPT, golden, ids, span

PROMPT = Prefix(text="Q: ", token_ids=ids("Q: "))
END = ids("<|im_end|>")


def trajectory(*spans: Span, stop_reason: StopReason = StopReason.FINISHED) -> Trajectory:
    return Trajectory(problem_id="p7", sample=2, stage="curation", spans=spans, stop_reason=stop_reason)


def refusal(prompt: Prefix, refused: Trajectory) -> str:
    with pytest.raises(InputError) as raised:
        encode(prompt, refused, END)
    return str(raised.value)


def test_execution_output_and_prompt_are_not_learned_while_hints_are() -> None:
    example = encode(PROMPT, golden(0, hint="Wait, use pulp. ").trajectory, END)
    hint_and_script, output, box = ids("Wait, use pulp. " + SCRIPT), ids(OUTPUT), ids("\\boxed{3}<|im_end|>")
    assert PROMPT.token_ids is not None
    assert example.input_ids == (*PROMPT.token_ids, *hint_and_script, *output, *box)
    ignored_prompt, ignored_output = (-100,) * len(PROMPT.token_ids), (-100,) * len(output)
    assert example.labels == (*ignored_prompt, *hint_and_script, *ignored_output, *box)
    assert example.learned == len(hint_and_script) + len(box)


def test_what_is_ignored_is_what_torch_ignores() -> None:
    torch = pytest.importorskip("torch")
    assert torch.nn.CrossEntropyLoss().ignore_index == IGNORED


def test_text_that_looks_like_output_is_learned_when_the_reasoner_wrote_it() -> None:
    spans = (
        span(Author.REASONER, SpanKind.TEXT, OUTPUT),
        span(Author.INTERPRETER, SpanKind.OUTPUT, "\\boxed{9}"),
        span(Author.REASONER, SpanKind.TEXT, "ok", end=True),
    )
    example = encode(PROMPT, trajectory(*spans), END)
    assert tuple(label for label in example.labels if label != IGNORED) == ids(OUTPUT + "ok<|im_end|>")


def test_the_token_ids_of_the_record_are_used_and_not_those_of_its_text() -> None:
    recorded = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="anything", token_ids=(5, 6, *END))
    example = encode(Prefix(text="Q", token_ids=(9,)), trajectory(recorded), END)
    assert example == Example(input_ids=(9, 5, 6, *END), labels=(IGNORED, 5, 6, *END))


def test_any_token_that_ends_a_turn_may_end_the_response() -> None:
    for last in (3, 4):
        recorded = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="a", token_ids=(8, last))
        assert encode(PROMPT, trajectory(recorded), {3, 4}).labels[-1] == last


def test_a_trajectory_is_refused_when_it_does_not_end_its_turn() -> None:
    message = (
        "trajectory p7/2 does not end with an end-of-turn token; the model would not learn to stop: roll it out with a "
        "Reasoner that records that token"
    )
    assert refusal(PROMPT, trajectory(*golden(0).trajectory.spans[:-1])) == message
    assert refusal(PROMPT, trajectory()) == message
    early = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="a", token_ids=(*END, 5))
    assert refusal(PROMPT, trajectory(early)) == message


@pytest.mark.parametrize("reason", [reason for reason in StopReason if reason is not StopReason.FINISHED])
def test_a_trajectory_is_refused_when_it_did_not_finish(reason: StopReason) -> None:
    refused = trajectory(*golden(0).trajectory.spans, stop_reason=reason)
    assert refusal(PROMPT, refused) == (
        f"trajectory p7/2 ended with '{reason.value}'; only finished ones are trained on: drop it"
    )


@pytest.mark.parametrize(("index", "who"), [(0, "code span of the reasoner"), (1, "output span of the interpreter")])
def test_a_span_of_text_only_is_refused_with_the_remedy(index: int, who: str) -> None:
    spans = list(golden(0).trajectory.spans)
    spans[index] = spans[index].model_copy(update={"token_ids": None})
    assert refusal(PROMPT, trajectory(*spans)) == (
        f"a {who} has no token ids; training never re-encodes text: "
        "roll out again with a local model directory or a server that returns token ids"
    )


def test_a_prompt_of_text_only_is_refused_with_the_remedy() -> None:
    message = (
        "the prompt has no token ids; training works on token ids alone: use a local model directory or a server that "
        "returns token ids"
    )
    assert refusal(Prefix(text="Q"), golden(0).trajectory) == message
    assert prompt_ids(Prefix(text="", token_ids=())) == ()
