from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from calmstorm import samples
from calmstorm.errors import InfrastructureError, InputError, UnfinishedError
from calmstorm.evaluation import evaluate, summarise
from calmstorm.interpreter import Limits
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import Execution, ExecutionStatus, LabelStatus, Problem, StopReason, Trajectory, VerdictStatus
from calmstorm.rollout import RolloutLimits


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PAUSES", (0.0, 0.0))


class EchoInterpreter:
    """Prints what the script's first line says after `#`."""

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        text = code.decode() if isinstance(code, bytes) else code
        return Execution(status=ExecutionStatus.OK, stdout=text.split("#")[1], wall_seconds=0.0, tier="unsafe")


def problems(count: int) -> list[Problem]:
    return [
        Problem(id=f"p{n}", question=f"How much is {n}?", answer=float(n), status=LabelStatus.OPTIMAL, suite="easy")
        for n in range(count)
    ]


def answering(prefix: Prefix, sampling: Sampling) -> str:
    """Runs a script, then boxes the number of the question."""
    number = prefix.text.split("How much is ")[1].split("?")[0]
    if "```output" in prefix.text:
        return f"\n\\boxed{{{number}}}"
    return f"Let me see.\n```python\n# {number}\n```\n"


def run(
    what: Iterator[Problem] | list[Problem], reasoner: ScriptedReasoner, **options: object
) -> tuple[int, list[Trajectory]]:
    out: list[Trajectory] = []
    settings: dict[str, object] = {
        "samples": 2,
        "limits": RolloutLimits(response_tokens=400),
        "sampling": Sampling(),
        "stage": "base",
        "on_trajectory": out.append,
        **options,
    }
    return asyncio.run(evaluate(what, reasoner, EchoInterpreter(), **settings)), out  # type: ignore[arg-type]


def test_every_sample_of_every_problem_is_run_and_graded() -> None:
    count, out = run(problems(3), ScriptedReasoner(answering, codec=ByteCodec()), concurrency=4)
    assert count == len({each.key for each in out}) == 6
    assert all(each.verdict and each.verdict.status is VerdictStatus.CORRECT for each in out)
    cell = summarise(out)
    assert (cell.pass_at_1, cell.problems, cell.samples, cell.code_blocks) == (1.0, 3, 2, 1.0)
    assert {each.suite for each in out} == {"easy"}


def test_what_is_done_is_not_run_again() -> None:
    _, first = run(problems(3), ScriptedReasoner(answering))
    count, rest = run(problems(4), ScriptedReasoner(answering), done={each.key for each in first})
    assert count == 2
    assert {each.problem_id for each in rest} == {"p3"}


def test_seeds_depend_on_problem_and_sample_and_not_on_order() -> None:
    def seeds(order: list[Problem], concurrency: int) -> dict[tuple[str, int], str]:
        def tell(prefix: Prefix, sampling: Sampling) -> str:
            return f"\\boxed{{{sampling.seed}}}"

        _, out = run(order, ScriptedReasoner(tell), concurrency=concurrency, seed=5)
        return {(each.problem_id, each.sample): str(each.answer) for each in out}

    forward = seeds(problems(4), 1)
    assert forward == seeds(problems(4)[::-1], 8)
    assert len(set(forward.values())) == 8


def test_problems_are_drawn_only_as_there_is_room() -> None:
    drawn = 0
    ahead: list[int] = []

    def endless() -> Iterator[Problem]:
        nonlocal drawn
        for problem in problems(50):
            drawn += 1
            yield problem

    finished = 0

    def count(trajectory: Trajectory) -> None:
        nonlocal finished
        finished += 1
        ahead.append(drawn - finished)

    run(endless(), ScriptedReasoner(answering), samples=1, concurrency=3, on_trajectory=count)
    assert finished == 50
    assert max(ahead) <= 3


def test_responses_are_shortened_to_the_context_and_prompts_without_room_are_recorded() -> None:
    long = Problem(id="long", question="x" * 500, answer=1.0, status=LabelStatus.OPTIMAL)
    rambling = ScriptedReasoner(lambda prefix, sampling: "word " * 100, codec=ByteCodec())
    _, out = run([*problems(1), long], rambling, samples=1, context_tokens=100)
    by_id = {each.problem_id: each for each in out}
    assert by_id["p0"].usage.completion_tokens == 100 - by_id["p0"].usage.prompt_tokens
    assert (by_id["long"].spans, by_id["long"].stop_reason) == ((), StopReason.LENGTH)
    assert by_id["long"].verdict is not None
    assert by_id["long"].verdict.status is VerdictStatus.NO_ANSWER


def failing_on(*bad: int) -> ScriptedReasoner:
    def script(prefix: Prefix, sampling: Sampling) -> str:
        if int(prefix.text.split("How much is ")[1].split("?")[0]) in bad:
            raise InfrastructureError("gone")
        return answering(prefix, sampling)

    return ScriptedReasoner(script)


def test_what_our_machinery_keeps_failing_is_reported_last_and_is_in_no_rate() -> None:
    out: list[Trajectory] = []
    failures: list[tuple[str, int, str]] = []
    with pytest.raises(UnfinishedError, match=r"2 of 4 samples are not finished \(gone\); the rest is kept") as ended:
        run(
            problems(4),
            failing_on(1, 3),
            samples=1,
            concurrency=1,
            on_trajectory=out.append,
            on_failure=lambda problem, sample, reason: failures.append((problem.id, sample, reason)),
        )
    assert ended.value.finished == 2
    with pytest.raises(UnfinishedError, match="2 of 4 samples") as again:
        run(problems(4), failing_on(1, 3), samples=1, done={each.key for each in out if not each.is_failure})
    assert again.value.finished == 2
    assert failures == [("p1", 0, "gone"), ("p3", 0, "gone")] * 3
    assert [each.problem_id for each in out] == ["p0", "p2", "p1", "p3"]
    assert [each.is_failure for each in out] == [False, False, True, True]
    cell = summarise(out)
    assert (cell.pass_at_1, cell.problems, cell.infrastructure) == (1.0, 2, 2)


def test_what_fails_for_a_while_is_tried_again_and_finished() -> None:
    calls: Counter[str] = Counter()

    def script(prefix: Prefix, sampling: Sampling) -> str:
        calls[prefix.text] += 1
        if calls[prefix.text] == 1 and "```output" not in prefix.text and "is 1?" in prefix.text:
            raise InfrastructureError("gone")
        return answering(prefix, sampling)

    count, out = run(problems(4), ScriptedReasoner(script), samples=1, concurrency=2)
    assert count == 4
    assert {each.problem_id for each in out} == {f"p{n}" for n in range(4)}


def test_an_evaluation_ends_when_nothing_works_any_more_and_keeps_what_worked() -> None:
    out: list[Trajectory] = []
    with pytest.raises(InfrastructureError, match=r"8 samples in a row failed \(gone\); 5 were finished"):
        run(problems(100), failing_on(*range(5, 100)), samples=1, concurrency=2, on_trajectory=out.append)
    assert {each.problem_id for each in out} == {f"p{n}" for n in range(5)}


def test_trouble_with_one_sample_does_not_cost_the_others() -> None:
    def script(prefix: Prefix, sampling: Sampling) -> str:
        if "is 1?" in prefix.text:
            raise KeyError("choices")
        return answering(prefix, sampling)

    out: list[Trajectory] = []
    with pytest.raises(UnfinishedError, match=r"1 of 4 samples are not finished .internal error: KeyError: 'choices'"):
        run(problems(4), ScriptedReasoner(script), samples=1, on_trajectory=out.append)
    assert [each.problem_id for each in out if not each.is_failure] == ["p0", "p2", "p3"]


def test_what_concerns_every_sample_ends_the_evaluation_at_once() -> None:
    asked = 0

    def script(prefix: Prefix, sampling: Sampling) -> str:
        nonlocal asked
        asked += 1
        raise InputError("the key is refused")

    with pytest.raises(InputError, match="the key is refused"):
        run(problems(50), ScriptedReasoner(script), concurrency=2)
    assert asked <= 2


def test_an_error_of_the_caller_stops_all_workers() -> None:
    def refuse(trajectory: Trajectory) -> None:
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        run(problems(20), ScriptedReasoner(answering), on_trajectory=refuse)
