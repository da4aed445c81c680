"""Arms of the paper's experiments: what their training data are."""

from __future__ import annotations

from calmstorm.experiments import non_reflective
from calmstorm.reasoner.scripted import ByteCodec
from calmstorm.records import (
    Author,
    Execution,
    ExecutionStatus,
    GoldenTrajectory,
    Span,
    SpanKind,
    StopReason,
    Trajectory,
    Verdict,
    VerdictStatus,
)
from calmstorm.rollout.spans import make_span

END = 300
SCRIPT = "```python\nprint(400)\n```\n"
OUTPUT = "```output\n400\n```\n"


def golden() -> GoldenTrajectory:
    codec = ByteCodec()

    def said(text: str, author: Author = Author.REASONER, kind: SpanKind = SpanKind.TEXT) -> Span:
        return make_span(author, kind, text, codec)

    spans = (
        said("I think for long.\n"),
        said("I should write code.\n\n```python\n", Author.INTERVENER, SpanKind.HINT),
        said("print(400)\n```\n", kind=SpanKind.CODE),
        said(OUTPUT, Author.INTERPRETER, SpanKind.OUTPUT),
        said("That is plausible.\n</think>\n\n\\boxed{400}"),
    )
    verdict = Verdict(correct=True, expected=400.0, got=400.0, tolerance=1e-3, status=VerdictStatus.CORRECT)
    trajectory = Trajectory(
        problem_id="p",
        sample=0,
        stage="curation",
        spans=spans,
        stop_reason=StopReason.FINISHED,
        executions=(Execution(status=ExecutionStatus.OK, stdout="400", wall_seconds=0.1, tier="unsafe"),),
        answer=400.0,
        verdict=verdict,
    )
    return GoldenTrajectory(trajectory=trajectory, question="?", interventions=(), edited_token_share=0.1)


def test_a_pair_is_script_output_and_box_without_the_reasoning() -> None:
    (pair,) = non_reflective([golden()], ByteCodec(), END)
    assert pair.trajectory.response == SCRIPT + OUTPUT + "</think>\n\n\\boxed{400}"
    assert [span.author for span in pair.trajectory.spans] == [Author.REASONER, Author.INTERPRETER, Author.REASONER]


def test_the_script_of_a_pair_is_the_last_that_was_run() -> None:
    codec = ByteCodec()
    whole = golden()
    notice = "```output\nNo run is left.\n```\n"
    refused = (
        make_span(Author.REASONER, SpanKind.CODE, "```python\nprint(1)\n```\n", codec),
        make_span(Author.INTERPRETER, SpanKind.OUTPUT, notice, codec),
    )
    spans = (*whole.trajectory.spans[:-1], *refused, whole.trajectory.spans[-1])
    spent = whole.model_copy(update={"trajectory": whole.trajectory.model_copy(update={"spans": spans})})
    (pair,) = non_reflective([spent], codec, END)
    assert pair.trajectory.response == SCRIPT + OUTPUT + "</think>\n\n\\boxed{400}"


def test_a_pair_ends_its_turn_and_keeps_the_output_tokens_as_they_were() -> None:
    original = golden()
    (pair,) = non_reflective([original], ByteCodec(), END)
    assert (pair.trajectory.spans[-1].token_ids or ())[-1] == END
    assert pair.trajectory.spans[1] == original.trajectory.spans[3]
