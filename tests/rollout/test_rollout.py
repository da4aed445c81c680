from __future__ import annotations

import asyncio
import re

import pytest

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import Author, Execution, ExecutionStatus, Span, SpanKind, StopReason
from calmstorm.rollout import Rollout, RolloutLimits, rollout
from calmstorm.rollout.fences import unrun_code
from calmstorm.rollout.spans import RL_AUTHORS, cut, make_span, response_ids, response_mask

CODEC = ByteCodec()
SPENT = "```output\nNo run is left: 4 of 4 are used. Give the final answer from what has been printed so far.\n```\n"
BLOCK = "Let me compute.\n```python\nprint(6 * 7)\n```\n"


class FakeInterpreter:
    """Answers with canned outcomes and remembers what it was asked."""

    def __init__(self, *outcomes: Execution | Exception, stdout: str = "42\n") -> None:
        self.outcomes = list(outcomes)
        self.stdout = stdout
        self.seen: list[str] = []

    async def arun(self, code, limits=None) -> Execution:
        self.seen.append(code)
        self.limits = limits
        outcome = self.outcomes.pop(0) if self.outcomes else executed(stdout=self.stdout)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def executed(status: ExecutionStatus = ExecutionStatus.OK, stdout: str = "", stderr: str = "") -> Execution:
    return Execution(status=status, stdout=stdout, stderr=stderr, wall_seconds=0.1, tier="unsafe")


def rolled(reasoner, interpreter=None, spans=(), executions=(), prompt=None, runs=4, **limits) -> Rollout:
    return asyncio.run(
        rollout(
            reasoner,
            interpreter or FakeInterpreter(),
            prompt or reasoner.render("How many?"),
            limits=RolloutLimits(executions=runs, **limits),
            sampling=Sampling(seed=1),
            spans=spans,
            executions=executions,
        )
    )


def roll(script, interpreter=None, codec=CODEC, **rest) -> Rollout:
    reasoner = script if isinstance(script, ScriptedReasoner) else ScriptedReasoner(script, codec=codec)
    made = rolled(reasoner, interpreter, **rest)
    if made.prompt.token_ids is not None:  # text and tokens must say the same, whatever happened
        for span in made.spans:
            said = CODEC.decode(response_ids([span])).removesuffix("<|im_end|>")
            assert said == span.text
    return made


def text_of(made: Rollout) -> str:
    return "".join(span.text for span in made.spans)


def hint(text: str) -> Span:
    return make_span(Author.INTERVENER, SpanKind.HINT, text, CODEC)


def test_runs_the_code_and_goes_on_with_its_output():
    interpreter = FakeInterpreter()
    made = roll([BLOCK, "So \\boxed{42}."], interpreter, wall_seconds=3, memory_mb=99)
    assert interpreter.seen == ["print(6 * 7)\n"]
    assert (interpreter.limits.wall_seconds, interpreter.limits.memory_mb) == (3, 99)
    assert text_of(made) == BLOCK + "```output\n42\n```\n" + "So \\boxed{42}."
    assert [(s.author, s.kind) for s in made.spans] == [
        (Author.REASONER, SpanKind.TEXT),
        (Author.REASONER, SpanKind.CODE),
        (Author.INTERPRETER, SpanKind.OUTPUT),
        (Author.REASONER, SpanKind.TEXT),
    ]
    assert made.spans[1].text.startswith("```python")
    assert made.stop_reason is StopReason.FINISHED
    assert len(made.executions) == 1


def test_shows_the_model_exactly_the_recorded_tokens():
    seen = []

    def script(prefix, sampling):
        seen.append(prefix)
        return BLOCK if len(seen) < 3 else "done"

    made = roll(script)
    ids, mask = response_ids(made.spans), response_mask(made.spans, RL_AUTHORS)
    prompt, last = made.prompt.token_ids, seen[-1].token_ids
    assert prompt is not None
    assert last is not None
    assert (*prompt, *ids)[: len(last)] == last
    assert seen[-1].text == made.prompt.text + text_of(made)[: -len("done")]
    output = len(CODEC.encode("```output\n42\n```\n"))
    assert sum(mask) == len(ids) - 2 * output
    assert ids[-1] == ByteCodec.END_OF_TURN
    assert mask[-1] == 1
    assert made.usage.completion_tokens == len(ids)
    assert made.usage.prompt_tokens == len(prompt)


def test_keeps_log_probabilities_next_to_their_tokens():
    made = roll([BLOCK, "x"])
    for span in made.spans:
        if span.author is Author.REASONER:
            assert span.logprobs is not None
            assert len(span.logprobs) == len(response_ids([span]))
        else:
            assert span.logprobs is None


def test_ends_when_more_executions_are_asked_for_than_allowed():
    interpreter = FakeInterpreter()
    made = roll(lambda prefix, sampling: BLOCK, interpreter)
    assert made.stop_reason is StopReason.EXECUTIONS
    assert len(interpreter.seen) == len(made.executions) == 4
    assert text_of(made) == (BLOCK + "```output\n42\n```\n") * 4 + BLOCK + SPENT + BLOCK


def test_tells_once_that_no_run_is_left_and_goes_on():
    interpreter = FakeInterpreter()
    made = roll([BLOCK] * 5 + ["So \\boxed{42}."], interpreter)
    assert made.stop_reason is StopReason.FINISHED
    assert len(interpreter.seen) == len(made.executions) == 4
    assert text_of(made).endswith(BLOCK + SPENT + "So \\boxed{42}.")
    told = made.spans[-2]
    assert (told.author, told.kind) == (Author.INTERPRETER, SpanKind.OUTPUT)
    assert sum(response_mask(made.spans[-2:-1], RL_AUTHORS)) == 0


def test_is_told_at_its_first_block_when_it_may_run_none():
    made = roll([BLOCK, "So 42."], runs=0)
    assert made.stop_reason is StopReason.FINISHED
    assert "No run is left: none may be used here." in text_of(made)
    assert made.executions == ()


def test_ends_by_length_when_there_is_no_room_to_tell():
    made = roll([BLOCK, "never"], runs=0, response_tokens=len(BLOCK) + 20)
    assert made.stop_reason is StopReason.LENGTH


def test_is_not_told_again_when_it_is_resumed_behind_the_notice():
    first = roll([BLOCK] * 5 + ["wrong"])
    kept = cut(first.spans, text_of(first).rindex("wrong"), CODEC)
    interpreter = FakeInterpreter()
    made = roll([BLOCK], interpreter, spans=(*kept, hint("Wait.\n")), executions=first.executions)
    assert made.stop_reason is StopReason.EXECUTIONS
    assert interpreter.seen == []
    assert made.executions == first.executions
    earlier = roll(
        [BLOCK, "So 42."],
        interpreter,
        spans=cut(first.spans, text_of(first).index(SPENT), CODEC),
        executions=first.executions,
    )
    assert text_of(earlier).count("No run is left") == 1


def test_ends_at_the_token_limit_when_the_model_never_stops():
    made = roll(["word " * 1000], response_tokens=60)
    assert made.stop_reason is StopReason.LENGTH
    assert made.usage.completion_tokens == 60


def test_ends_without_a_box_when_the_model_ends_its_turn():
    assert roll(["I don't know."]).stop_reason is StopReason.FINISHED


def test_never_exceeds_the_token_limit_when_output_would():
    made = roll([BLOCK, "x"], FakeInterpreter(stdout="1" * 500), response_tokens=len(BLOCK) + 30)
    assert made.stop_reason is StopReason.LENGTH
    assert made.usage.completion_tokens <= len(BLOCK) + 30
    assert len(made.executions) == 1


def test_appends_output_that_just_fits_and_ends_at_the_limit():
    most = len(BLOCK) + len("```output\n42\n```\n")
    made = roll([BLOCK, "never"], response_tokens=most)
    assert made.stop_reason is StopReason.LENGTH
    assert made.usage.completion_tokens == most
    assert [span.author for span in made.spans][-1] is Author.INTERPRETER
    short = roll([BLOCK, "never"], response_tokens=most - 1)
    assert short.usage.completion_tokens == len(BLOCK)


def test_asks_for_nothing_when_the_response_is_as_long_as_allowed():
    def never(prefix, sampling):
        raise AssertionError("it was asked")

    start = (make_span(Author.REASONER, SpanKind.TEXT, "By hand.", CODEC),)
    made = roll(never, spans=start, response_tokens=len("By hand."))
    assert made.stop_reason is StopReason.LENGTH
    assert made.spans == start


def test_asks_for_no_more_tokens_than_an_earlier_round_left():
    start = (make_span(Author.REASONER, SpanKind.TEXT, "By hand.", CODEC),)
    made = roll(["word " * 1000], spans=start, response_tokens=60)
    assert made.stop_reason is StopReason.LENGTH
    assert made.usage.completion_tokens == 60


def test_draws_as_it_is_told():
    seen = []

    def script(prefix, sampling):
        seen.append(sampling)
        return "x"

    roll(script)
    assert seen == [Sampling(seed=1)]


def test_says_how_long_it_took():
    class Slow(FakeInterpreter):
        async def arun(self, code, limits=None):
            await asyncio.sleep(0.02)
            return await super().arun(code, limits)

    assert 0.01 < roll([BLOCK, "x"], Slow()).usage.seconds < 60


def test_keeps_the_end_of_a_turn_that_says_nothing():
    made = roll([BLOCK, ""])
    assert response_ids(made.spans)[-1] == ByteCodec.END_OF_TURN
    assert made.spans[-1].text == ""
    assert roll([""], codec=None).spans == ()


def test_splits_code_from_text_when_it_goes_on_behind_a_hint():
    made = roll([BLOCK, "ok"], spans=(hint("Wait, by code.\n"),))
    assert [(span.kind, span.text) for span in made.spans[:3]] == [
        (SpanKind.HINT, "Wait, by code.\n"),
        (SpanKind.TEXT, "Let me compute.\n"),
        (SpanKind.CODE, "```python\nprint(6 * 7)\n```\n"),
    ]


def test_counts_the_prompts_tokens_as_the_reasoner_rendered_them():
    rendered = Prefix(text="How many?", token_ids=(0, 1, 2))  # not what encoding the text would give
    assert roll(["x"], prompt=rendered).usage.prompt_tokens == 3


def test_counts_tokens_with_the_codec_when_prompt_and_spans_are_text_only():
    start = (Span(author=Author.REASONER, kind=SpanKind.TEXT, text="By hand: "),)
    made = roll(["x"], spans=start, prompt=Prefix(text="How many?"))
    assert made.usage.prompt_tokens == len("How many?")
    assert made.usage.completion_tokens == len("By hand: ") + len("x") + 1


def test_runs_a_block_that_a_hint_has_opened():
    interpreter = FakeInterpreter()
    start = (make_span(Author.REASONER, SpanKind.TEXT, "By hand: ", CODEC), hint("no, let me use code.\n```python\n"))
    made = roll(["print(1)\n```\n", "ok"], interpreter, spans=start)
    assert interpreter.seen == ["print(1)\n"]
    assert made.spans[2].kind is SpanKind.CODE
    assert made.spans[2].text == "print(1)\n```\n"
    ids, mask = response_ids(made.spans), response_mask(made.spans, RL_AUTHORS)
    assert CODEC.decode(ids).startswith("By hand: no, let me use code.\n```python\nprint(1)\n```\n```output\n42\n")
    assert mask[len("By hand: ")] == 0


def test_counts_tokens_and_executions_of_earlier_rounds_when_resumed():
    first = roll([BLOCK, BLOCK, "wrong"])
    kept = cut(first.spans, text_of(first).rindex("wrong"), CODEC)
    interpreter = FakeInterpreter()
    made = roll(
        lambda prefix, sampling: BLOCK, interpreter, spans=(*kept, hint("Wait.\n")), executions=first.executions
    )
    assert made.stop_reason is StopReason.EXECUTIONS
    assert len(interpreter.seen) == 2
    assert len(made.executions) == 4
    assert made.spans[: len(kept)] == kept
    assert made.usage.completion_tokens == len(response_ids(made.spans))


def test_runs_the_block_first_when_resumed_right_behind_it():
    interpreter = FakeInterpreter()
    made = roll(["fine"], interpreter, spans=(make_span(Author.REASONER, SpanKind.CODE, BLOCK, CODEC),))
    assert interpreter.seen == ["print(6 * 7)\n"]
    assert text_of(made) == BLOCK + "```output\n42\n```\nfine"


@pytest.mark.parametrize(
    "text",
    [
        "Data:\n```json\n{}\n```\n",
        "Bare:\n```\nprint(1)\n```\n",
        "Not at the line start: ```python\nprint(1)\n```\n",
        "A closing fence alone\n```\n",
        "```python\nx = 1 ```\n",
        "````text\n```python\nprint(1)\n```\n",
    ],
)
def test_runs_nothing_when_no_python_block_is_closed(text):
    interpreter = FakeInterpreter()

    def script(prefix, sampling):
        said = prefix.text.removeprefix("How many?\n")
        return text[len(said) :] if len(said) < len(text) else "end"

    made = roll(script, interpreter)
    assert interpreter.seen == []
    assert made.stop_reason is StopReason.FINISHED
    assert text_of(made) == text + "end"


def test_runs_the_block_when_the_turn_ends_right_behind_it():
    interpreter = FakeInterpreter()
    made = roll(["```python\nprint(1)\n```", "So 42."], interpreter)
    assert made.stop_reason is StopReason.FINISHED
    assert interpreter.seen == ["print(1)\n"]
    assert text_of(made) == "```python\nprint(1)\n```\n```output\n42\n```\nSo 42."
    assert response_ids(made.spans).count(ByteCodec.END_OF_TURN) == 1  # the turn went on


def test_runs_nothing_when_the_turn_ends_within_a_block():
    interpreter = FakeInterpreter()
    made = roll(["```python\nprint(1)\n``"], interpreter)
    assert made.stop_reason is StopReason.FINISHED
    assert interpreter.seen == []
    assert made.spans[-1].kind is SpanKind.CODE


def test_runs_nothing_when_the_tokens_end_within_the_closing_line():
    interpreter = FakeInterpreter()
    made = roll(["```python\nprint(1)\n```python"], interpreter, response_tokens=len("```python\nprint(1)\n```"))
    assert made.stop_reason is StopReason.LENGTH
    assert interpreter.seen == []


@pytest.mark.parametrize("codec", [CODEC, None])
@pytest.mark.parametrize(
    ("block", "code"),
    [
        ("```py\nprint(1)\n``` \n", "print(1)\n"),
        ("``` python3 \nprint(1)\n```\t \n", "print(1)\n"),
        ("```Python\r\nprint(1)\r\n```\r\n", "print(1)\r\n"),
        ("   ```python\n   print(1)\n   ```   \n", "print(1)\n"),
        ("- ```python\n  print(1)\n  ```\t\n", "print(1)\n"),
        ("~~~python\nprint(1)\n~~~ \n", "print(1)\n"),
        ("````python\nprint(1)\n````  \n", "print(1)\n"),
        ("```output\n7\n```python\nprint(1)\n```\n", "print(1)\n"),
    ],
)
def test_runs_a_block_however_it_is_fenced_and_drops_what_is_written_behind_it(block, code, codec):
    interpreter = FakeInterpreter()
    made = roll([f"So:\n{block}```output\n41\n```\nIt is 41.", "So 42."], interpreter, codec=codec)
    assert interpreter.seen == [code]
    assert made.stop_reason is StopReason.FINISHED
    assert text_of(made) == f"So:\n{block}```output\n42\n```\nSo 42."
    for span in made.spans:
        if codec is not None and span.author is Author.REASONER:
            assert span.logprobs is not None
            assert len(span.logprobs) == len(response_ids([span]))


def test_stops_generation_at_four_closings():
    seen = []

    class Asked(ScriptedReasoner):
        async def generate(self, prefix, *, stop, **rest):
            seen.append(stop)
            return await super().generate(prefix, stop=stop, **rest)

    roll(Asked(["x"], codec=CODEC))
    assert seen == [("```\n", "``` \n", "```\r\n", "~~~\n")]


class LineCodec:
    """Tokens as a real tokenizer makes them where it matters here: the last backtick with all line breaks behind it."""

    def encode(self, text: str) -> list[int]:
        return [int.from_bytes(b"\1" + piece.encode(), "big") for piece in re.findall(r"`\n+(?:The)?|(?s:.)", text)]

    def decode(self, token_ids) -> str:
        return "".join(i.to_bytes((i.bit_length() + 7) // 8, "big")[1:].decode() for i in token_ids)


class LineReasoner(ScriptedReasoner):
    """Stops after the token that completes a stop string, as engines do."""

    def __init__(self, texts) -> None:
        super().__init__(texts, codec=LineCodec())

    async def generate(self, prefix, *, stop, max_tokens, sampling):
        text = self._next(prefix, sampling)
        ids: list[int] = []
        for token in LineCodec().encode(text):
            ids.append(token)
            written = LineCodec().decode(ids)
            if any(string in written for string in stop):
                return Completion(
                    text=written, token_ids=ids, logprobs=[-1.0] * len(ids), stop=CompletionStop.STOP_STRING
                )
        return Completion(text=text, token_ids=ids, logprobs=[-1.0] * len(ids), stop=CompletionStop.END_OF_TURN)


@pytest.mark.parametrize("behind", ["\n", "\n\n", "\n\n\n", "\nThe"])
def test_runs_the_block_when_its_last_token_says_more(behind):
    interpreter = FakeInterpreter()
    written = f"```python\nprint(1)\n```{behind}"
    made = rolled(LineReasoner([f"{written} rest", "So 42."]), interpreter)
    assert interpreter.seen == ["print(1)\n"]
    lead = "\n" if behind.endswith("The") else ""
    assert text_of(made) == f"{written}{lead}```output\n42\n```\nSo 42."
    code = made.spans[0]
    assert code.kind is SpanKind.CODE
    assert code.token_ids == tuple(LineCodec().encode(written))  # whole tokens, as they were drawn
    assert code.logprobs == (-1.0,) * len(code.token_ids)


def test_ends_as_our_failure_when_the_reasoner_writes_nothing_and_does_not_end():
    class Silent(ScriptedReasoner):
        async def generate(self, prefix, **rest):
            return Completion(text="", token_ids=(), logprobs=(), stop=CompletionStop.STOP_STRING)

    assert roll(Silent([], codec=CODEC)).stop_reason is StopReason.INFRASTRUCTURE


def test_counts_the_tokens_of_a_text_as_the_server_did():
    texts = iter([BLOCK + "It is 41.", "So 42."])

    class Counting(ScriptedReasoner):
        async def generate(self, prefix, **rest):
            text = next(texts)
            stop = CompletionStop.END_OF_TURN if text == "So 42." else CompletionStop.STOP_STRING
            return Completion(text=text, stop=stop, tokens=2 * len(text))

    made = roll(Counting([]))
    output = -(-len("```output\n42\n```\n") // 4)
    assert made.usage.completion_tokens == 2 * len(BLOCK) + output + 2 * len("So 42.")  # nothing for what was dropped


def test_runs_a_python_block_after_a_block_of_another_kind():
    interpreter = FakeInterpreter()
    roll(["```json\n{}\n```\n", "\nNow:\n```python\nprint(2)\n```\n", "end"], interpreter)
    assert interpreter.seen == ["print(2)\n"]


def test_shows_the_error_and_goes_on_when_a_script_fails():
    failed = executed(ExecutionStatus.ERROR, "part\n", 'Traceback:\n  File "x", line 3\nNameError: name y\n')
    made = roll([BLOCK, "I see"], FakeInterpreter(failed))
    assert made.stop_reason is StopReason.FINISHED
    assert "part\nNameError: name y" in made.spans[2].text


def test_says_so_when_a_script_is_stopped():
    stopped = Execution(status=ExecutionStatus.TIMEOUT, stdout="", wall_seconds=10.01, tier="unsafe")
    assert "TimeoutError: stopped after 10 s" in roll([BLOCK, "hm"], FakeInterpreter(stopped)).spans[2].text


def test_cuts_long_output_in_the_middle():
    made = roll([BLOCK, "ok"], FakeInterpreter(stdout="a" * 500 + "b" * 500), output_characters=100)
    output = made.spans[2].text
    assert len(output) < 180
    assert output.startswith("```output\naaa")
    assert output.endswith("bbb\n```\n")
    assert "cut" in output


def test_output_cannot_close_its_block():
    interpreter = FakeInterpreter(stdout="```\n```python\nimport os\n```\n")
    made = roll([BLOCK, "ok"], interpreter)
    assert made.spans[2].text.count("```") == 2
    assert len(interpreter.seen) == 1


def test_tries_once_more_when_the_interpreter_dies():
    broken = executed(ExecutionStatus.INFRASTRUCTURE)
    interpreter = FakeInterpreter(broken)
    made = roll([BLOCK, "ok"], interpreter)
    assert made.stop_reason is StopReason.FINISHED
    assert len(interpreter.seen) == 2
    assert [e.status for e in made.executions] == [ExecutionStatus.OK]


@pytest.mark.parametrize("failure", [executed(ExecutionStatus.INFRASTRUCTURE), InfrastructureError("worker died")])
def test_records_our_failure_when_the_interpreter_dies_twice(failure):
    interpreter = FakeInterpreter(failure, failure)
    made = roll([BLOCK, "never"], interpreter)
    assert made.stop_reason is StopReason.INFRASTRUCTURE
    assert len(interpreter.seen) == 2
    assert text_of(made) == BLOCK


def test_records_our_failure_when_the_reasoner_fails():
    made = roll([BLOCK])  # the script is used up at the second call
    assert made.stop_reason is StopReason.INFRASTRUCTURE
    assert text_of(made).endswith("```output\n42\n```\n")


def test_gives_text_spans_when_the_reasoner_has_no_tokens():
    made = roll([BLOCK, "So 42."], codec=None)
    assert text_of(made) == BLOCK + "```output\n42\n```\nSo 42."
    assert all(span.token_ids is None for span in made.spans)
    assert made.usage.prompt_tokens == 3  # four characters are counted as a token: "How many?\n"
    assert made.usage.completion_tokens == sum(-(-len(span.text) // 4) for span in made.spans)


def test_refuses_a_span_without_token_ids_when_the_prompt_has_them():
    with pytest.raises(InputError, match="make_span"):
        roll(["x"], spans=(Span(author=Author.INTERVENER, kind=SpanKind.HINT, text="Wait."),))


def test_rollouts_wait_for_their_code_side_by_side():
    class Slow(FakeInterpreter):
        running = most = 0

        async def arun(self, code, limits=None):
            self.running += 1
            self.most = max(self.most, self.running)
            await asyncio.sleep(0.01)
            self.running -= 1
            return executed(stdout="1")

    interpreter = Slow()

    async def go():
        jobs = []
        for _ in range(6):
            reasoner = ScriptedReasoner([BLOCK, "ok"], codec=CODEC)
            jobs.append(
                rollout(reasoner, interpreter, reasoner.render("?"), limits=RolloutLimits(), sampling=Sampling())
            )
        return await asyncio.gather(*jobs)

    assert all(made.stop_reason is StopReason.FINISHED for made in asyncio.run(go()))
    assert interpreter.most == 6


def test_unrun_code_is_none_when_text_follows_the_block():
    assert unrun_code(BLOCK) == "print(6 * 7)\n"
    assert unrun_code(BLOCK + "\n") == "print(6 * 7)\n"
    assert unrun_code(BLOCK + "and so on") is None
