"""The paper's limits on a model with a real vocabulary: 16,384 tokens, 4 executions, a context of 40,960.

The model is random, so no answer of it is right and no trajectory of it golden; what is tested is that responses of
this length are drawn, graded, reviewed, cut, resumed and stored, and that a training step can be made of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from calmstorm.reasoner.codec import TokenizerCodec
from calmstorm.records import Author, Trajectory
from tests.engines.calm_command import calm, last_lines, require_whole_curation, rows
from tests.engines.qwen_model import save_random_model
from tests.engines.scripted_models import (
    REVIEWER,
    chat_reply,
    correction,
    hints_needed,
    reasoner_server,
    reviewer_server,
    write_problems,
)
from tests.reasoner.completion_server import Call, CompletionServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(6000)]

RESPONSE_TOKENS = 16_384
PROBLEMS = 2
RECIPE = """
name = "long"
reasoner = "{model}"
problems = {{sft = {problems}, rl = 1, easy = 0, complex = 0}}
intervener = {{kind = "llm", model = "{reviewer}"}}
rl = {{steps = 1, prompts_per_step = 1, mini_batch = 1, samples = 2}}
"""  # what is not named has the paper's value


@dataclass(frozen=True)
class LongRun:
    """What `calm run` left of the random model."""

    run: Path
    model: Path
    log: Path
    reviews: int
    """Requests that the reviewing model got."""


@pytest.fixture(scope="module")
def model(qwen_tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_random_model(qwen_tokenizer, tmp_path_factory.mktemp("qwen") / "model")


@pytest.fixture(scope="module")
def long_run(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LongRun]:
    folder = tmp_path_factory.mktemp("long")
    run, log, recipe = folder / "run", folder / "calm.log", folder / "long.toml"
    recipe.write_text(RECIPE.format(model=model, problems=PROBLEMS, reviewer=REVIEWER))
    with CompletionServer(Reviewer(run), models=(REVIEWER,), keep=False) as reviewer:
        calm(
            "run",
            recipe,
            "--run",
            run,
            log=log,
            seconds=3000,
            status=2,
            variables={"CALM_INTERVENER_URL": reviewer.url},
        )
        yield LongRun(run, model, log, reviewer.count)


class Reviewer:
    """Finds a flaw late in each first response, and none in resumed ones."""

    def __init__(self, run: Path) -> None:
        self._run = run

    def __call__(self, call: Call) -> dict[str, Any]:
        asked = call.body["messages"][0]["content"]
        trajectories = [Trajectory.model_validate(row) for row in rows(self._run, "trajectories")]
        latest = max((t for t in trajectories if t.response[-400:-200] in asked), key=lambda t: t.round)
        if latest.round:
            return chat_reply("<action>NO_INTERVENTION</action>")
        return chat_reply(correction(1, passage(latest.response), "I lose the thread. Let me write the model as code."))


def passage(response: str) -> str:
    """Returns a line's part in the last fifth of a response that stands there once."""
    for start in range(len(response) * 8 // 10, len(response), 50):
        words = response[start : start + 50]
        if "\n" not in words and "`" not in words and words == words.strip() and response.count(words) == 1:
            return words
    raise AssertionError("there is no passage to quote")


def test_responses_of_16384_tokens_end_by_length_and_are_graded(long_run: LongRun) -> None:
    first = [row for row in rows(long_run.run, "trajectories") if row["round"] == 0]
    assert len(first) == PROBLEMS
    for row in first:
        assert row["stop_reason"] == "length"
        assert row["usage"]["completion_tokens"] == RESPONSE_TOKENS
        assert sum(len(span["token_ids"]) for span in row["spans"]) == RESPONSE_TOKENS
        assert row["verdict"]["status"] in ("no_answer", "wrong")


def test_they_are_cut_at_a_flaw_and_resumed_from_a_hint(
    long_run: LongRun, qwen_tokenizer: PreTrainedTokenizerFast
) -> None:
    require_whole_curation(long_run.run, [row["id"] for row in rows(long_run.run, "problems")][:PROBLEMS])
    hints = {row["problem_id"]: row for row in rows(long_run.run, "interventions")}
    by_round = {(row["problem_id"], row["round"]): row for row in rows(long_run.run, "trajectories")}
    assert len(by_round) == 2 * PROBLEMS
    assert long_run.reviews == 2 * PROBLEMS
    codec = TokenizerCodec(qwen_tokenizer)
    for problem, hint in hints.items():
        before = Trajectory.model_validate(by_round[problem, 0])
        after = Trajectory.model_validate(by_round[problem, 1])
        assert after.response.startswith(before.response[: hint["position"]] + hint["hint"])
        assert after.usage.completion_tokens == RESPONSE_TOKENS
        kept = sum(len(span.text) for span in after.spans[: len(after.spans) - 1] if span.author is Author.REASONER)
        assert kept >= hint["position"] - 1
        own = [span.token_ids or () for span in before.spans]
        ids = [token for span in own for token in span]
        again = [token for span in after.spans for token in span.token_ids or ()]
        same = next(i for i, (one, other) in enumerate(zip(ids, again, strict=True)) if one != other)
        assert hint["position"] - len(codec.decode(ids[:same])) <= 20  # all but the token that was cut is kept


def test_a_run_without_golden_trajectories_ends_in_one_line_that_says_so(long_run: LongRun) -> None:
    assert not rows(long_run.run, "golden")
    assert "nothing to fine-tune on" in last_lines(long_run.log).splitlines()[-1]


def test_one_step_of_reinforcement_is_made_of_16384_tokens(long_run: LongRun) -> None:
    made = calm("rl", long_run.run, "--from", long_run.model, "--json", log=long_run.log, seconds=3000)
    assert (Path(made["model"]) / "model.safetensors").is_file()
    [step] = rows(long_run.run, "rl")
    assert step["response_tokens"] == RESPONSE_TOKENS
    assert step["reward"] == 0
    assert json.loads((Path(made["model"]) / "config.json").read_text())["vocab_size"] == 151_936


def test_a_step_of_fine_tuning_is_made_of_what_a_scripted_reasoner_wrote_in_these_tokens(
    model: Path, tmp_path: Path
) -> None:
    run, log = tmp_path / "run", tmp_path / "calm.log"
    ids = write_problems(tmp_path / "problems.jsonl", 8)
    with reasoner_server(model) as reasoner, reviewer_server() as reviewer:
        served = ("--reasoner", reasoner.url, "--model", "scripted", "--tokenizer", model)
        asked = ("--intervener", "llm", "--set", f'intervener.model="{REVIEWER}"')
        words = ("--problems", tmp_path / "problems.jsonl", "--run", run, *served, *asked)
        calm("curate", *words, log=log, variables={"CALM_INTERVENER_URL": reviewer.url})
    require_whole_curation(run, ids)
    assert len(rows(run, "golden")) == len(ids)
    assert len(rows(run, "interventions")) == sum(map(hints_needed, ids)) > 0
    made = calm("sft", run, "--from", model, "--set", "sft.epochs=1", "--json", log=log)
    [step] = rows(run, "sft")
    assert 5 < step["loss"] < 30  # it has learned nothing yet: about ln 151,936 = 11.9, and more where it is sure
    assert (Path(made["model"]) / "model.safetensors").is_file()
