from __future__ import annotations

from pathlib import Path

from calmstorm.records import Author, Intervention, Span, SpanKind, StopReason, Trajectory, Trigger
from calmstorm.report import read_run
from calmstorm.report.transcripts import annotate, choose_examples


def made(round: int, *spans: tuple[Author, SpanKind, str]) -> Trajectory:
    return Trajectory(
        problem_id="p",
        sample=0,
        round=round,
        stage="curation",
        spans=tuple(Span(author=author, kind=kind, text=text) for author, kind, text in spans),
        stop_reason=StopReason.FINISHED,
    )


def text(words: str) -> tuple[Author, SpanKind, str]:
    return Author.REASONER, SpanKind.TEXT, words


def hint(words: str) -> tuple[Author, SpanKind, str]:
    return Author.INTERVENER, SpanKind.HINT, words


def cut(round: int, position: int, target: str, words: str) -> Intervention:
    return Intervention(
        problem_id="p",
        sample=0,
        round=round,
        trigger=Trigger.FLAWED_MODELING,
        analysis="why",
        target=target,
        position=position,
        hint=words,
    )


def test_examples_show_every_trigger_an_unaided_golden_one_and_a_failure(run_path: Path) -> None:
    examples = choose_examples(read_run(run_path))
    titles = [example.name for example in examples]
    assert [title.split(":")[0] for title in titles[:7]] == [f"Trigger {number}" for number in range(1, 8)]
    assert titles[7:] == ["Golden without any hint", "A failure of the RL model"]
    for example in examples[:7]:
        assert example.is_golden
        assert [passage.kind for passage in example.passages].count("hint") == 1
    assert [passage.kind for passage in examples[7].passages] == ["text", "code", "output", "text"]
    assert examples[8].verdict == "wrong"


def test_choice_is_the_same_when_made_twice(run_path: Path) -> None:
    first = choose_examples(read_run(run_path))
    assert choose_examples(read_run(run_path)) == first


def test_dropped_text_stands_before_the_hint_that_replaced_it() -> None:
    rounds = {0: made(0, text("good bad and more")), 1: made(1, text("good "), hint("Wait. "), text("better"))}
    passages, replaced = annotate(rounds, [cut(0, 5, "bad", "Wait. ")])
    assert [(passage.kind, passage.text) for passage in passages] == [
        ("text", "good "),
        ("dropped", "bad"),
        ("hint", "Wait. "),
        ("text", "better"),
    ]
    assert passages[1].rest == " and more"
    assert replaced == 0


def test_hint_that_was_cut_away_again_is_counted_but_not_shown() -> None:
    rounds = {
        0: made(0, text("one two three")),
        1: made(1, text("one two "), hint("First. "), text("x")),
        2: made(2, text("one "), hint("Second. "), text("y")),
    }
    passages, replaced = annotate(rounds, [cut(0, 8, "three", "First. "), cut(1, 4, "two ", "Second. ")])
    assert [passage.kind for passage in passages] == ["text", "dropped", "hint", "text"]
    assert passages[1].rest == "First. x"
    assert replaced == 1


def test_hint_keeps_its_dropped_text_when_the_splice_trimmed_white_space() -> None:
    rounds = {0: made(0, text("good \nbad")), 1: made(1, text("good"), hint("Wait. "), text("better"))}
    passages, _ = annotate(rounds, [cut(0, 6, "bad", "Wait. ")])
    assert [passage.kind for passage in passages] == ["text", "dropped", "hint", "text"]


def test_two_surviving_hints_each_have_their_own_dropped_text() -> None:
    rounds = {
        0: made(0, text("a b")),
        1: made(1, text("a "), hint("H1 "), text("c d")),
        2: made(2, text("a "), hint("H1 "), text("c "), hint("H2 "), text("e")),
    }
    passages, _ = annotate(rounds, [cut(0, 2, "b", "H1 "), cut(1, 7, "d", "H2 ")])
    assert [passage.text for passage in passages if passage.kind == "dropped"] == ["b", "d"]
