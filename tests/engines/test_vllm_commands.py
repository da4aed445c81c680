"""The commands of a user on a real server: curate, golden, sft, eval and solve, with token ids throughout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from calmstorm.reasoner.opening import pocket_directory
from calmstorm.records import Author, Trajectory
from tests.engines.calm_command import calm, keys, require_whole_curation, rows
from tests.engines.vllm_server import VllmServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]

PROBLEMS = 24


@dataclass(frozen=True)
class Curated:
    """What a curation through the server left."""

    run: Path
    problems: Path
    log: Path
    before: dict[str, float]
    """Counters of the server."""
    after: dict[str, float]


def served(server: VllmServer) -> tuple[str, ...]:
    """The options that name the pocket model behind a server."""
    return ("--reasoner", server.url, "--model", server.name, "--tokenizer", str(pocket_directory()))


@pytest.fixture(scope="module")
def curated(vllm: VllmServer, tmp_path_factory: pytest.TempPathFactory) -> Curated:
    folder = tmp_path_factory.mktemp("served")
    run, problems, log = folder / "run", folder / "problems.jsonl", folder / "calm.log"
    calm("problems", "generate", "--count", PROBLEMS, "--side", "adapt", "--out", problems, log=log)
    before = vllm.metrics()
    words = ("--recipe", "pocket", "--set", f'base="{pocket_directory()}"', *served(vllm))
    calm("curate", "--problems", problems, "--run", run, *words, log=log)
    return Curated(run, problems, log, before, vllm.metrics())


def test_every_sample_is_curated_with_token_ids(curated: Curated) -> None:
    problems = [row["id"] for row in rows(curated.problems.parent, "problems")]
    assert len(problems) == PROBLEMS
    require_whole_curation(curated.run, problems)
    trajectories = [Trajectory.model_validate(row) for row in rows(curated.run, "trajectories")]
    assert all(span.token_ids is not None for trajectory in trajectories for span in trajectory.spans)
    authors = {span.author for trajectory in trajectories for span in trajectory.spans}
    assert authors == {*Author}  # there were attempts, executions and hints


def test_the_server_finds_most_of_what_it_is_sent_in_its_cache(curated: Curated) -> None:
    grown = {name: curated.after[name] - curated.before[name] for name in curated.after}
    assert grown["vllm:prefix_cache_hits"] / grown["vllm:prefix_cache_queries"] > 0.6


def test_golden_trajectories_are_filtered_and_trained_on(curated: Curated) -> None:
    funnel = calm("golden", curated.run, "--json", log=curated.log)
    assert funnel["golden"] == len(rows(curated.run, "golden")) >= 4
    trained = calm("sft", curated.run, "--set", "sft.epochs=1", "--json", log=curated.log)
    assert (Path(trained["model"]) / "model.safetensors").is_file()
    steps = rows(curated.run, "sft")
    assert steps
    assert all(0 < step["loss"] < 3 for step in steps)  # what it wrote itself, it finds likely


def test_a_greedy_evaluation_has_the_answers_of_the_local_engine(vllm: VllmServer, curated: Curated) -> None:
    words = ("--problems", curated.problems, "--samples", 1, "--temperature", 0, "--json")
    recipe = ("--recipe", "pocket")
    there = calm("eval", *words, *recipe, *served(vllm), log=curated.log)
    here = calm("eval", *words, *recipe, "--reasoner", "pocket", log=curated.log)
    assert there["results"] == here["results"]
    assert there["summary"]["pass_at_1"] == here["summary"]["pass_at_1"] > 0


def test_a_problem_is_solved_by_the_server(vllm: VllmServer, curated: Curated) -> None:
    right = {
        row["problem_id"]
        for row in rows(curated.run, "trajectories")
        if row["round"] == 0 and row["verdict"]["correct"]
    }
    problem = next(row for row in rows(curated.problems.parent, "problems") if row["id"] in right)
    solution = calm("solve", problem["question"], *served(vllm), "--json", log=curated.log)
    assert solution["answer"] == pytest.approx(problem["answer"], rel=1e-3)


def test_resuming_a_finished_curation_asks_nothing(vllm: VllmServer, curated: Curated) -> None:
    before, asked = keys(curated.run, "trajectories"), vllm.metrics()["vllm:request_success"]
    calm("curate", "--problems", curated.problems, "--run", curated.run, "--resume", log=curated.log)
    assert keys(curated.run, "trajectories") == before
    assert vllm.metrics()["vllm:request_success"] == asked
