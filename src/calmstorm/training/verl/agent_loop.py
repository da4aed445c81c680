"""The package's one rollout loop as an agent loop of verl: token ids, mask, log-probabilities and reward of a rollout.

The reward is set here, by the package's own grading, so verl's reward manager is never asked. A rollout that our
machinery failed is tried once more. If that fails too, or the prompt is too long to be trained on, the row stays in
its group with nothing in it that could be learned, and `trainer` keeps it out of the group's mean: verl would score a
missing reward as 0, and drop a whole group for one session that raises.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from ray.exceptions import RayError
from transformers import GenerationConfig
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput

from calmstorm.errors import InfrastructureError
from calmstorm.reasoner.codec import TokenizerCodec
from calmstorm.reasoner.prompting import chat, prompt_of_model, user_message
from calmstorm.reasoner.protocol import Completion, CompletionStop, Prefix, Sampling
from calmstorm.records import GoldenTrajectory, Problem
from calmstorm.settings import Recipe, derive_seed
from calmstorm.training.carft.annotated import encode_response
from calmstorm.training.rollouts import RolloutTask, make_rollout, token_record
from calmstorm.training.verl.interpreter import node_runner
from calmstorm.training.verl.recipe import RowInfo, is_contrastive, recipe_of

_log = logging.getLogger(__name__)


class VerlReasoner:
    """What verl's servers write, as the `Reasoner` of one rollout.

    verl sends all turns of one request id to the same server, whose prefix cache they share.
    """

    def __init__(self, servers: Any, tokenizer: Any, end_of_turn: frozenset[int], parameters: dict[str, Any]) -> None:  # noqa: ANN401
        self.name = "verl"
        self.codec = TokenizerCodec(tokenizer)
        self.versions: list[int] = []
        """Of the weights that wrote, as verl counts them."""
        self._servers, self._end_of_turn, self._parameters = servers, end_of_turn, parameters
        self._id = uuid4().hex

    def render(self, question: str) -> Prefix:
        """Is not asked: the agent loop renders the prompt."""
        raise NotImplementedError

    async def generate(self, prefix: Prefix, *, stop: Sequence[str], max_tokens: int, sampling: Sampling) -> Completion:
        """Continues `prefix`.

        Raises:
            InfrastructureError: The server failed, or gave the request up.
        """
        ids = list(prefix.token_ids or ())
        parameters = {
            **self._parameters,
            "max_tokens": max_tokens,
            "stop": list(stop),
            "include_stop_str_in_output": True,
            "seed": ((sampling.seed or 0) * 1_000_003 + len(ids)) % 2**31,  # turns of one rollout draw on their own
        }
        try:
            output = await self._servers.generate(self._id, prompt_ids=ids, sampling_params=parameters)
        except (RayError, RuntimeError) as error:  # RuntimeError: no server is left
            raise InfrastructureError(f"verl's server failed: {error}") from error
        if output.stop_reason in ("abort", "aborted"):
            raise InfrastructureError("verl's server gave a request up")
        known = (output.extra_fields.get(name) for name in ("min_global_steps", "max_global_steps"))
        self.versions += [version for version in known if version is not None]
        written = tuple(output.token_ids)
        ended = bool(written) and written[-1] in self._end_of_turn
        text = self.codec.decode(written[:-1] if ended else written)
        if ended:
            reason = CompletionStop.END_OF_TURN
        elif any(mark in text for mark in stop):
            reason = CompletionStop.STOP_STRING
        else:
            reason = CompletionStop.LENGTH
        logprobs = None if output.log_probs is None else tuple(output.log_probs)
        return Completion(text=text, token_ids=written, logprobs=logprobs, stop=reason)

    async def close(self) -> None:
        """The servers are verl's."""


class CalmAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Makes one row of verl's batch; verl makes one of these for each."""

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:  # noqa: ANN401
        """Makes one rollout and grades it.

        Args:
            sampling_params: How verl is configured to draw.
            row: Of the data, with verl's number of the step and of the session in its group.
        """
        recipe = recipe_of(self.config.actor_rollout_ref)
        info = RowInfo.model_validate(row["extra_info"])
        problem = info.read_problem()
        prompt = self._render(problem, recipe)
        task = RolloutTask(int(row["global_steps"]), problem, int(row["session_id"]), prompt)
        tokens, most = len(prompt.token_ids or ()), self.rollout_config.prompt_length
        if tokens > most:
            _log.warning("the prompt of %s has %d tokens, above prompt_tokens %d: left out", problem.id, tokens, most)
            return self._nothing(task)
        if is_contrastive(recipe) and task.sample == recipe.rl.samples and not info.held_out:
            return self._annotated(task, info.read_annotated())
        return await self._roll_out(task, recipe, sampling_params, "rl_evaluation" if info.held_out else "rl")

    def _render(self, problem: Problem, recipe: Recipe) -> Prefix:
        model = str(self.config.actor_rollout_ref.model.path)
        text = chat(self.tokenizer, user_message(recipe.prompt or prompt_of_model(Path(model)), problem.question))
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return Prefix(text=text, token_ids=tuple(ids))

    async def _roll_out(
        self, task: RolloutTask, recipe: Recipe, parameters: dict[str, Any], stage: str
    ) -> AgentLoopOutput:
        end_of_turn = _end_of_turn(str(self.config.actor_rollout_ref.model.path), self.tokenizer.eos_token_id)
        reasoner = VerlReasoner(self.server_manager, self.tokenizer, end_of_turn, parameters)
        made = await make_rollout(
            task,
            reasoner,
            node_runner(recipe.rollout.workers, recipe.rollout.tier),
            limits=recipe.rollout.model_copy(update={"response_tokens": self.rollout_config.response_length}),
            sampling=Sampling(
                temperature=parameters["temperature"],
                top_p=parameters["top_p"],
                top_k=max(0, parameters.get("top_k", 0)),
                seed=derive_seed(recipe.seed, stage, task.step, task.problem.id, task.sample),
            ),
        )
        if made.reward is None:
            _log.warning("rollout %d of %s says nothing: %s", task.sample, task.problem.id, made.rollout.failure)
            return self._nothing(task)
        record = token_record(made, self.tokenizer.eos_token_id)
        executions = len(made.rollout.executions)
        return AgentLoopOutput(
            prompt_ids=list(record.prompt_ids),
            response_ids=list(record.completion_ids),
            response_mask=[int(own) for own in record.written],
            response_logprobs=list(record.logprobs),
            reward_score=made.reward,
            num_turns=1 + 2 * executions,
            metrics=AgentLoopMetrics(),
            extra_fields={
                **_told("rollout", task, reasoner.versions),
                "executions": executions,
                "answered": record.answered,
                # verl counts an "acc" that is missing as wrong, so this has another name
                "reward_extra_info": {"solved": made.reward},
            },
        )

    def _annotated(self, task: RolloutTask, golden: GoldenTrajectory | None) -> AgentLoopOutput:
        """Returns the annotated trajectory of a problem as a row that the policy's loss does not see."""
        if golden is None or golden.question != task.problem.question:
            return self._nothing(task, "padding")
        model = str(self.config.actor_rollout_ref.model.path)
        end_of_turn = _end_of_turn(model, self.tokenizer.eos_token_id)
        response = encode_response(golden.trajectory, TokenizerCodec(self.tokenizer), end_of_turn)
        if len(response.token_ids) > self.rollout_config.response_length or not any(response.written):
            return self._nothing(task, "padding")
        row = self._nothing(task, "annotated")
        row.response_ids = list(response.token_ids)
        row.response_mask = [0] * len(response.token_ids)
        row.response_logprobs = [0.0] * len(response.token_ids)
        row.extra_fields["written"] = [int(own) for own in response.written]
        return row

    def _nothing(self, task: RolloutTask, kind: str = "failed") -> AgentLoopOutput:
        """Returns a row that nothing is learned from; it has one token, since verl allows no empty response."""
        return AgentLoopOutput(
            prompt_ids=list(task.prompt.token_ids or ())[-self.rollout_config.prompt_length :],
            response_ids=[self.tokenizer.eos_token_id],
            response_mask=[0],
            response_logprobs=[0.0],
            reward_score=0.0,
            num_turns=0,
            metrics=AgentLoopMetrics(),
            extra_fields=_told(kind, task, []),
        )


def _told(kind: str, task: RolloutTask, versions: Sequence[int]) -> dict[str, Any]:
    """Returns what the driver is told of a row (`rows.Row`), and verl of the weights that wrote it."""
    return {
        "kind": kind,
        "sample": task.sample,
        "executions": 0,
        "answered": False,
        "written": [],
        "reward_extra_info": {"solved": None},
        "min_global_steps": min(versions, default=task.step - 1),
        "max_global_steps": max(versions, default=task.step - 1),
    }


@lru_cache(maxsize=4)
def _end_of_turn(model: str, token: int) -> frozenset[int]:
    """Returns the end-of-turn ids of the tokenizer and the generation settings together, at which servers stop."""
    try:
        configured = GenerationConfig.from_pretrained(model).eos_token_id
    except OSError:  # a model need not have generation settings
        configured = None
    named = {token, *(configured if isinstance(configured, list) else [configured])}
    return frozenset(int(name) for name in named if name is not None)
