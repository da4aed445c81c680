from __future__ import annotations

from pathlib import Path

import pytest

from calmstorm.curation.export import export
from calmstorm.errors import InputError
from calmstorm.reasoner.codec import TokenizerCodec
from calmstorm.records import Author, GoldenTrajectory, Problem, SpanKind
from calmstorm.runs import RunDirectory
from calmstorm.training.carft.annotated import annotated_responses, encode_response, read_annotated
from tests.training.tiny_model import coin_problems, golden, ids, tiny_tokenizer

END = frozenset({2})


def codec() -> TokenizerCodec:
    return TokenizerCodec(tiny_tokenizer())


def problems() -> list[Problem]:
    """Those that the golden trajectories of `tiny_model` answer."""
    return [problem.model_copy(update={"id": f"p{number}"}) for number, problem in enumerate(coin_problems())]


def test_a_run_and_an_export_of_it_give_the_same_and_of_several_the_first(tmp_path: Path) -> None:
    made = [golden(0), golden(1), golden(1, answer=4)]
    with RunDirectory(tmp_path / "run") as run:
        run.write_text("config.toml", "")
        for one in made:
            run.append("golden", one)
    export(made, tmp_path / "golden.jsonl", "jsonl")
    annotated = read_annotated(tmp_path / "run")
    assert annotated == {"p0": made[0], "p1": made[1]}
    assert read_annotated(tmp_path / "golden.jsonl") == annotated


def test_what_is_no_golden_set_is_refused_with_the_remedy(tmp_path: Path) -> None:
    export([golden(0)], tmp_path / "messages.jsonl", "messages", prompt="pocket-1")
    with pytest.raises(InputError, match="line 1 is no golden trajectory: name a run directory, or a file that calm"):
        read_annotated(tmp_path / "messages.jsonl")
    with RunDirectory(tmp_path / "run") as run:
        run.write_text("config.toml", "")
    with pytest.raises(InputError, match=r"no golden trajectories in it .* --set carft\.annotated="):
        read_annotated(tmp_path / "run")
    with pytest.raises(InputError, match="nowhere"):
        read_annotated(tmp_path / "nowhere")


def test_hints_count_as_written_and_execution_output_does_not() -> None:
    trajectory = golden(0, hint="I should run code.").trajectory
    response = encode_response(trajectory, codec(), END)
    assert response.token_ids == tuple(token for span in trajectory.spans for token in span.token_ids or ())
    written = [span.author is not Author.INTERPRETER for span in trajectory.spans for _ in span.token_ids or ()]
    assert list(response.written) == written
    assert 0 < sum(response.written) < len(written)


def text_only(one: GoldenTrajectory) -> GoldenTrajectory:
    spans = tuple(span.model_copy(update={"token_ids": None}) for span in one.trajectory.spans)
    return one.model_copy(update={"trajectory": one.trajectory.model_copy(update={"spans": spans})})


def test_text_is_tokenised_span_by_span_and_ends_its_turn() -> None:
    one = golden(0)
    assert encode_response(text_only(one).trajectory, codec(), END) == encode_response(one.trajectory, codec(), END)


def test_problems_of_another_question_and_trajectories_that_are_too_long_have_none() -> None:
    known = {f"p{number}": golden(number) for number in range(3)}
    asked = [*problems()[:2], problems()[2].model_copy(update={"question": "another"}), problems()[3]]
    made = annotated_responses(known, asked, codec(), END, most_tokens=500)
    assert set(made) == {"p0", "p1"}
    assert made["p0"].token_ids[-1:] == ids("<|im_end|>")
    with pytest.raises(InputError, match="none of the 4 problems has an annotated trajectory of at most 9 tokens"):
        annotated_responses(known, asked, codec(), END, most_tokens=9)
    with pytest.raises(InputError, match=r"carft\.annotated=runs/annotated"):
        annotated_responses({}, asked, codec(), END, most_tokens=500)


def test_a_turn_that_has_not_ended_is_ended() -> None:
    one = golden(0).trajectory
    cut = one.model_copy(update={"spans": one.spans[:1]})
    assert cut.spans[0].kind is SpanKind.CODE
    assert encode_response(cut, codec(), END).token_ids == (*(cut.spans[0].token_ids or ()), 2)
