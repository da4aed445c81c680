from __future__ import annotations

import asyncio
import json
import random

import pytest
import torch

from calmstorm.errors import InfrastructureError, InputError
from calmstorm.reasoner.engine.scheduler import EngineSettings
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import CompletionStop, Prefix, Reasoner, Sampling
from calmstorm.settings import LocalSettings

GREEDY = Sampling(temperature=0)


def random_ids(length: int, seed: int) -> tuple[int, ...]:
    rng = random.Random(seed)
    return tuple(rng.randrange(3, 300) for _ in range(length))


def prefix(ids) -> Prefix:
    return Prefix(text="", token_ids=tuple(ids))


def greedy_by_transformers(model, ids, count: int) -> list[int]:
    with torch.no_grad():
        out = model.generate(
            torch.tensor([ids]), max_new_tokens=count, do_sample=False, attention_mask=torch.ones(1, len(ids)).long()
        )
    return out[0, len(ids) :].tolist()


def reasoner_of(model, tokenizer, **settings) -> LocalReasoner:
    return LocalReasoner.from_model(model, tokenizer, prompt="pocket-1", settings=EngineSettings(**settings))


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 60))


async def ids_of(reasoner, ids, count: int, sampling: Sampling = GREEDY, stop=()) -> list[int]:
    completion = await reasoner.generate(prefix(ids), stop=stop, max_tokens=count, sampling=sampling)
    return list(completion.token_ids)


def test_is_a_reasoner(model, tokenizer):
    reasoner: Reasoner = reasoner_of(model, tokenizer)
    assert reasoner.codec is not None
    assert reasoner.codec.decode(reasoner.codec.encode("Größe {x}")) == "Größe {x}"


@pytest.mark.parametrize("max_sequences", [2, 40])
@pytest.mark.parametrize("prefill_tokens", [7, 1024])
def test_gives_the_greedy_tokens_of_transformers_when_prompts_join_at_different_times(
    model, tokenizer, max_sequences, prefill_tokens
):
    prompts = [random_ids(length, length) for length in (1, 3, 90, 17, 40, 5, 61, 33, 2, 120, 8, 9)]

    async def go():
        reasoner = reasoner_of(model, tokenizer, max_sequences=max_sequences, prefill_tokens=prefill_tokens)

        async def one(index):
            await asyncio.sleep(0.003 * (index % 5))
            return await ids_of(reasoner, prompts[index], 30 + index)

        results = await asyncio.gather(*(one(i) for i in range(len(prompts))))
        await reasoner.close()
        return results

    for index, result in enumerate(run(go())):
        assert result == greedy_by_transformers(model, prompts[index], 30 + index)


def test_gives_the_greedy_tokens_of_transformers_on_the_path_of_other_types_than_float32(tokenizer, make_model):
    model = make_model(tokenizer).double()  # the same products as in bfloat16 or on a GPU, but exact
    prompts = [random_ids(length, length) for length in (1, 50, 23, 130)]

    async def go():
        reasoner = reasoner_of(model, tokenizer)
        return await asyncio.gather(*(ids_of(reasoner, prompt, 40) for prompt in prompts))

    for prompt, result in zip(prompts, run(go()), strict=True):
        assert result == greedy_by_transformers(model, prompt, 40)


def test_loads_in_bfloat16_when_asked(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    async def go():
        reasoner = LocalReasoner(tmp_path, local=LocalSettings(dtype="bfloat16"), prompt="pocket-1")
        assert reasoner.model.dtype is torch.bfloat16
        result = await reasoner.generate(prefix(random_ids(60, 1)), stop=(), max_tokens=30, sampling=Sampling(seed=1))
        await reasoner.close()
        return result

    completion = run(go())
    assert all(-30 < value <= 0 for value in completion.logprobs)


def test_gives_the_greedy_tokens_of_transformers_when_tokens_are_fed_in_between_calls(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)

        async def one(index):
            sequence, rounds = list(random_ids(20 + 7 * index, index)), []
            for turn in range(4):
                given = tuple(sequence)
                drawn = await ids_of(reasoner, given, 12)
                rounds.append((given, drawn))
                sequence += drawn + list(random_ids(5 + index, 100 * turn + index))
            return rounds

        results = await asyncio.gather(*(one(i) for i in range(9)))
        counts = reasoner.counts
        await reasoner.close()
        return results, counts

    results, counts = run(go())
    for rounds in results:
        for given, drawn in rounds:
            assert drawn == greedy_by_transformers(model, given, 12)
    assert counts.reused > 0


def test_forwards_only_the_new_tokens_when_a_call_goes_on_from_a_retained_row(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)
        first = random_ids(200, 1)
        drawn = await ids_of(reasoner, first, 10)
        before = reasoner.counts.computed
        await ids_of(reasoner, (*first, *drawn, 5, 6, 7), 10)
        return before, reasoner.counts.computed - before

    before, after = run(go())
    assert before == 200 + 9
    assert after == (1 + 3) + 9  # the last drawn token and the three fed in, then nine of the ten drawn


def test_forwards_only_what_follows_the_cut_when_a_response_is_resumed_from_its_middle(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)
        first = random_ids(100, 1)
        drawn = await ids_of(reasoner, first, 40)
        before = reasoner.counts.computed
        resumed = (*first, *drawn[:20], 9, 8, 7)
        result = await ids_of(reasoner, resumed, 5)
        return resumed, result, reasoner.counts.computed - before

    resumed, result, forwarded = run(go())
    assert forwarded == 3 + 4
    assert result == greedy_by_transformers(model, resumed, 5)


def test_reads_a_prompt_once_when_many_samples_share_it(model, tokenizer):
    prompt = random_ids(150, 3)

    async def go():
        reasoner = reasoner_of(model, tokenizer)
        sampling = [Sampling(temperature=1.0, top_p=1.0, seed=s) for s in range(8)]
        results = await asyncio.gather(*(ids_of(reasoner, prompt, 10, s) for s in sampling))
        return results, reasoner.counts

    results, counts = run(go())
    assert len({tuple(r) for r in results}) == 8
    drawn_and_fed = sum(len(r) - 1 for r in results)
    assert counts.computed == 150 + 7 + drawn_and_fed  # each further sample forwards the last prompt token only


@pytest.mark.parametrize("top_p", [0.8, 1.0])
def test_draws_the_same_tokens_when_the_batch_company_differs(model, tokenizer, top_p):
    prompt = random_ids(30, 5)
    sampling = Sampling(temperature=0.9, top_p=top_p, seed=11)

    async def alone():
        reasoner = reasoner_of(model, tokenizer)
        return await ids_of(reasoner, prompt, 40, sampling)

    async def in_company():
        reasoner = reasoner_of(model, tokenizer, max_sequences=6)
        others = [ids_of(reasoner, random_ids(10 + 9 * i, i), 25, Sampling(temperature=1.2, seed=i)) for i in range(12)]
        return (await asyncio.gather(*others[:5], ids_of(reasoner, prompt, 40, sampling), *others[5:]))[5]

    assert run(alone()) == run(in_company())


def test_draws_differently_when_the_seed_differs(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)
        return [await ids_of(reasoner, random_ids(30, 5), 20, Sampling(temperature=1.0, seed=s)) for s in (1, 2, 1)]

    first, second, again = run(go())
    assert first == again != second


def test_reports_the_log_probabilities_of_a_plain_forward_pass(model, tokenizer):
    prompt = random_ids(25, 8)

    async def go():
        reasoner = reasoner_of(model, tokenizer)
        return await reasoner.generate(
            prefix(prompt), stop=(), max_tokens=30, sampling=Sampling(temperature=0.6, top_p=0.95, seed=3)
        )

    completion = run(go())
    whole = torch.tensor([[*prompt, *completion.token_ids]])
    with torch.no_grad():
        logits = model(whole).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(logits / 0.6, -1).gather(1, whole[0, len(prompt) :, None])[:, 0]
    assert torch.allclose(torch.tensor(completion.logprobs), expected, atol=1e-4)


def test_grows_and_sets_requests_aside_when_the_cache_memory_is_short(model, tokenizer):
    prompts = [random_ids(40 + i, i) for i in range(6)]
    bytes_per_position = 2 * 2 * 2 * 16 * 4

    async def go():
        # Room for four rows of 512 tokens, and for two once they have grown.
        reasoner = reasoner_of(model, tokenizer, cache_bytes=bytes_per_position * 2100)
        results = await asyncio.gather(*(ids_of(reasoner, p, 600) for p in prompts))
        return results, reasoner.counts

    results, counts = run(go())
    assert counts.preempted > 0
    for prompt, result in zip(prompts, results, strict=True):
        assert result == greedy_by_transformers(model, prompt, 600)


def test_stops_at_a_stop_string_that_spans_tokens(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)
        free = await ids_of(reasoner, random_ids(30, 2), 60, Sampling(temperature=1.5, top_p=1.0, seed=4))
        text = reasoner.codec.decode(free)
        for start in range(20, len(text) - 6):  # a passage that is plain and occurs only there
            wanted = text[start : start + 5]
            if wanted.isascii() and text.index(wanted) == start:
                break
        sampling = Sampling(temperature=1.5, top_p=1.0, seed=4)
        given = prefix(random_ids(30, 2))
        stopped = await reasoner.generate(given, stop=(wanted,), max_tokens=60, sampling=sampling)
        return text, wanted, stopped, free

    text, wanted, stopped, free = run(go())
    assert stopped.stop is CompletionStop.STOP_STRING
    assert wanted in stopped.text
    assert len(stopped.text) < len(text)
    assert free[: len(stopped.token_ids)] == list(stopped.token_ids)
    assert wanted not in tokenizer.decode(list(stopped.token_ids[:-1]))


def test_ends_the_turn_with_its_token_in_the_ids_but_not_in_the_text(tokenizer, make_model):
    model = make_model(tokenizer)
    with torch.no_grad():  # a model that says end-of-turn whatever it sees
        model.model.embed_tokens.weight[tokenizer.eos_token_id] = 0
        model.model.norm.weight.zero_()
        model.lm_head = torch.nn.Linear(48, len(tokenizer))
        model.lm_head.weight.zero_()
        model.lm_head.bias.zero_()
        model.lm_head.bias[tokenizer.eos_token_id] = 5

    async def go():
        reasoner = reasoner_of(model, tokenizer)
        return await reasoner.generate(prefix([5, 6]), stop=(), max_tokens=9, sampling=GREEDY)

    completion = run(go())
    assert completion.stop is CompletionStop.END_OF_TURN
    assert completion.token_ids == (tokenizer.eos_token_id,)
    assert completion.text == ""


def test_uses_the_new_weights_when_the_cache_is_reset(tokenizer, make_model):
    model, other = make_model(tokenizer, seed=1), make_model(tokenizer, seed=2)
    prompt = random_ids(40, 6)

    async def go():
        reasoner = reasoner_of(model, tokenizer)
        old = await ids_of(reasoner, prompt, 15)
        model.load_state_dict(other.state_dict())
        reasoner.reset_cache()
        return old, await ids_of(reasoner, (*prompt, *old), 15), (*prompt, *old)

    old, new, resumed = run(go())
    assert old == greedy_by_transformers(make_model(tokenizer, seed=1), prompt, 15)
    assert new == greedy_by_transformers(other, resumed, 15)


def test_goes_on_when_a_caller_is_cancelled(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer, max_sequences=2)
        doomed = [asyncio.create_task(ids_of(reasoner, random_ids(20, i), 1500)) for i in range(4)]
        await asyncio.sleep(0.05)
        for task in doomed:
            task.cancel()
        result = await ids_of(reasoner, random_ids(20, 9), 10)
        steps = reasoner.counts.steps
        await reasoner.close()
        return result, steps

    result, steps = run(go())
    assert result == greedy_by_transformers(model, random_ids(20, 9), 10)
    assert steps < 1500  # the cancelled requests did not run to their ends


def test_runs_no_more_sequences_at_once_than_allowed(model, tokenizer):
    async def go(limit: int) -> int:
        reasoner = reasoner_of(model, tokenizer, max_sequences=limit)
        await asyncio.gather(*(ids_of(reasoner, random_ids(5, i), 20) for i in range(6)))
        return reasoner.counts.steps

    assert run(go(2)) >= 3 * 20
    assert run(go(6)) < 2 * 20


def test_computes_a_long_prompt_over_several_steps(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer, prefill_tokens=50)
        await ids_of(reasoner, random_ids(200, 1), 1)
        return reasoner.counts.steps

    assert run(go()) == 4


def test_fails_running_requests_when_it_is_closed(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)
        task = asyncio.create_task(ids_of(reasoner, random_ids(20, 1), 1900))
        await asyncio.sleep(0.05)
        await reasoner.close()
        with pytest.raises(InfrastructureError, match="closed"):
            await task
        with pytest.raises(InfrastructureError, match="closed"):
            await ids_of(reasoner, random_ids(20, 1), 5)

    run(go())


def test_reports_an_engine_failure_when_the_model_gives_no_numbers(tokenizer, make_model):
    model = make_model(tokenizer)
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))

    async def go():
        reasoner = reasoner_of(model, tokenizer)
        with pytest.raises(InfrastructureError, match="not numbers"):
            await ids_of(reasoner, random_ids(20, 1), 5, Sampling(seed=1))

    run(go())


def test_says_what_to_change_when_the_request_is_longer_than_the_model(model, tokenizer):
    async def go():
        reasoner = reasoner_of(model, tokenizer)
        with pytest.raises(InputError, match="lower response_tokens"):
            await ids_of(reasoner, random_ids(20, 1), 5000)

    run(go())


def test_loads_a_directory_with_the_prompt_it_asks_for(model, tokenizer, tmp_path):
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "calmstorm.json").write_text(json.dumps({"prompt": "pocket-1"}))

    async def go():
        reasoner = LocalReasoner(tmp_path)
        rendered = reasoner.render("How {many} \\boxed{chairs}?")
        result = await ids_of(reasoner, random_ids(12, 1), 9)
        await reasoner.close()
        return rendered, result

    rendered, result = run(go())
    assert rendered.text == "<|im_start|>user\nHow {many} \\boxed{chairs}?<|im_end|>\n<|im_start|>assistant\n"
    assert rendered.token_ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>")
    assert result == greedy_by_transformers(model, random_ids(12, 1), 9)


def test_refuses_a_path_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match="check the path"):
        LocalReasoner(tmp_path / "nowhere")


def test_refuses_an_unknown_prompt(model, tokenizer):
    with pytest.raises(InputError, match="pocket-1"):
        LocalReasoner.from_model(model, tokenizer, prompt="pocket-9")
