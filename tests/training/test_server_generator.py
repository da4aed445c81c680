from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from calmstorm.errors import InfrastructureError, InputError, WorkError
from calmstorm.reasoner.local import LocalReasoner
from calmstorm.reasoner.protocol import Sampling
from calmstorm.settings import RlSettings, ServerSettings
from calmstorm.training import server_generator
from calmstorm.training.exports import is_tied
from calmstorm.training.generator import open_generator
from calmstorm.training.policy import load_policy
from calmstorm.training.server_generator import ServerGenerator, check_servers
from tests.reasoner import served_model
from tests.reasoner.completion_server import Fault
from tests.training.trained_server import TrainedDouble

QUICK = ServerSettings(retries=0, patience_seconds=0.5, start_seconds=20, connect_seconds=2, sampled_logprobs=True)
COMMAND = (sys.executable, "-S", str(served_model.__file__), "{port}", "{model}")


class Weights:
    """The weights of a model that is not trained."""

    def __init__(self, policy: LocalReasoner) -> None:
        self.policy = policy

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.policy.model.named_parameters())

    def save(self, directory: Path) -> None:
        self.policy.save(directory)


@pytest.fixture
def policy(random_model: Path) -> LocalReasoner:
    return load_policy(random_model)


def settings(*servers: TrainedDouble, **given: Any) -> RlSettings:
    urls = ",".join(server.url for server in servers) or None
    return RlSettings.model_validate({"generator": "server", "sync": "reload", "servers": urls, **given})


@asynccontextmanager
async def following(
    policy: LocalReasoner, rl: RlSettings, work: Path, server: ServerSettings = QUICK
) -> AsyncIterator[ServerGenerator]:
    generator = open_generator(policy, rl, server, work)
    assert isinstance(generator, ServerGenerator)
    try:
        yield generator
    finally:
        await generator.close()


def ask(generator: ServerGenerator, seed: int) -> Any:
    question = generator.reasoner.render("Q")
    sampling = Sampling(temperature=0.6, top_p=1.0, seed=seed)
    return generator.reasoner.generate(question, stop=(), max_tokens=40, sampling=sampling)


async def until(condition: Any, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


def test_each_step_every_server_loads_whole_weights_and_forgets_what_it_computed(
    policy: LocalReasoner, tmp_path: Path
) -> None:
    async def steps(one: TrainedDouble, other: TrainedDouble) -> None:
        async with following(policy, settings(one, other), tmp_path) as generator:
            weights = Weights(policy)
            for step in (1, 2, 3):
                await generator.sync(weights, step)
                for server in (one, other):
                    assert (Path(server.loaded[-1]) / "model.safetensors").is_file()
                    assert server.calls[-1] == ("/reset_prefix_cache", None)
                    assert server.version.endswith(f"-{step}")
            completion = await ask(generator, 1)
            assert completion.token_ids
            assert completion.logprobs

    with TrainedDouble() as one, TrainedDouble() as other:
        other.busy = 1  # an aborted request is still there
        asyncio.run(steps(one, other))
        assert [Path(place).name for place in one.loaded] == ["weights-1", "weights-0", "weights-1"]
        assert one.loaded == other.loaded


def test_a_server_that_comes_back_with_other_weights_is_not_asked_before_it_has_the_steps_own(
    policy: LocalReasoner, tmp_path: Path
) -> None:
    async def steps(one: TrainedDouble, other: TrainedDouble) -> None:
        async with following(policy, settings(one, other), tmp_path) as generator:
            await generator.sync(Weights(policy), 1)
            one.stop()
            await asyncio.gather(*(ask(generator, seed) for seed in range(4)))  # the other takes over
            assert generator.lost
            one.restart()
            probes = one.probes
            await until(lambda: one.probes > probes + 1)  # it was found, and seen to have other weights
            before = one.count
            await asyncio.gather(*(ask(generator, seed) for seed in range(4)))
            assert one.count == before
            await generator.sync(Weights(policy), 1)
            assert not generator.lost
            before = one.count
            await asyncio.gather(*(ask(generator, seed) for seed in range(10, 20)))
            assert one.count > before

    with TrainedDouble() as one, TrainedDouble() as other:
        asyncio.run(steps(one, other))
        assert len(one.loaded) == len(other.loaded) == 2


def test_a_server_that_was_only_out_of_reach_is_asked_again(policy: LocalReasoner, tmp_path: Path) -> None:
    async def steps(server: TrainedDouble) -> None:
        async with following(policy, settings(server), tmp_path, QUICK.model_copy(update={"retries": 3})) as generator:
            await generator.sync(Weights(policy), 1)
            server.stop()
            asyncio.get_running_loop().call_later(0.1, server.start)
            assert (await ask(generator, 1)).token_ids

    with TrainedDouble() as server:
        asyncio.run(steps(server))
        assert len(server.loaded) == 1


def test_rollouts_fail_and_the_generator_says_why_where_no_server_is_left(
    policy: LocalReasoner, tmp_path: Path
) -> None:
    async def steps(server: TrainedDouble) -> None:
        async with following(policy, settings(server), tmp_path) as generator:
            await generator.sync(Weights(policy), 1)
            server.stop()
            with pytest.raises(InfrastructureError):
                await ask(generator, 1)
            assert generator.lost
            with pytest.raises(WorkError, match=r"could not be reached for 0\.5 seconds: start it"):
                await generator.sync(Weights(policy), 1)
            server.restart()
            await generator.sync(Weights(policy), 1)
            assert (await ask(generator, 1)).token_ids

    with TrainedDouble() as server:
        asyncio.run(steps(server))


def refused(policy: LocalReasoner, tmp_path: Path, server: TrainedDouble, **given: Any) -> str:
    async def begin() -> None:
        async with following(policy, settings(server, **given), tmp_path) as generator:
            await generator.sync(Weights(policy), 1)

    with server, pytest.raises((InputError, WorkError)) as caught:
        asyncio.run(begin())
    return str(caught.value)


def test_a_server_that_takes_no_weights_is_refused_with_what_makes_it(policy: LocalReasoner, tmp_path: Path) -> None:
    assert "VLLM_SERVER_DEV_MODE=1" in refused(policy, tmp_path, TrainedDouble(development=False))


def test_a_server_that_reports_other_log_probabilities_is_refused(policy: LocalReasoner, tmp_path: Path) -> None:
    server = TrainedDouble()
    server.information = {"vllm_config": {"model_config": {"logprobs_mode": "raw_logprobs"}}}
    assert "--logprobs-mode processed_logprobs" in refused(policy, tmp_path, server)


def test_a_reload_that_keeps_failing_ends_the_step_in_one_line(policy: LocalReasoner, tmp_path: Path) -> None:
    server = TrainedDouble()
    server.refuse = Fault(500, b'{"error": {"message": "no such directory"}}')
    message = refused(policy, tmp_path, server)
    assert "no such directory" in message
    assert "has to see" in message
    assert "\n" not in message
    assert len(server.loaded) == 3


def test_a_server_whose_output_shares_the_input_matrix_is_refused_and_shown_what_to_serve(
    policy: LocalReasoner, tmp_path: Path
) -> None:
    policy.model.config.tie_word_embeddings = True
    policy.model.tie_weights()
    server = TrainedDouble()
    message = refused(policy, tmp_path, server)
    start = tmp_path / "served" / "start"
    assert f"start it on {start}" in message
    assert not is_tied(start)
    assert (start / "tokenizer.json").is_file()
    again = TrainedDouble()
    again.information = {"vllm_config": {"model_config": {"model": str(start)}}}

    async def begin() -> None:
        async with following(policy, settings(again), tmp_path) as generator:
            await generator.sync(Weights(policy), 1)

    with again:
        asyncio.run(begin())
    assert not is_tied(Path(again.loaded[0]))


def test_servers_of_ours_are_started_again_where_they_were(
    policy: LocalReasoner, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")  # of a launcher, for us alone
    monkeypatch.setattr(server_generator, "_POLL_SECONDS", 0.05)

    async def steps() -> None:
        own = QUICK.model_copy(update={"command": COMMAND})
        async with following(policy, settings(), tmp_path, own) as generator:
            await generator.sync(Weights(policy), 1)
            first = await ask(generator, 1)
            processes = generator._processes
            assert processes is not None
            (server,) = processes._servers
            assert server.process is not None
            killed = server.process.pid
            variables = Path(f"/proc/{killed}/environ").read_bytes().split(b"\0")
            assert b"VLLM_SERVER_DEV_MODE=1" in variables
            assert not any(variable.startswith(b"RANK=") for variable in variables)
            os.kill(killed, signal.SIGKILL)
            with pytest.raises(InfrastructureError):
                await ask(generator, 1)
            await generator.sync(Weights(policy), 1)
            assert await ask(generator, 1) == first
        assert server.process.poll() is not None

    asyncio.run(steps())
    assert "ended with status -9" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("given", "server", "message"),
    [
        ({"servers": None}, {}, "neither servers"),
        ({"servers": "gpu1"}, {}, "rl.servers is 'gpu1'"),
        ({}, {"text_only": True}, "server.text_only"),
        ({}, {"sampled_logprobs": False}, "server.sampled_logprobs=true"),
        ({"sync": "nccl"}, {}, "set rl.sync=reload"),
    ],
)
def test_what_rollouts_cannot_come_from_is_refused_at_once(
    given: dict[str, Any], server: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    rl = RlSettings.model_validate({"generator": "server", "servers": "http://gpu1:8000", "sync": "reload", **given})
    with pytest.raises(InputError, match=message):
        check_servers(rl, QUICK.model_copy(update=server))


def test_training_and_servers_have_gpus_of_their_own(
    policy: LocalReasoner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = QUICK.model_copy(update={"command": COMMAND})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,6,7")
    generator = ServerGenerator(policy, settings(processes=2, instances=2), own, tmp_path)
    assert generator._processes is not None
    assert generator._processes._gpus == ["6", "7"]
    with pytest.raises(InputError, match="lower one of them"):
        check_servers(settings(processes=4, instances=2), own)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_servers(settings(), own)  # one GPU for both


@pytest.fixture
def nccl(monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], list[list[str]]]:
    """Stand-ins for vLLM's group and broadcast: what was joined, and the names that were streamed."""
    joined: list[Any] = []
    streamed: list[list[str]] = []

    def broadcast(iterator: Any, group: Any, src: int, post_iter_func: Any) -> None:
        streamed.append([name for name, _ in iterator])

    def join(group: Any) -> object:
        joined.append(group)
        return group

    stand_ins: dict[str, dict[str, Any]] = {
        "vllm.distributed.weight_transfer.nccl_common": {"trainer_init": join},
        "vllm.distributed.weight_transfer.packed_tensor": {"packed_nccl_broadcast_producer": broadcast},
        "vllm.utils.network_utils": {"get_ip": lambda: "10.0.0.1"},
    }
    for name, content in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(server_generator, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    return joined, streamed


TRANSFERS = {"vllm_config": {"weight_transfer_config": {"backend": "nccl"}}}


def test_nccl_puts_trainer_and_all_workers_into_one_group_and_streams_once(
    policy: LocalReasoner, tmp_path: Path, nccl: tuple[list[Any], list[list[str]]]
) -> None:
    joined, streamed = nccl
    names = [name for name, _ in policy.model.named_parameters()]

    async def steps(servers: list[TrainedDouble]) -> None:
        async with following(policy, settings(*servers, sync="nccl"), tmp_path) as generator:
            for step in (1, 2):
                await generator.sync(Weights(policy), step)
            assert (len(joined), streamed) == (1, [names, names])
            servers[0].stop()
            servers[0].restart()
            await generator.sync(Weights(policy), 2)
            assert len(joined) == 2

    with ExitStack() as stack:
        doubles = [stack.enter_context(TrainedDouble()) for _ in range(2)]
        for double in doubles:
            double.information = TRANSFERS
        asyncio.run(steps(doubles))
    assert (joined[0]["world_size"], joined[0]["packed"]) == (5, True)
    begun = [[body["init_info"] for path, body in double.calls if path.startswith("/init")] for double in doubles]
    assert [[each["rank_offset"] for each in infos] for infos in begun] == [[1, 1], [3, 3]]
    assert all(info["master_port"] == joined[0]["master_port"] for info in (begun[0][0], begun[1][0]))
    first, step = "/init_weight_transfer_engine", ["/start_weight_update", "/update_weights", "/finish_weight_update"]
    step.append("/reset_prefix_cache")
    assert [path for path, _ in doubles[0].calls] == [first, *step, *step, first, *step]
    assert "/shutdown_weight_transfer_engine" in [path for path, _ in doubles[1].calls]
    update = next(body["update_info"] for path, body in doubles[0].calls if path == "/update_weights")
    assert update["names"] == names
    assert update["shapes"][0] == list(policy.model.model.embed_tokens.weight.shape)
    assert {*update["dtype_names"]} == {"float32"}


def test_a_server_that_takes_no_weights_by_nccl_is_refused(
    policy: LocalReasoner, tmp_path: Path, nccl: tuple[list[Any], list[list[str]]]
) -> None:
    assert "--weight-transfer-config" in refused(policy, tmp_path, TrainedDouble(), sync="nccl")


def test_weights_that_do_not_arrive_by_nccl_end_the_training(
    policy: LocalReasoner, tmp_path: Path, nccl: tuple[list[Any], list[list[str]]]
) -> None:
    server = TrainedDouble()
    server.information = TRANSFERS
    server.pages["/update_weights"] = lambda _: Fault(500, b'{"error": "cut"}')
    message = refused(policy, tmp_path, server, sync="nccl")
    assert "did not reach all servers" in message
    assert len(nccl[1]) == 1
