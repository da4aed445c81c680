"""verl's own training worker in this process, without Ray: what its real losses do to a model. Prints JSON.

Run in verl's environment, as a script: `python verl_worker.py <check>`.
"""

from __future__ import annotations

import json
import os
import runpy
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROMPT, RESPONSE, ROWS = 5, 12, 6
WRITTEN = [1] * 4 + [0] * 3 + [1] * 5
"""Of each response: the Reasoner wrote, the interpreter answered, the Reasoner went on."""


def set_up() -> None:
    """Makes this process the only rank of a training on a CPU."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {
        "CALM_VERL": "cpu",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }


def configuration(model: Path, objective: str, micro_batch: int, **carft: object) -> Any:
    """verl's whole configuration."""
    from hydra import compose, initialize_config_module

    from calmstorm.settings import CarftSettings, Recipe, RlSettings

    rl = RlSettings(objective=objective, prompts_per_step=1, mini_batch=1, samples=ROWS - 1, response_tokens=RESPONSE)
    recipe = Recipe(rl=rl, carft=CarftSettings(dimensions=8, **carft))
    actor, rollout = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
    with initialize_config_module("verl.trainer.config", version_base=None):
        return compose(
            "ppo_trainer",
            [
                f"+actor_rollout_ref.calmstorm='{recipe.model_dump_json()}'",
                f"actor_rollout_ref.model.path={model}",
                "actor_rollout_ref.model.use_remove_padding=False",
                "actor_rollout_ref.model.enable_gradient_checkpointing=False",
                "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
                f"{actor}.strategy=fsdp2",
                f"{actor}.optim.lr=1e-3",
                f"{actor}.use_kl_loss=False",
                f"{actor}.fsdp_config.model_dtype=fp32",
                f"+{actor}.fsdp_config.mixed_precision={{param_dtype:fp32,reduce_dtype:fp32,buffer_dtype:fp32}}",
                f"{actor}.fsdp_config.use_torch_compile=False",
                f"{actor}.use_dynamic_bsz=False",
                f"{actor}.ppo_mini_batch_size=1",
                f"{actor}.ppo_micro_batch_size_per_gpu={micro_batch}",
                f"{rollout}.log_prob_micro_batch_size_per_gpu={micro_batch}",
                f"{rollout}.name=calmstorm",
                f"{rollout}.n={ROWS}",
                "data.max_prompt_length=8",
                f"data.max_response_length={RESPONSE}",
                "trainer.device=cpu",
            ],
        )


def worker(kind: str, model: Path, micro_batch: int = ROWS, **carft: object) -> Any:
    """A worker with its model: verl's own, or the one of CARFT."""
    from verl.workers.engine_workers import ActorRolloutRefWorker

    from calmstorm.training.verl.carft import CarftWorker

    made = (CarftWorker if kind == "carft" else ActorRolloutRefWorker)(
        configuration(model, kind, micro_batch, **carft).actor_rollout_ref, role="actor"
    )
    made.init_model()
    return made


def batch(mask: list[int], gradient: Any = None, advantages: bool = True) -> Any:
    """Rows of one group, the last of them annotated; each response is written but for its middle."""
    import torch
    from tensordict import TensorDict
    from verl.utils import tensordict_utils

    from calmstorm.training.verl.rows import nested

    drawn = torch.Generator().manual_seed(1)

    def tokens(length: int) -> Any:
        return torch.randint(3, 200, (length,), generator=drawn)

    prompts = [tokens(PROMPT + row % 2) for row in range(ROWS)]
    responses = [tokens(RESPONSE - row % 3) for row in range(ROWS)]
    masks = [torch.tensor(mask[: len(response)]) for response in responses]
    masks[-1] = masks[-1] * 0
    signs = [float(advantages) * (1.0 if row % 2 else -0.5) for row in range(ROWS)]
    whole = [torch.cat(pair) for pair in zip(prompts, responses, strict=True)]
    fields = {
        "prompts": nested(prompts),
        "responses": nested(responses),
        "input_ids": nested(whole),
        "position_ids": nested([torch.arange(len(row)) for row in whole]),
        "response_mask": nested(masks),
        "loss_mask": nested(masks),
        "old_log_probs": nested([torch.full((len(row),), -5.0) for row in responses]),
        "advantages": nested([torch.full((len(row),), sign) for row, sign in zip(responses, signs, strict=True)]),
        "carft_views": nested([torch.tensor(WRITTEN[: len(row)]) for row in responses]),
        "carft_count": torch.ones(ROWS, dtype=torch.int64),
    }
    if gradient is not None:
        fields["carft_gradient"] = gradient
    data = TensorDict(fields, batch_size=ROWS)
    tensordict_utils.assign_non_tensor(
        data,
        calculate_entropy=False,
        distillation_use_topk=False,
        distillation_only=False,
        global_batch_size=ROWS,
        mini_batch_size=ROWS,
        epochs=1,
        seed=1,
        dataloader_kwargs={"shuffle": False},
        temperature=1.0,
    )
    return data


def weights(made: Any) -> dict[str, Any]:
    """The model's weights, whole."""
    return {name: weight.clone() for name, weight in made.actor.engine.get_per_tensor_param()[0]}


def some_gradient(scale: float) -> Any:
    """Derivatives by the embeddings, (B, V * E)."""
    import torch

    return scale * torch.randn(ROWS, ROWS * 8, generator=torch.Generator().manual_seed(2))


def gradient_of_tokens(kind: str, model: Path, mask: list[int]) -> dict[str, float]:
    """The largest derivative of the loss by a logit, over tokens that are learned and over those that are not."""
    made = worker(kind, model)
    seen: dict[str, Any] = {}

    def watch(module: Any, inputs: Any, output: Any) -> None:
        output.register_hook(lambda gradient: seen.__setitem__("logits", gradient))

    made.actor.engine.module.lm_head.register_forward_hook(watch)
    data = batch(mask, some_gradient(1.0) if kind == "carft" else None)
    lengths = data["prompts"].offsets().diff().tolist()
    made.update_actor(data)
    largest = {"learned": 0.0, "not_learned": 0.0}
    for row, prompt in enumerate(lengths):
        for place in range(RESPONSE - row % 3):
            name = "learned" if WRITTEN[place] and row < ROWS - 1 else "not_learned"
            by_logits = seen["logits"][row, prompt + place - 1]  # the logits that the token was drawn from
            largest[name] = max(largest[name], float(by_logits.abs().max()))
    return largest


def check_masked(model: Path) -> dict[str, Any]:
    """What each loss does to tokens that nobody learns, with the mask and without it."""
    masks = {"masked": WRITTEN, "unmasked": [1] * RESPONSE}
    return {
        f"{kind}_{name}": gradient_of_tokens(kind, model, mask)
        for kind in ("grpo", "carft")
        for name, mask in masks.items()
    }


def check_contrast(model: Path) -> dict[str, Any]:
    """How the weights after an update differ: by CARFT's part, and by the size of micro-batches."""
    import torch

    def updated(kind: str, gradient: Any = None, micro_batch: int = ROWS, advantages: bool = True) -> dict[str, Any]:
        made = worker(kind, model, micro_batch)
        # A plain step, so that what is compared is the gradient itself.
        engine = made.actor.engine
        engine.optimizer = torch.optim.SGD(engine.module.parameters(), 0.1)
        made.update_actor(batch(WRITTEN, gradient, advantages))
        return weights(made) | dict(made._head.named_parameters() if kind == "carft" else ())

    def apart(first: dict[str, Any], second: dict[str, Any]) -> float:
        return max(float((first[name] - second[name]).detach().abs().max()) for name in first if name in second)

    plain = updated("grpo")
    contrast = updated("carft", some_gradient(0.1), advantages=False)
    return {
        "without_derivatives": apart(plain, updated("carft", some_gradient(0.0))),
        "with_derivatives": apart(plain, updated("carft", some_gradient(0.1))),
        "by_micro_batches": apart(contrast, updated("carft", some_gradient(0.1), 2, advantages=False)),
        "by_the_whole_loss": apart(contrast, _by_hand(model)),
    }


def _by_hand(model: Path) -> dict[str, Any]:
    """The weights after the same step, with the contrastive part alone, computed without verl."""
    import torch
    from transformers import AutoModelForCausalLM

    from calmstorm.settings import derive_seed
    from calmstorm.training.carft.head import ContrastiveHead

    causal: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    head = ContrastiveHead(causal.config.hidden_size, 8, derive_seed(1, "contrastive head"))
    data, derivatives = batch(WRITTEN), some_gradient(0.1).view(ROWS, ROWS, 8)
    total = torch.zeros(())
    for row in range(ROWS):
        ids, prompt = data["input_ids"][row], len(data["prompts"][row])
        hidden = causal.model(ids[None]).last_hidden_state[0, prompt:]
        view = torch.tensor(WRITTEN[: len(hidden)]).bool()[None]
        total = total + (head(hidden, view) * derivatives[row, :1]).sum()
    total.backward()
    norm = torch.nn.utils.clip_grad_norm_(causal.parameters(), 1.0)
    assert norm > 0
    with torch.no_grad():
        for weight in causal.parameters():
            weight -= 0.1 * (0.0 if weight.grad is None else weight.grad)
    return dict(causal.state_dict())


def check_embeddings(model: Path) -> dict[str, Any]:
    """By how much embeddings differ where verl makes up micro-batches by their tokens and restores the order."""
    from verl.utils import tensordict_utils

    made = worker("carft", model)

    def embedded(**settings: object) -> Any:
        data = batch(WRITTEN)
        tensordict_utils.assign_non_tensor(data, compute_loss=False, **settings)
        return made.compute_log_prob(data)["carft_z"].to_padded_tensor(0.0)

    plain, mixed = embedded(), embedded(use_dynamic_bsz=True, max_token_len_per_gpu=40)
    rows_apart = (plain[0] - plain[1]).abs().max()
    return {"apart": float((plain - mixed).abs().max()), "rows_apart": float(rows_apart), "rows": len(plain)}


def check_checkpoint(model: Path) -> dict[str, Any]:
    """Whether a head comes back from a checkpoint, and its optimizer with it."""
    import torch

    first = worker("carft", model)
    first.update_actor(batch(WRITTEN, some_gradient(0.1)))
    with tempfile.TemporaryDirectory() as folder:
        first.save_checkpoint(folder, global_step=1)
        second = worker("carft", model)
        began = torch.equal(first._head.projection.weight, second._head.projection.weight)
        second.load_checkpoint(folder)
        files = sorted(path.name for path in Path(folder).iterdir())
    same = torch.equal(first._head.projection.weight, second._head.projection.weight)
    for made in (first, second):
        made.update_actor(batch(WRITTEN, some_gradient(0.2)))
    went_on = torch.equal(first._head.projection.weight, second._head.projection.weight)
    return {"began_the_same": began, "same": same, "went_on_the_same": went_on, "files": files}


def check_rows(model: Path) -> dict[str, Any]:
    """The rows that the agent loop gives where verl's servers fail, a prompt is too long, and for annotated ones."""
    import asyncio

    from transformers import AutoTokenizer
    from verl.experimental.agent_loop.agent_loop import DictConfigWrap

    from calmstorm.training.verl.agent_loop import CalmAgentLoop

    tiny = runpy.run_path(str(ROOT / "tests" / "training" / "tiny_model.py"))
    problem, golden = tiny["coin_problems"](1)[0], tiny["golden"](0, hint="Hint.")
    golden = golden.model_copy(update={"question": problem.question})

    class Servers:
        asked = 0

        async def generate(self, *given: Any, **named: Any) -> Any:
            self.asked += 1
            raise RuntimeError("No available servers in load balancer")

    config = configuration(model, "carft", ROWS)
    servers, tokenizer = Servers(), AutoTokenizer.from_pretrained(model)
    parameters = {"temperature": 1.0, "top_p": 1.0, "top_k": -1}

    def row(session: int, prompt: int, response: int) -> dict[str, Any]:
        config.actor_rollout_ref.rollout.prompt_length = prompt
        config.actor_rollout_ref.rollout.response_length = response
        loop = CalmAgentLoop(DictConfigWrap(config), servers, tokenizer, None, object, DictConfigWrap(config.data))
        info = {
            "index": 0,
            "problem": problem.model_dump_json(by_alias=True),
            "annotated": golden.model_dump_json(by_alias=True),
        }
        made = asyncio.run(loop.run(dict(parameters), extra_info=info, global_steps=3, session_id=session))
        return made.model_dump()

    return {
        "failed": row(0, 500, 400),
        "tries": servers.asked,
        "long": row(0, 8, 400),
        "annotated": row(ROWS - 1, 500, 400),
        "long_annotated": row(ROWS - 1, 500, 20),
        "response": [token for span in golden.trajectory.spans for token in span.token_ids],
    }


def check_advantages(model: Path) -> dict[str, Any]:
    """verl's own advantages of three rollouts: alone, with a failed row set apart, and with one that is not."""
    import numpy
    import torch
    from verl.protocol import DataProto
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    def advantages(rewards: list[float], groups: list[str], masks: list[int]) -> list[float]:
        scores = torch.zeros(len(rewards), 2)
        scores[:, -1] = torch.tensor(rewards)
        tensors = {"token_level_rewards": scores, "response_mask": torch.tensor(masks)[:, None].expand(-1, 2)}
        data = DataProto.from_dict(tensors=tensors, non_tensors={"uid": numpy.array(groups, dtype=object)})
        keys = [f"g_{place}_0" for place in range(len(rewards))]
        made = compute_advantage_for_multi_trajectories(data, keys, "grpo", num_repeat=len(rewards))
        return made.batch["advantages"][:, 0].tolist()

    return {
        "alone": advantages([1.0, 0.0, 0.0], ["g"] * 3, [1, 1, 1]),
        "apart": advantages([1.0, 0.0, 0.0, 0.0], ["g", "g", "g", "g-3"], [1, 1, 1, 0]),
        "within": advantages([1.0, 0.0, 0.0, 0.0], ["g"] * 4, [1, 1, 1, 0]),
    }


def check_interpreter(model: Path) -> dict[str, Any]:
    """What a node's interpreter prints before and after its actor dies, once to be restarted, once for good."""
    import asyncio

    import ray

    from calmstorm.errors import InfrastructureError
    from calmstorm.training.verl.interpreter import NodeRunner

    async def printed() -> list[str]:
        runner, said = NodeRunner(1, "unsafe"), []
        said.append((await runner.arun("print(1)")).stdout)
        ray.kill(runner._actor, no_restart=False)
        said.append((await runner.arun("print(2)")).stdout)
        ray.kill(runner._actor, no_restart=True)
        try:
            await runner.arun("print(3)")
        except InfrastructureError:
            said.append("lost")
        said.append((await runner.arun("print(4)")).stdout)
        return said

    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=100 * 2**20)
    try:
        return {"said": asyncio.run(printed())}
    finally:
        ray.shutdown()


if __name__ == "__main__":
    set_up()
    import verl  # noqa: F401  the plugin comes before anything of torch.distributed

    # by its path: verl's environment has a package of its own that is called `tests`
    write_tiny_model = runpy.run_path(str(ROOT / "tests" / "training" / "tiny_model.py"))["write_tiny_model"]
    with tempfile.TemporaryDirectory() as directory:
        found = globals()[f"check_{sys.argv[1]}"](write_tiny_model(Path(directory) / "model"))
    print("RESULT", json.dumps(found))
