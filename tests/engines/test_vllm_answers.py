"""The same model on vLLM and in this process: the same tokens, the same probabilities."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
import torch

from calmstorm.interpreter import Interpreter
from calmstorm.problems.generator import EASY_SIZES, generate
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.opening import pocket_directory
from calmstorm.reasoner.protocol import Reasoner, Sampling
from calmstorm.reasoner.server import ServerReasoner
from calmstorm.records import Author, Span, SpanKind
from calmstorm.rollout import Rollout, RolloutLimits, rollout
from calmstorm.rollout.spans import cut, make_span, response_ids
from calmstorm.settings import ServerSettings
from calmstorm.training.cpu.scoring import score
from tests.engines.vllm_server import VllmServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(600)]

LIMITS = RolloutLimits(response_tokens=768, wall_seconds=10.0)
NEAR = 1e-3
"""How far log-probabilities of two engines in float32 may lie apart, nats; 3e-5 was seen."""
HINT = "\nLet me look at this again.\n"


def roll_out(
    reasoner: Reasoner, questions: Sequence[str], sampling: Sampling, given: Sequence[Sequence[Span]] = ()
) -> list[Rollout]:
    """Lets a Reasoner solve problems, or go on with given responses, all at once, and closes it."""

    async def solve() -> list[Rollout]:
        try:
            with Interpreter(workers=1) as interpreter:
                tasks = (
                    rollout(
                        reasoner, interpreter, reasoner.render(question), limits=LIMITS, sampling=sampling, spans=spans
                    )
                    for question, spans in zip(questions, given or [()] * len(questions), strict=True)
                )
                return list(await asyncio.gather(*tasks))
        finally:
            await reasoner.close()

    return asyncio.run(solve())


@pytest.fixture(scope="module")
def questions() -> list[str]:
    return [problem.question for problem in generate(40, seed=5, suite="easy", sizes=EASY_SIZES)]


def on_server(server: VllmServer) -> ServerReasoner:
    return ServerReasoner(
        server.url,
        server.name,
        tokenizer=str(pocket_directory()),
        prompt="pocket-1",
        settings=ServerSettings(sampled_logprobs=True),
    )


def test_greedy_responses_are_those_of_the_local_engine_token_by_token(vllm: VllmServer, questions: list[str]) -> None:
    greedy = Sampling(temperature=0.0)  # of which no log-probabilities are asked
    served = roll_out(on_server(vllm), questions, greedy)
    local = roll_out(LocalReasoner(pocket_directory()), questions, greedy)
    assert [response_ids(rollout.spans) for rollout in served] == [response_ids(rollout.spans) for rollout in local]
    assert [rollout.stop_reason for rollout in served] == [rollout.stop_reason for rollout in local]
    assert sum(bool(rollout.executions) for rollout in served) >= 30  # there was code to run, and output to go on from


def test_sampled_log_probabilities_are_those_that_training_computes(vllm: VllmServer, questions: list[str]) -> None:
    warm = Sampling(temperature=0.6, top_p=1.0, seed=3)
    model = LocalReasoner(pocket_directory()).model
    apart: list[float] = []
    for rollout_ in roll_out(on_server(vllm), questions[:8], warm):
        prompt, response = rollout_.prompt.token_ids or (), response_ids(rollout_.spans)
        ids = torch.tensor([[*prompt, *response]])
        with torch.no_grad():
            scored = score(model, ids, torch.ones_like(ids), len(response), temperature=0.6)[0][0].tolist()
        place = 0
        for span in rollout_.spans:
            own = scored[place : place + len(span.token_ids or ())]
            place += len(own)
            if span.author is Author.REASONER:
                assert span.logprobs is not None
                apart += [abs(there - here) for there, here in zip(span.logprobs, own, strict=True)]
    assert len(apart) > 8 * 100
    print(f"{len(apart)} log-probabilities are at most {max(apart):.1e} apart")
    assert max(apart) < NEAR


def test_rollouts_resumed_from_a_hint_are_found_in_the_servers_prefix_cache(
    vllm: VllmServer, questions: list[str]
) -> None:
    greedy = Sampling(temperature=0.0)
    first = roll_out(on_server(vllm), questions[:12], greedy)
    reasoner = on_server(vllm)
    hint = make_span(Author.INTERVENER, SpanKind.HINT, HINT, reasoner.codec)
    kept = [cut(made.spans, sum(len(span.text) for span in made.spans) * 2 // 3, reasoner.codec) for made in first]
    before = vllm.metrics()
    again = roll_out(reasoner, questions[:12], greedy, [(*spans, hint) for spans in kept])
    after = vllm.metrics()
    assert all(len(made.spans) > len(spans) + 1 for made, spans in zip(again, kept, strict=True))
    hits, asked = (after[name] - before[name] for name in ("vllm:prefix_cache_hits", "vllm:prefix_cache_queries"))
    assert asked > 12 * 100
    print(f"{hits / asked:.0%} of {asked:.0f} prompt tokens were in the cache")
    assert hits / asked > 0.7
