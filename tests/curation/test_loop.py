from __future__ import annotations

import pytest

from calmstorm.curation.loop import edited_share, outputs_before, splice
from calmstorm.errors import InfrastructureError
from calmstorm.intervener.protocol import Reviewed
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.protocol import Sampling
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import Author, ExecutionStatus, ReviewOutcome, Span, SpanKind, Stage, StopReason
from calmstorm.rollout.spans import response_ids
from calmstorm.settings import derive_seed
from tests.curation.curated_case import BLOCK, GOOD, Death, Runner, Store, curate, hesitant, hint, strict

FLAWED, FLAWLESS = ReviewOutcome.FLAWED, ReviewOutcome.FLAWLESS


class Mute(ScriptedIntervener):
    """Says the same about every trajectory."""

    def __init__(self, reviewed: Reviewed) -> None:
        super().__init__([])
        self.reviewed = reviewed

    async def review(self, problem, trajectory):
        return self.reviewed


def test_the_flaws_are_corrected_one_by_one_until_none_is_left():
    intervener, store = ScriptedIntervener(strict), Store()
    done = curate(intervener, store, flaws=2)
    assert done.flawless
    assert [t.round for t in store.trajectories] == [0, 1, 2]
    assert [i.round for i in store.interventions] == [0, 1]
    assert [r.outcome for r in store.reviews] == [FLAWED, FLAWED, FLAWLESS]
    assert [t.verdict.correct for t in store.trajectories if t.verdict] == [False, False, True]
    last = store.trajectories[-1]
    assert last.response.startswith("I model it.\nHINT: I code it.\n")
    assert last.response.endswith(GOOD)
    assert [s.author for s in last.spans].count(Author.INTERVENER) == 2


def test_a_flawless_response_is_left_alone():
    intervener, store = ScriptedIntervener([None]), Store()
    assert curate(intervener, store, flaws=0).flawless
    assert len(store.trajectories) == 1
    assert not store.interventions


def test_there_are_at_most_five_interventions():
    intervener, store = ScriptedIntervener(strict), Store()
    done = curate(intervener, store, flaws=99)
    assert not done.flawless
    assert len(store.interventions) == 5
    assert len(store.trajectories) == 6
    assert intervener.asked == [("p", 0, round_) for round_ in range(6)]


def test_the_round_after_the_last_hint_can_still_be_found_flawless():
    intervener, store = ScriptedIntervener(strict), Store()
    assert curate(intervener, store, flaws=5).flawless
    assert len(store.interventions) == 5
    assert store.reviews[-1].outcome is FLAWLESS


def test_without_interventions_a_sample_is_only_reviewed():
    intervener, store = ScriptedIntervener(strict), Store()
    assert not curate(intervener, store, flaws=3, most=0).flawless
    assert (len(store.trajectories), len(store.interventions), len(store.reviews)) == (1, 0, 1)


@pytest.mark.parametrize("after_storing", [True, False])
@pytest.mark.parametrize("flaws", [0, 2, 5, 99])
@pytest.mark.parametrize("codec", [None, ByteCodec()])
def test_a_loop_killed_at_any_point_ends_the_same_and_asks_nothing_stored_again(flaws, codec, after_storing):
    whole = Store()
    curate(ScriptedIntervener(strict), whole, flaws=flaws, codec=codec)
    for point in range(1, whole.calls + 1):
        store, intervener = Store(point, after_storing=after_storing), ScriptedIntervener(strict)
        with pytest.raises(Death):
            curate(intervener, store, flaws=flaws, codec=codec)
        stored = {("p", 0, i.round) for i in store.interventions} | {("p", 0, r.round) for r in store.reviews}
        before = len(intervener.asked)
        asked_in_vain = set(intervener.asked) - stored
        store.die_at = None
        curate(intervener, store, flaws=flaws, codec=codec)
        assert store.content() == whole.content()
        assert not stored & set(intervener.asked[before:])
        assert len(intervener.asked) - len(set(intervener.asked)) == (0 if after_storing or not asked_in_vain else 1)


def test_a_finished_sample_is_not_touched():
    intervener, store = ScriptedIntervener(strict), Store()
    curate(intervener, store, flaws=2)
    calls = store.calls
    curate(ScriptedIntervener([]), store, flaws=2)
    assert store.calls == calls


def test_a_failed_interpreter_leaves_the_round_open_and_is_no_trajectory():
    intervener, store = ScriptedIntervener(strict), Store()
    with pytest.raises(InfrastructureError, match="the interpreter failed: its worker died"):
        curate(intervener, store, flaws=0, runner=Runner(ExecutionStatus.INFRASTRUCTURE))
    assert store.calls == 0
    assert intervener.asked == []
    assert curate(intervener, store, flaws=0).flawless


def test_a_failed_reasoner_says_what_failed():
    def script(prefix, sampling):
        raise InfrastructureError("the server is gone")

    store = Store()
    with pytest.raises(InfrastructureError, match="the server is gone"):
        curate(ScriptedIntervener(strict), store, script=script)
    assert store.calls == 0


def test_a_failed_review_ends_the_sample_and_is_not_flawless():
    store = Store()
    failed = Reviewed(outcome=ReviewOutcome.FAILED, reason="three replies without an action")
    done = curate(Mute(failed), store, flaws=1)
    assert done.is_finished(5)
    assert not done.flawless
    assert [(r.outcome, r.reason) for r in store.reviews] == [(ReviewOutcome.FAILED, "three replies without an action")]
    assert len(store.trajectories) == 1


def test_a_failed_intervener_leaves_the_round_open():
    store = Store()
    with pytest.raises(InfrastructureError):
        curate(ScriptedIntervener([]), store, flaws=1)
    assert (len(store.trajectories), store.reviews) == (1, [])
    assert curate(ScriptedIntervener(strict), store, flaws=1).flawless
    assert [t.round for t in store.trajectories] == [0, 1]


@pytest.mark.parametrize("codec", [None, ByteCodec()])
def test_a_hint_may_open_the_block_that_the_reasoner_goes_on_in(codec):
    def opening(problem, done):
        if done.round:
            return None
        return hint(done).model_copy(update={"hint": "HINT: I code it.\n\n```python\n"})

    def script(prefix, sampling):
        said = prefix.text.rpartition("HINT")[2]
        if "```output" in said:
            return GOOD
        return "print(400)\n```\n" if "HINT" in prefix.text else "I model it.\nAttempt 0 by hand.\n\\boxed{300}"

    store, runner = Store(), Runner()
    assert curate(ScriptedIntervener(opening), store, script=script, codec=codec, runner=runner).flawless
    assert runner.ran == 1
    last = store.trajectories[-1]
    assert [span.kind for span in last.spans[1:]] == [SpanKind.HINT, SpanKind.CODE, SpanKind.OUTPUT, SpanKind.TEXT]
    assert last.verdict is not None
    assert last.verdict.correct


def test_every_round_is_drawn_with_a_seed_of_its_own():
    drawn = []

    def script(prefix, sampling):
        drawn.append((prefix.text.count("HINT"), sampling))
        return hesitant(2)(prefix, sampling)

    curate(ScriptedIntervener(strict), Store(), script=script)
    seeds = [derive_seed(1, Stage.CURATION, "p", 0, round_) for round_ in range(3)]
    assert {(heard, sampling) for heard, sampling in drawn} == {
        (heard, Sampling(temperature=0.5, seed=seed)) for heard, seed in enumerate(seeds)
    }
    assert len(set(seeds)) == 3


def test_what_was_executed_before_the_hint_is_kept_and_not_run_again():
    def script(prefix, sampling):
        if "HINT" in prefix.text:
            return GOOD
        return "Attempt 0 by hand.\n\\boxed{300}" if "```output" in prefix.text else "```python\n" + BLOCK

    store, runner = Store(), Runner()
    assert curate(ScriptedIntervener(strict), store, script=script, runner=runner).flawless
    first, last = store.trajectories
    assert runner.ran == 1
    assert last.executions == first.executions
    assert len(last.executions) == 1


def test_what_was_executed_behind_the_hint_is_dropped_with_it():
    def script(prefix, sampling):
        said = prefix.text.rpartition("HINT")[2]
        if "```output" in said:
            return GOOD if "HINT" in prefix.text else "\\boxed{300}"
        return "```python\n" + BLOCK if "HINT" in prefix.text else "Attempt 0 by hand.\n```python\n" + BLOCK

    store, runner = Store(), Runner()
    assert curate(ScriptedIntervener(strict), store, script=script, runner=runner).flawless
    assert runner.ran == 2
    assert [len(trajectory.executions) for trajectory in store.trajectories] == [1, 1]


class Pairs:
    """Two characters to a token, so that hints land inside tokens."""

    def encode(self, text: str) -> list[int]:
        return [ord(text[i]) * 1000 + (ord(text[i + 1]) if i + 1 < len(text) else 0) for i in range(0, len(text), 2)]

    def decode(self, token_ids) -> str:
        return "".join(chr(i // 1000) + (chr(i % 1000) if i % 1000 else "") for i in token_ids if i != 256)


@pytest.mark.parametrize("shift", [0, 1])
def test_a_hint_can_land_inside_a_token(shift):
    def shifted(problem, done):
        if done.round:
            return None
        found = hint(done)
        return found.model_copy(update={"position": found.position + shift, "target": found.target[shift:]})

    store = Store()
    assert curate(ScriptedIntervener(shifted), store, flaws=1, codec=Pairs()).flawless
    first, last = store.trajectories
    position = store.interventions[0].position
    assert last.response[:position] == first.response[:position]
    assert last.response[position:].startswith("HINT: I code it.\n")
    whole = position // 2
    assert response_ids(last.spans[:1])[:whole] == response_ids(first.spans[:1])[:whole]
    for span in last.spans:
        assert Pairs().decode(response_ids([span])) == span.text


def test_outputs_are_counted_once_even_where_a_cut_tears_one():
    spans = [
        Span(author=Author.REASONER, kind=SpanKind.CODE, text="0123"),
        Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="4567"),
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="89"),
        Span(author=Author.INTERPRETER, kind=SpanKind.OUTPUT, text="ab"),
    ]
    assert [outputs_before(spans, position) for position in (0, 4, 5, 8, 10, 11, 99)] == [0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("place", ["behind the notice", "before it", "before the last run"])
def test_a_hint_resumes_across_the_output_that_says_no_run_is_left(place):
    block = "```python\nprint(400)\n```\n"

    def script(prefix, sampling):
        said = prefix.text.partition("\n")[2]
        if "HINT" in said:
            behind = said.rpartition("HINT")[2]
            return block if behind.count("```output") < 2 else GOOD
        return "Attempt.\n" + block if said.count("```output") < 5 else "Done without a box."

    def target(done):
        outputs = [i for i in range(len(done.response)) if done.response.startswith("```output", i)]
        if place == "behind the notice":
            return done.response.index("Done")
        return done.response.rindex("Attempt", 0, outputs[4 if place == "before it" else 3])

    def once(problem, done):
        if done.round:
            return None
        at = target(done)
        return hint(done).model_copy(update={"position": at, "target": done.response[at:]})

    store, runner = Store(), Runner()
    curate(ScriptedIntervener(once), store, script=script, runner=runner, codec=ByteCodec())
    first, last = store.trajectories
    assert (len(first.executions), first.response.count("No run is left")) == (4, 1)
    assert first.stop_reason is StopReason.FINISHED
    assert (len(last.executions), last.response.count("No run is left")) == (4, 1)
    kept = {"behind the notice": 4, "before it": 4, "before the last run": 3}[place]
    assert last.executions[:kept] == first.executions[:kept]
    assert runner.ran == 4 + (4 - kept)
    outputs = [span for span in last.spans if span.author is Author.INTERPRETER]
    assert ["No run is left" in span.text for span in outputs] == [False] * 4 + [True]
    asked_twice = kept == 4
    assert last.stop_reason is (StopReason.EXECUTIONS if asked_twice else StopReason.FINISHED)


def test_the_edited_share_counts_tokens_where_there_are_ids():
    hint_span = Span(author=Author.INTERVENER, kind=SpanKind.HINT, text="a long hint", token_ids=(1,))
    own = Span(author=Author.REASONER, kind=SpanKind.TEXT, text="x", token_ids=(1, 2, 3))
    assert edited_share([hint_span, own]) == 0.25
    bare = own.model_copy(update={"token_ids": None})
    assert edited_share([hint_span, bare]) == pytest.approx(11 / 12)
    assert edited_share([]) == 0.0


@pytest.mark.parametrize(
    ("before", "hint_text", "spliced"),
    [
        ("\nFirst hint.\n", "Second.\n", "I model it:\nSecond.\n"),  # the line break is kept
        ("\nFirst hint.\n", "\nSecond.\n", "I model it:\nSecond.\n"),  # and not doubled
        (" First hint.\n", "Second.\n", "I model it:Second.\n"),  # nor invented
    ],
)
def test_a_hint_takes_the_place_of_the_one_before_it(before, hint_text, spliced):
    spans = (
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="I model it:"),
        Span(author=Author.INTERVENER, kind=SpanKind.HINT, text=before),
        Span(author=Author.REASONER, kind=SpanKind.TEXT, text="Attempt by hand."),
    )
    store = Store()
    curate(ScriptedIntervener([None]), store, flaws=0)
    flawed = store.trajectories[0].model_copy(update={"spans": spans})
    intervention = hint(flawed).model_copy(update={"hint": hint_text})
    made = splice(flawed, intervention, ScriptedReasoner([]))
    assert "".join(span.text for span in made) == spliced
    assert [span.author for span in made] == [Author.REASONER, Author.INTERVENER]


def test_a_hint_that_did_not_help_is_replaced_by_the_next():
    stubborn = Store()

    def script(prefix, sampling):
        return "Attempt by hand.\n" if "HINT" in prefix.text else "I model it: Attempt by hand.\n"

    def set_off(problem, done):
        start = done.response.rindex("Attempt")
        lead = "" if done.response[:start].endswith("\n") else "\n"
        update = {"hint": f"{lead}HINT {done.round}.\n", "position": start, "target": done.response[start:]}
        return hint(done).model_copy(update=update)

    curate(ScriptedIntervener(set_off), stubborn, script=script, codec=ByteCodec())
    assert [t.response for t in stubborn.trajectories] == [
        "I model it: Attempt by hand.\n",
        *[f"I model it: \nHINT {i}.\nAttempt by hand.\n" for i in range(5)],
    ]
