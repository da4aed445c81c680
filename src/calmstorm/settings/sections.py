"""The sections of a recipe, with the paper's values as defaults (appendix E, tables 5 and 6)."""

from __future__ import annotations

from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from calmstorm.settings.base import Settings

S = TypeVar("S", bound=Settings)


def _divides(settings: S, part: str, whole: str) -> S:
    small, large = getattr(settings, part), getattr(settings, whole)
    if large % small:
        raise ValueError(
            f"{part} is {small}; it must divide {whole}, which is {large}: set {part} to a divisor of {large}"
        )
    return settings


class RolloutLimits(Settings):
    """Bounds of one attempt at one problem (paper appendix E)."""

    response_tokens: int = Field(16384, ge=1)
    """Tokens of the whole response, execution output and hints included."""
    executions: int = Field(4, ge=0)
    output_characters: int = Field(800, ge=40)
    """Characters of execution output shown to the Reasoner; more is cut in the middle, visibly."""
    wall_seconds: float = Field(10.0, gt=0)
    """Per execution."""
    memory_mb: int = Field(2048, ge=64)
    """Per execution, MiB."""


class RolloutSettings(RolloutLimits):
    """How attempts are made: within which bounds, how drawn, and how many at once."""

    temperature: float = Field(0.6, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    """Only the most probable tokens are drawn from; 0 means all, which the paper does not limit."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """Tokens less probable than this share of the most probable one are not drawn; 0 means all are."""
    concurrency: int = Field(64, ge=1)
    """Rollouts in flight at once."""
    workers: int = Field(2, ge=1)
    """Interpreter workers, processes."""
    tier: Literal["auto", "namespaces", "landlock", "unsafe"] = "auto"
    """Isolation of model-written code."""


class EndpointSettings(Settings):
    """How the servers of an OpenAI-compatible API are asked."""

    timeout_seconds: float = Field(600.0, gt=0)
    """Bound on one request; long responses take minutes."""
    connect_seconds: float = Field(10.0, gt=0)
    retries: int = Field(4, ge=0)
    """Further attempts after a failed request, with growing pauses, or those that the server asks for."""
    concurrency: int = Field(16, ge=1)
    """Requests in flight at once, on each server."""
    patience_seconds: float = Field(600.0, ge=0)
    """How long a server that does not answer at all is waited for before what was asked of it counts as failed."""


class ServerSettings(EndpointSettings):
    """How servers of the Reasoner are asked and, where a run starts them itself, started."""

    timeout_seconds: float = Field(1800.0, gt=0)
    concurrency: int = Field(64, ge=1)
    text_only: bool = False
    """Text goes in and out instead of token ids: good for curation by text and for evaluation, refused by training."""
    sampled_logprobs: bool = False
    """The server reports log-probabilities of the distribution it sampled from (vLLM: `--logprobs-mode
    processed_logprobs`). Unless it does, they are only recorded at temperature 1, where both are the same."""
    command: tuple[str, ...] = ()
    """Starts a server of a model, word by word; `{model}` stands for a model's directory or hub id, `{port}`
    for a free port. Empty where servers are started by hand."""
    instances: int = Field(1, ge=1)
    """Servers that `command` starts, one per GPU."""
    start_seconds: float = Field(900.0, gt=0)
    """How long a server may take until it answers."""

    @model_validator(mode="after")
    def _command_says_what_and_where(self) -> Self:
        missing = [mark for mark in ("{model}", "{port}") if not any(mark in word for word in self.command)]
        if self.command and missing:
            raise ValueError(
                f"command holds no {missing[0]}; it must say where model and port go: put {missing[0]} into a word"
            )
        return self


class LocalSettings(Settings):
    """How a model is loaded into this process."""

    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; `auto` takes a GPU where there is one."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` means bfloat16 on a GPU and float32 on a CPU."""
    cache_gib: float | None = Field(None, gt=0)
    """Memory of keys and values, GiB; None takes what is left of a GPU, or a share of free memory."""
    sequences: int = Field(128, ge=1)
    """Sequences decoded at once."""


class IntervenerSettings(EndpointSettings):
    """Who finds the first flaw, and how it is asked (paper appendix E)."""

    kind: Literal["rules", "llm", "rules+llm", "human"] = "rules"
    """`llm` is `model` behind the endpoint that CALM_INTERVENER_URL names; `rules+llm` asks it where rules abstain."""
    model: str = "gemini-2.5-pro"
    temperature: float | Literal["default"] = Field(1.0)
    """`default` leaves it out of requests: some models refuse any value."""
    top_p: float | Literal["default"] = Field(0.95)
    """As `temperature`."""
    attempts: int = Field(3, ge=1)
    """Replies asked for until one can be used; then the review counts as failed."""
    review: Literal["whole", "steps"] = "whole"
    """`whole` reviews finished responses, as in the paper; `steps` reviews as soon as a code block has run."""

    @model_validator(mode="after")
    def _sampling_is_possible(self) -> Self:
        if self.temperature != "default" and not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature is {self.temperature}; it must be 0 to 2, or 'default': correct temperature")
        if self.top_p != "default" and not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}; it must be above 0 and at most 1, or 'default': correct top_p")
        return self


class BudgetSettings(Settings):
    """What a curation may take before it stops cleanly; it goes on from there when it is resumed with more."""

    cost: float | None = Field(None, gt=0)
    """US dollars by `prices`, of Reasoner and Intervener together, over the whole run."""
    tokens: int | None = Field(None, ge=1)
    """Tokens of responses, over the whole run."""
    hours: float | None = Field(None, gt=0)
    """Of one call."""


class Price(Settings):
    """What a model costs, US dollars per million tokens."""

    model: str
    input: float = Field(0.0, ge=0)
    output: float = Field(0.0, ge=0)


class CurationSettings(Settings):
    """The hint loop and the golden filter (paper section 3.2)."""

    samples: int = Field(1, ge=1)
    """Trajectories curated per problem."""
    interventions: int = Field(5, ge=0)
    """Hints per trajectory at most."""
    golden: Literal["paper", "strict"] = "paper"
    """`paper`: correct and flawless. `strict`: also answered as the protocol asks, and backed by an optimal solve."""
    golden_tokens: int | None = Field(None, ge=1)
    """Golden trajectories are at most this long, tokens; None means the response limit."""


class TrainingSettings(Settings):
    """Which weights a training changes, and over how many processes."""

    lora_rank: int = Field(0, ge=0)
    """Rank of LoRA adapters on all linear layers, merged into the weights when training is complete; 0 trains all
    weights, as in the paper."""
    lora_alpha: int = Field(32, ge=1)
    """Adapters are scaled by `lora_alpha / lora_rank`."""
    processes: int = Field(1, ge=1)
    """Processes that train together on each node: one per GPU."""
    nodes: int = Field(1, ge=1)
    sharding: Literal["none", "zero3", "fsdp2"] = "none"
    """How weights, gradients and optimizer are spread over the processes: not at all, by DeepSpeed ZeRO-3 as in the
    paper, or by FSDP2."""


class SftSettings(TrainingSettings):
    """Supervised fine-tuning on golden trajectories (paper table 5)."""

    learning_rate: float = Field(1e-5, gt=0, le=1)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(0.1, ge=0, lt=1)
    batch: int = Field(8, ge=1)
    """Trajectories per optimizer step."""
    micro_batch: int = Field(1, ge=1)
    """Trajectories per forward pass, of each process; divides `batch`. Fewer where a process's share asks for it."""
    epochs: float = Field(3, gt=0)
    sequence_tokens: int = Field(22000, ge=1)
    """Longer prompt-and-response pairs are left out."""
    packing: bool = False
    """Several sequences share a row of `sequence_tokens`, without seeing each other."""
    validation: float = Field(0.0, ge=0, lt=1)
    """Share of the problems held out; the checkpoint with the lowest loss on them is kept. 0 keeps the last one."""
    weight_decay: float = Field(0.0, ge=0, le=1)
    gradient_norm: float = Field(1.0, gt=0)
    checkpoint_steps: int = Field(50, ge=1)
    """Steps between checkpoints."""

    @model_validator(mode="after")
    def _micro_batches_fill_the_batch(self) -> Self:
        return _divides(self, "micro_batch", "batch")

    @model_validator(mode="after")
    def _processes_share_the_batch(self) -> Self:
        processes = self.processes * self.nodes
        if self.batch % processes and not self.packing:
            raise ValueError(
                f"batch is {self.batch}; {processes} processes cannot share it evenly: set batch to a multiple of "
                f"{processes}"
            )
        return self


class RlSettings(TrainingSettings):
    """Reinforcement learning (paper table 6)."""

    objective: Literal["grpo", "dr_grpo", "dapo", "carft"] = "grpo"
    aggregation: Literal["objective", "token_mean", "sequence_mean", "sequence_sum"] = "objective"
    """How losses of tokens become one: the mean over all learned tokens of a mini-batch (`grpo`, `dapo`, `carft`; what
    the paper's framework does unless told otherwise), the mean over responses of their means, or the sum over a
    response divided by `response_tokens` (`dr_grpo`). `objective` means the one named with it."""
    engine: Literal["trl", "verl"] = "trl"
    mode: Literal["sync", "colocate_async", "separate_async"] = "sync"
    """Of engine `verl`: rollouts and updates take turns, share GPUs, or run on GPUs of their own."""
    generator: Literal["process", "server"] = "process"
    """Where rollouts of engine `trl` come from: the engine in the training process, or vLLM servers, which get the
    weights after each step."""
    servers: str | None = None
    """Base URLs of those servers, separated by commas; None starts `instances` of them by `server.command`."""
    instances: int = Field(1, ge=1)
    """Servers that are started for rollouts, each on a GPU of its own behind the `processes` that train."""
    sync: Literal["nccl", "reload"] = "nccl"
    """How weights reach servers: from GPU to GPU, or by a directory that both see."""
    agreement: float = Field(0.05, gt=0)
    """Training stops where log-probabilities of generator and trainer differ by more than this on average, nats."""
    importance_cap: float = Field(2.0, ge=1)
    """Importance weight of a token, trainer to generator, at most."""
    steps: int | None = Field(None, ge=1)
    """Rollout steps; None means `epochs` passes over the problems."""
    epochs: int = Field(100, ge=1)
    prompts_per_step: int = Field(64, ge=1)
    """Problems per rollout step."""
    samples: int = Field(8, ge=2)
    """Rollouts per problem: the group of GRPO."""
    mini_batch: int = Field(64, ge=1)
    """Problems per optimizer step; divides `prompts_per_step`."""
    micro_batch: int = Field(1, ge=1)
    """Trajectories per forward pass of one process; divides what a process takes through an optimizer step, best
    `samples` too."""
    learning_rate: float = Field(1e-6, gt=0, le=1)
    temperature: float = Field(0.6, gt=0, le=2)
    top_p: float = Field(1.0, gt=0, le=1)
    """1 keeps the sampling distribution and the trained one the same; the paper names no other value for RL."""
    prompt_tokens: int = Field(3000, ge=1)
    """Problems with longer prompts are left out."""
    response_tokens: int = Field(16384, ge=1)
    kl: float = Field(0.0, ge=0)
    """Weight of the KL term; 0 turns it off, as in the paper."""
    clip: float = Field(0.2, gt=0, lt=1)
    clip_high: float | None = Field(None, gt=0)
    """Upper bound of clipping; None means `clip`, and 0.28 for `dapo`."""
    gradient_norm: float = Field(1.0, gt=0)
    checkpoint_steps: int = Field(10, ge=1)
    """Steps between checkpoints."""
    evaluation_steps: int = Field(0, ge=0)
    """Steps between evaluations on held-out problems while training; 0 evaluates at the end only."""
    evaluation_problems: int = Field(64, ge=1)
    """Held-out problems of such an evaluation, at most."""
    evaluation_samples: int = Field(1, ge=1)
    """Rollouts per problem of such an evaluation."""
    patience: int = Field(0, ge=0)
    """Training ends after so many evaluations without a new best one; 0 never ends early."""
    keep: Literal["last", "best"] = "last"
    """Which weights become the model: the last, or those that were evaluated best."""

    @property
    def updates_per_step(self) -> int:
        """Optimizer steps per rollout step."""
        return self.prompts_per_step // self.mini_batch

    @property
    def loss_aggregation(self) -> Literal["token_mean", "sequence_mean", "sequence_sum"]:
        """`aggregation`; where that is `objective`, the objective's own."""
        if self.aggregation != "objective":
            return self.aggregation
        return "sequence_sum" if self.objective == "dr_grpo" else "token_mean"

    @property
    def clip_above(self) -> float:
        """Upper bound of clipping: `clip_high`, or the objective's own (DAPO: arXiv 2503.14476)."""
        return self.clip_high or (0.28 if self.objective == "dapo" else self.clip)

    @model_validator(mode="after")
    def _the_best_is_looked_for(self) -> Self:
        for name, wanted in (("keep", self.keep == "best"), ("patience", self.patience > 0)):
            if wanted and not self.evaluation_steps:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; that needs evaluations while training, and evaluation_steps "
                    "is 0: set evaluation_steps"
                )
        return self

    @model_validator(mode="after")
    def _mini_batches_fill_the_step(self) -> Self:
        return _divides(self, "mini_batch", "prompts_per_step")


class CarftSettings(Settings):
    """The contrastive part of `rl.objective = "carft"` (CARFT, arXiv 2508.15868)."""

    variant: Literal["positives", "negatives", "both", "pull"] = "positives"
    """Annotated against correct rollouts; shared against missing and own tokens of wrong rollouts; the mean of both; or
    the embedding pulled towards the annotated one."""
    coefficient: float = Field(0.1, ge=0)
    """Weight of the contrastive loss beside the policy's."""
    temperature: float = Field(0.2, gt=0)
    similarity_cap: float = Field(0.9, gt=0, le=1)
    """Similarities to a positive count up to this."""
    margin: float = Field(0.2, ge=0)
    """By which a positive is to be closer than negatives."""
    dimensions: int = Field(64, ge=1)
    """Of a trajectory's embedding."""
    head_learning_rate: float = Field(1e-3, gt=0, le=1)
    """Of attention and projection, which begin at random."""
    partial_reward: Literal["none", "flat", "cosine"] = "none"
    """Of an answer that can be read but is wrong: 0, 0.1, or 0.2 + 0.1 x its similarity to the annotated one."""
    annotated: str | None = None
    """Run or file of golden trajectories that problems are annotated with; None means the run's own."""


class EvaluationSettings(Settings):
    """pass@1 as the mean over samples (paper section 4.1)."""

    samples: int = Field(8, ge=1)
    """Rollouts per problem."""
    temperature: float = Field(0.6, ge=0, le=2)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(0, ge=0)
    """As in `rollout`."""
    min_p: float = Field(0.0, ge=0, lt=1)
    """As in `rollout`."""
    tolerance: float = Field(1e-3, ge=0, lt=1)
    """Relative tolerance of the comparator (paper eq. 3); a label that needs a coarser one has its own."""


class ProblemSettings(Settings):
    """Where problems come from, and how many each part of a run takes.

    The defaults are sums over the benchmarks of the paper's table 4.
    """

    source: str = "generated"
    """`generated`; or a folder that `calm problems split` wrote; or, for a command that takes one set of problems, the
    file or benchmark it was given."""
    sft: int = Field(549, ge=0)
    """At most, where they come from a folder."""
    rl: int = Field(719, ge=0)
    """At most, where they come from a folder."""
    easy: int = Field(130, ge=0)
    """Generated test problems; NL4Opt and MAMO-Easy in the paper. Of a folder all test problems are taken."""
    complex: int = Field(280, ge=0)
    """Generated test problems; MAMO-Complex, IndustryOR and OptMath in the paper."""
