"""The curation stage: outages, failures that stay open, budgets, and what is kept in memory and on disk."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from calmstorm import samples
from calmstorm.errors import BudgetSpentError, InfrastructureError, InputError, UnfinishedError, WorkError
from calmstorm.intervener.protocol import Intervener, Reviewed
from calmstorm.intervener.scripted import ScriptedIntervener
from calmstorm.reasoner.protocol import Prefix, Sampling
from calmstorm.reasoner.scripted import ByteCodec, ScriptedReasoner
from calmstorm.records import LabelStatus, Problem, Review, Stage, StopReason, Trajectory, Usage
from calmstorm.report.index import read_places
from calmstorm.runs import RunDirectory
from calmstorm.settings import CurationSettings, Recipe, load_recipe
from calmstorm.stages import curate, filter_golden
from tests.curation.curated_case import Runner, hesitant, strict

Script = Callable[[Prefix, Sampling], str]


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "PAUSES", (0.0, 0.0))


def problems(count: int) -> list[Problem]:
    return [
        Problem(id=f"p{n:03}", question=f"How much is {n}?", answer=400.0, status=LabelStatus.OPTIMAL)
        for n in range(count)
    ]


def recipe(**changes: object) -> Recipe:
    settings = {"rollout.concurrency": 4, **{key.replace("__", "."): value for key, value in changes.items()}}
    return load_recipe(None, {key: str(value) for key, value in settings.items()})


def curated(
    path: Path,
    count: int = 12,
    *,
    script: Script | None = None,
    intervener: Intervener | None = None,
    settings: Recipe | None = None,
) -> None:
    reasoner = ScriptedReasoner(script or hesitant(1), codec=ByteCodec())
    with RunDirectory(path) as run:
        work = curate(
            run, settings or recipe(), problems(count), reasoner, Runner(), intervener or ScriptedIntervener(strict)
        )
        asyncio.run(work)


def content(path: Path) -> dict[tuple, dict]:
    """Every stored trajectory by key, without how long it took; none may be there twice."""
    rows = [json.loads(line) for line in (path / "trajectories.jsonl").read_text().splitlines()]
    by_key = {(row["problem_id"], row["sample"], row["round"]): row for row in rows}
    assert len(by_key) == len(rows)
    for row in rows:
        row["usage"]["seconds"] = 0
    return by_key


def failures(path: Path) -> list[dict]:
    return [json.loads(line) for line in (path / "failures.jsonl").read_text().splitlines()]


class Outage:
    """A Reasoner's script that cannot be reached during some of its calls."""

    def __init__(self, calls: range) -> None:
        self.calls, self.count = calls, 0

    def __call__(self, prefix: Prefix, sampling: Sampling) -> str:
        self.count += 1
        if self.count - 1 in self.calls:
            raise InfrastructureError("http://reasoner is gone")
        return hesitant(1)(prefix, sampling)


def test_a_short_outage_costs_nothing_and_is_on_record(tmp_path: Path) -> None:
    curated(tmp_path / "whole")
    curated(tmp_path / "run", script=Outage(range(9, 13)))
    assert content(tmp_path / "run") == content(tmp_path / "whole")
    noted = failures(tmp_path / "run")
    assert len(noted) == 4
    assert {(row["stage"], row["reason"]) for row in noted} == {("curation", "http://reasoner is gone")}
    assert {row["round"] for row in noted} <= {0, 1}
    assert all(row["time"].endswith("+00:00") for row in noted)


def test_a_long_outage_ends_the_curation_and_resuming_finishes_it(tmp_path: Path) -> None:
    curated(tmp_path / "whole", 40)
    with pytest.raises(InfrastructureError, match=r"8 samples in a row failed \(http://reasoner is gone\); \d+ were"):
        curated(tmp_path / "run", 40, script=Outage(range(30, 10**9)))
    stored = content(tmp_path / "run")
    assert 0 < len(stored) < 30
    assert all(row["stop_reason"] != "infrastructure" for row in stored.values())
    assert 8 <= len(failures(tmp_path / "run")) < 8 + 4
    curated(tmp_path / "run", 40)
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_what_keeps_failing_is_counted_and_the_rest_is_kept(tmp_path: Path) -> None:
    def script(prefix: Prefix, sampling: Sampling) -> str:
        if "is 3?" in prefix.text and "HINT" in prefix.text:
            raise InfrastructureError("too long for the server")
        return hesitant(1)(prefix, sampling)

    with pytest.raises(UnfinishedError) as ended:
        curated(tmp_path, script=script)
    assert str(ended.value) == (
        "1 of 12 samples are not finished (too long for the server); the rest is kept: resume the run"
    )
    assert [(row["problem_id"], row["round"]) for row in failures(tmp_path)] == [("p003", 1)] * 3
    assert len(content(tmp_path)) == 23
    with RunDirectory(tmp_path) as run:
        assert filter_golden(run, STRICT).golden == 11
    with pytest.raises(UnfinishedError, match="1 of 12 samples") as again:
        curated(tmp_path, script=script)
    assert again.value.finished == 11
    curated(tmp_path)
    assert len(content(tmp_path)) == 24


def test_an_unforeseen_error_in_one_sample_does_not_cost_the_others(tmp_path: Path) -> None:
    class Broken(ScriptedIntervener):
        async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
            if problem.id == "p002":
                raise AttributeError("no such thing")
            return await super().review(problem, trajectory)

    with pytest.raises(UnfinishedError, match=r"1 of 12 .*internal error: AttributeError: no such thing"):
        curated(tmp_path, intervener=Broken(strict))
    assert len(content(tmp_path)) == 23


def test_a_sample_that_was_not_reviewed_is_open_and_not_flawed(tmp_path: Path) -> None:
    class Away(ScriptedIntervener):
        async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
            if problem.id == problems(1)[0].id or trajectory.round:
                raise InfrastructureError("away")
            return await super().review(problem, trajectory)

    with pytest.raises((UnfinishedError, InfrastructureError)):
        curated(tmp_path, 2, intervener=Away(strict))
    with RunDirectory(tmp_path) as run:
        assert filter_golden(run, STRICT).rejected == {"open": 2}


def test_a_full_disk_ends_the_curation_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = 0

    def full(self: RunDirectory, trajectory: Trajectory) -> None:
        nonlocal writes
        writes += 1
        raise WorkError("the disk is full")

    monkeypatch.setattr(RunDirectory, "append_trajectory", full)
    with pytest.raises(WorkError, match="the disk is full"):
        curated(tmp_path)
    assert writes <= 4  # no more than were in flight
    assert not (tmp_path / "failures.jsonl").exists()


def test_failures_that_an_older_version_stored_as_results_are_tried_again(tmp_path: Path) -> None:
    curated(tmp_path / "whole", 3)
    with RunDirectory(tmp_path / "old") as run:
        for problem in problems(3):
            run.append(
                "trajectories",
                Trajectory(
                    problem_id=problem.id,
                    sample=0,
                    stage=Stage.CURATION,
                    spans=(),
                    stop_reason=StopReason.INFRASTRUCTURE,
                ),
            )
    curated(tmp_path / "old", 3)
    with RunDirectory(tmp_path / "old", readonly=True) as run:
        assert sum(1 for _ in run.trajectories(Stage.CURATION)) == 6
        assert {place.stop_reason for place, _ in read_places(run)} == {StopReason.FINISHED}
    with RunDirectory(tmp_path / "old") as run:
        assert filter_golden(run, STRICT).golden == 3


def test_a_bounded_number_of_samples_is_in_hand_and_nothing_of_finished_ones(tmp_path: Path) -> None:
    most = 0

    def script(prefix: Prefix, sampling: Sampling) -> str:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        return hesitant(1)(prefix, sampling)

    curated(tmp_path, 50, script=script)
    assert most <= 4 + 1  # as many as are in flight, and the stage itself


def test_log_probabilities_are_not_stored(tmp_path: Path) -> None:
    curated(tmp_path, 1)
    spans = [span for row in content(tmp_path).values() for span in row["spans"]]
    assert all(span["token_ids"] for span in spans)
    assert all(span["logprobs"] is None for span in spans)


# ------------------------------------------------------------------ budgets


class Priced(ScriptedIntervener):
    """Takes 1,000 tokens in and 100 out for each review."""

    async def review(self, problem: Problem, trajectory: Trajectory) -> Reviewed:
        reviewed = await super().review(problem, trajectory)
        return reviewed.model_copy(update={"usage": Usage(prompt_tokens=1000, completion_tokens=100, seconds=2.0)})


STRICT = CurationSettings(golden="strict")
PRICES = '[{model = "m", input = 1.0, output = 10.0}, {model = "gemini-2.5-pro", input = 2.0, output = 20.0}]'


def test_cost_is_counted_by_prices_over_all_requests(tmp_path: Path) -> None:
    curated(tmp_path, 1, intervener=Priced(strict), settings=recipe(model='"m"', reasoner='"http://x"', prices=PRICES))
    with RunDirectory(tmp_path) as run:
        first, second = run.trajectories(Stage.CURATION)
        reviews = list(run.read("reviews", Review))
        funnel = filter_golden(run, STRICT)
    sent, drawn = first.requested()
    assert (sent, drawn) == (first.usage.prompt_tokens, first.usage.completion_tokens)  # one request
    assert first.usage.cost == pytest.approx((sent + 10 * drawn) / 1e6)
    kept = len("I model it.\nHINT: I code it.\n")
    script, output, answer = (span for span in second.spans[-3:])
    sizes = [len(span.token_ids or ()) for span in (script, output, answer)]
    prompt = second.usage.prompt_tokens
    assert second.requested() == (2 * (prompt + kept) + sizes[0] + sizes[1], sizes[0] + sizes[2])
    assert [review.usage.cost for review in reviews] == [pytest.approx((2 * 1000 + 20 * 100) / 1e6)] * 2
    assert funnel.intervener == Usage(prompt_tokens=2000, completion_tokens=200, seconds=4.0, cost=0.008)
    assert funnel.reasoner.cost == pytest.approx(first.usage.cost + second.usage.cost, abs=1e-6)


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"budget__cost": 0.03}, r"budget\.cost is 0\.03 dollars and 0\.03\d* are spent: raise it and resume; "),
        ({"budget__tokens": 300}, r"budget\.tokens is 300 and 3\d\d were drawn: raise it and resume; "),
        ({"budget__hours": 1e-9}, r"budget\.hours is 1e-09 and this call took .*: resume; "),
    ],
)
def test_a_spent_budget_stops_cleanly_and_a_higher_one_goes_on(
    tmp_path: Path, budget: dict[str, object], reason: str
) -> None:
    priced = {"model": '"m"', "reasoner": '"http://x"', "prices": PRICES}
    curated(tmp_path / "whole", intervener=Priced(strict), settings=recipe(**priced))
    with pytest.raises(BudgetSpentError, match=reason + r"\d+ samples were finished, and everything is kept"):
        curated(tmp_path / "run", intervener=Priced(strict), settings=recipe(**priced, **budget))
    stored = content(tmp_path / "run") if (tmp_path / "run" / "trajectories.jsonl").exists() else {}
    assert len(stored) < len(content(tmp_path / "whole"))
    with RunDirectory(tmp_path / "run") as run:  # what was in flight has ended its round
        assert sum(1 for _ in run.read("reviews", Review)) == len(stored)
    if "budget__hours" not in budget:
        with pytest.raises(BudgetSpentError):  # what an earlier call used counts
            curated(tmp_path / "run", intervener=Priced(strict), settings=recipe(**priced, **budget))
        assert len(stored) == len(content(tmp_path / "run"))
    curated(tmp_path / "run", intervener=Priced(strict), settings=recipe(**priced))
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_budget_that_is_spent_by_the_last_sample_is_no_failure(tmp_path: Path) -> None:
    curated(tmp_path / "whole", 2, settings=recipe(rollout__concurrency=1))
    with RunDirectory(tmp_path / "whole") as run:
        used = filter_golden(run, STRICT).reasoner.completion_tokens
    curated(tmp_path / "run", 2, settings=recipe(rollout__concurrency=1, budget__tokens=used))
    assert content(tmp_path / "run") == content(tmp_path / "whole")


def test_a_bound_on_cost_without_prices_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"prices name neither of Qwen/.* and gemini-2\.5-pro: give a price"):
        curated(tmp_path, settings=recipe(budget__cost=5))


def test_every_review_is_counted_once_over_resumes(tmp_path: Path) -> None:
    curated(tmp_path, 3, intervener=Priced(strict))
    curated(tmp_path, 3, intervener=Priced(strict))
    with RunDirectory(tmp_path) as run:
        asked = Counter((review.problem_id, review.round) for review in run.read("reviews", Review))
    assert set(asked.values()) == {1}
