"""The records that flow through the program. Everything one room hands to the next is one of these.

All are frozen pydantic models: validated where they enter, serialised with `model_dump_json`, and refusing unknown
fields, so that a file written by another version is noticed instead of half read. The shapes on disk are the contract
in docs/run-directory.md; `SCHEMA` changes whenever one of them does.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = 1
"""Version of the trajectory record, written into every line of `trajectories.jsonl`."""


class Record(BaseModel):
    """Base of all records: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# ------------------------------------------------------------------ problems


class LabelStatus(StrEnum):
    """What a published label says. Only `OPTIMAL` carries a number."""

    OPTIMAL = "optimal"
    NO_OPTIMUM = "no_optimum"
    """The source says "no best solution" without saying which kind."""
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    MISSING = "missing"
    SENTINEL = "sentinel"
    """A magic number such as -99999 stands where a label should."""


class Sense(StrEnum):
    """Direction of optimization."""

    MINIMIZE = "minimize"
    MAXIMIZE = "maximize"


class Domain(StrEnum):
    """What values a decision variable may take."""

    CONTINUOUS = "continuous"
    INTEGER = "integer"
    BINARY = "binary"


class ReferenceConstraint(Record):
    """One constraint of a reference model: `coefficients . x  operator  bound`."""

    name: str
    """What the constraint limits, in the words of the problem ("labor", "demand of Lima")."""
    coefficients: tuple[float, ...]
    """One per variable, in the order of `LinearModel.variables`."""
    operator: str
    """`<=`, `>=` or `==`."""
    bound: float
    group: str = ""
    """Name of the family of like constraints it belongs to ("supply"), where there is one."""


class LinearModel(Record):
    """A reference formulation: what an OR expert would write for the problem."""

    sense: Sense
    objective: str
    """What is optimized, in the words of the problem ("profit")."""
    variables: tuple[str, ...]
    costs: tuple[float, ...]
    rows: tuple[ReferenceConstraint, ...]
    domains: tuple[Domain, ...]
    """One per variable. All variables are >= 0; binaries are <= 1."""


class Problem(Record):
    """A word problem with its label."""

    id: str
    question: str
    """The text, verbatim."""
    answer: float | None = None
    """Optimal objective value; None unless `status` is `optimal`."""
    status: LabelStatus = LabelStatus.MISSING
    suite: str = ""
    """Benchmark or suite the problem belongs to ("easy", "nl4opt")."""
    label_version: str = ""
    """Which published version of the labels this is."""
    tolerance: float | None = None
    """Relative tolerance that this label needs, where it is coarser than the default."""
    family: str = ""
    """Kind of problem, for generated ones ("diet")."""
    reference: LinearModel | None = None
    """Reference formulation, where one is known."""

    @property
    def label(self) -> float | str | None:
        """The label as one value: a number, a status word, or None when it is missing."""
        if self.status is LabelStatus.OPTIMAL:
            return self.answer
        return None if self.status is LabelStatus.MISSING else self.status.value


# ------------------------------------------------------------------ execution of model-written code


class ExecutionStatus(StrEnum):
    """Every way an execution can end."""

    OK = "ok"
    ERROR = "error"
    """The script raised, or is not valid Python."""
    EARLY_EXIT = "early_exit"
    """The script ended its process behind our back (os._exit)."""
    TIMEOUT = "timeout"
    MEMORY = "memory"
    OUTPUT_LIMIT = "output_limit"
    KILLED = "killed"
    """A signal ended it."""
    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed; says nothing about the script."""


_FINITE = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
BACKING_TOLERANCE = 1e-3
"""Relative difference allowed between a printed number and the solver's objective."""
PRINTING_TOLERANCE = 0.006
"""Absolute difference allowed in addition: scripts print two decimals."""


def agrees(printed: float, solved: float, relative: float = BACKING_TOLERANCE) -> bool:
    """Whether a number that a script printed is the one that a solver found, within the tolerances of printing."""
    return abs(printed - solved) <= relative * abs(solved) + PRINTING_TOLERANCE


LP_TEXT_BYTES = 16_384
"""Longest text of a model that is kept with its record."""


class Variable(Record):
    """A decision variable of a solved model."""

    model_config = _FINITE

    name: str
    domain: Domain
    lower: float | None
    upper: float | None
    value: float | None = None


class Constraint(Record):
    """A constraint of a solved model: `sum(coefficients[name] * name)  operator  bound`."""

    model_config = _FINITE

    name: str
    coefficients: dict[str, float]
    operator: str
    bound: float


class Formulation(Record):
    """An optimization model that a script actually handed to a solver."""

    model_config = _FINITE

    source: str
    """Library it was captured from ("pulp")."""
    sense: Sense
    costs: dict[str, float]
    offset: float = 0.0
    """Constant of the objective."""
    variables: tuple[Variable, ...]
    constraints: tuple[Constraint, ...]
    solver: str = ""
    solver_status: str = ""
    """As the library words it; `Not solved` where the solve raised or a limit of the interpreter ended it."""
    objective: float | None = None
    truncated: bool = False
    """True when it is not the whole model: that was too large to record, or has parts that are not linear."""
    lp_text: str = ""
    """The model in the LP file format that solvers read; "" where it is truncated or that takes more than
    `LP_TEXT_BYTES`. Written by the interpreter from the other fields, never by the script."""

    @property
    def is_optimal(self) -> bool:
        """Whether the solver called its solution optimal."""
        return self.solver_status.lower() == "optimal"

    def backs(self, answer: float) -> bool:
        """Whether an answer rests on this solve: it is optimal, and its objective, where one was seen, is the answer.

        A script may minimize the negative of what it is to maximize, so the sign does not count; the verdict has seen
        to the sign of the answer.
        """
        return self.is_optimal and (self.objective is None or agrees(abs(answer), abs(self.objective)))


class Execution(Record):
    """What came of running one script."""

    status: ExecutionStatus
    stdout: str
    stderr: str = ""
    wall_seconds: float
    cpu_seconds: float = 0.0
    peak_rss_mb: float = 0.0
    """Largest resident set of the script's processes, MiB."""
    tier: str
    """Isolation it ran under: `namespaces`, `landlock` or `unsafe`."""
    formulations: tuple[Formulation, ...] = ()


# ------------------------------------------------------------------ trajectories


class Author(StrEnum):
    """Who wrote a span. The response mask of training is `author == reasoner`."""

    REASONER = "reasoner"
    INTERPRETER = "interpreter"
    INTERVENER = "intervener"


class SpanKind(StrEnum):
    """What a span is, for the eye."""

    TEXT = "text"
    CODE = "code"
    OUTPUT = "output"
    HINT = "hint"


class Span(Record):
    """A run of the response by one author."""

    author: Author
    kind: SpanKind
    text: str
    token_ids: tuple[int, ...] | None = None
    """Ids as the Reasoner saw them; None when the Reasoner gives text only."""
    logprobs: tuple[float, ...] | None = None
    """Log-probability of each token under the sampling distribution; only spans of the Reasoner have them."""


class StopReason(StrEnum):
    """Why a rollout ended."""

    FINISHED = "finished"
    """The Reasoner ended its turn."""
    LENGTH = "length"
    """The response reached its token limit."""
    EXECUTIONS = "executions"
    """The Reasoner asked for more executions than allowed."""
    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed, after retries."""


class VerdictStatus(StrEnum):
    """What grading came to."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    """Nothing could be extracted; counts as wrong."""
    UNGRADED = "ungraded"
    """The problem has no usable label; counts as neither."""
    INFRASTRUCTURE = "infrastructure"
    """Our machinery failed; counts as neither."""

    @property
    def is_judged(self) -> bool:
        """Whether it counts: as right or as wrong."""
        return self not in (VerdictStatus.UNGRADED, VerdictStatus.INFRASTRUCTURE)


class Verdict(Record):
    """The grade of one trajectory against one label."""

    correct: bool
    expected: float | str | None
    got: float | str | None
    """The extracted answer: a number, a status word, or None."""
    tolerance: float
    """Relative tolerance used (paper eq. 3)."""
    status: VerdictStatus
    protocol_ok: bool = True
    """The final box holds one plain number (or status word) and nothing else."""


class Usage(Record):
    """What a rollout cost."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    """Tokens of the response, whoever wrote them."""
    seconds: float = 0.0
    cost: float = 0.0
    """US dollars, where a priced server was used."""


class Stage(StrEnum):
    """The part of a run that a trajectory or a model belongs to."""

    BASE = "base"
    CURATION = "curation"
    SFT = "sft"
    RL = "rl"
    PILOT = "pilot"
    """Fine-tuned on non-reflective pairs (paper table 1)."""
    CONTROL_SFT = "control_sft"
    """Fine-tuned on unguided attempts (paper figure 6)."""
    CONTROL_RL = "control_rl"
    SOLVE = "solve"
    """One problem solved for a person."""

    @property
    def is_evaluated(self) -> bool:
        """Whether its trajectories measure a model."""
        return self not in (Stage.CURATION, Stage.SOLVE)


class TrajectoryKey(NamedTuple):
    """What makes a trajectory unique within a run."""

    stage: str
    problem_id: str
    sample: int
    round: int = 0


class Trajectory(Record):
    """One attempt at one problem: the reasoning flow of paper eq. 1, as spans."""

    schema_version: int = Field(default=SCHEMA, alias="schema")
    problem_id: str
    sample: int
    round: int = 0
    """Number of interventions made so far on this sample."""
    stage: Stage
    suite: str = ""
    spans: tuple[Span, ...]
    stop_reason: StopReason
    executions: tuple[Execution, ...] = ()
    answer: float | str | None = None
    verdict: Verdict | None = None
    usage: Usage = Usage()

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True)

    @property
    def key(self) -> TrajectoryKey:
        """What makes it unique within a run."""
        return TrajectoryKey(self.stage, self.problem_id, self.sample, self.round)

    @property
    def formulations(self) -> tuple[Formulation, ...]:
        """The models that its scripts handed to solvers, in order."""
        return tuple(formulation for execution in self.executions for formulation in execution.formulations)

    @property
    def is_backed(self) -> bool:
        """Whether some solve backs the answer; status words and solves that were not seen are not held against it."""
        if not self.formulations or not isinstance(self.answer, float | int):
            return True
        return any(formulation.backs(self.answer) for formulation in self.formulations)

    @property
    def response(self) -> str:
        """The whole response as text, whoever wrote it."""
        return "".join(span.text for span in self.spans)

    def to_json(self) -> str:
        """One line for `trajectories.jsonl`."""
        return self.model_dump_json(by_alias=True)

    @classmethod
    def from_json(cls, line: str | bytes) -> Self:
        """Reads a line that `to_json` wrote."""
        return cls.model_validate_json(line)


# ------------------------------------------------------------------ interventions


class TriggerGroup(StrEnum):
    """The paper's grouping of the triggers."""

    CODE = "code"
    EXPERTISE = "expertise"
    PROTOCOL = "protocol"

    @property
    def label(self) -> str:
        """Its name in words."""
        return _GROUP_LABELS[self]

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """Its members, in order."""
        return tuple(trigger for trigger in Trigger if trigger.group is self)


class Trigger(IntEnum):
    """The seven flaws (paper appendix D)."""

    PREMATURE_SOLVING = 1
    FRAGMENTED_CODING = 2
    REDUNDANT_VERIFICATION = 3
    NO_SANITY_CHECK = 4
    FLAWED_MODELING = 5
    IMPLEMENTATION_ERROR = 6
    PROTOCOL_VIOLATION = 7

    @property
    def label(self) -> str:
        """Its name in words."""
        return _TRIGGERS[self][0]

    @property
    def group(self) -> TriggerGroup:
        """The group it belongs to."""
        return _TRIGGERS[self][1]


_GROUP_LABELS = {
    TriggerGroup.CODE: "Code utilisation distrust",
    TriggerGroup.EXPERTISE: "Lack of OR expertise",
    TriggerGroup.PROTOCOL: "Protocol",
}
_TRIGGERS = {
    Trigger.PREMATURE_SOLVING: ("Premature natural-language solving", TriggerGroup.CODE),
    Trigger.FRAGMENTED_CODING: ("Fragmented coding", TriggerGroup.CODE),
    Trigger.REDUNDANT_VERIFICATION: ("Redundant manual verification", TriggerGroup.CODE),
    Trigger.NO_SANITY_CHECK: ("No sanity check", TriggerGroup.EXPERTISE),
    Trigger.FLAWED_MODELING: ("Flawed reasoning or modeling", TriggerGroup.EXPERTISE),
    Trigger.IMPLEMENTATION_ERROR: ("Implementation error", TriggerGroup.EXPERTISE),
    Trigger.PROTOCOL_VIOLATION: ("Protocol violation", TriggerGroup.PROTOCOL),
}


class FlawRecord(Record):
    """The flaws of one evaluated response; a line of `flaws.jsonl`."""

    stage: Stage
    suite: str
    problem_id: str
    sample: int
    triggers: tuple[Trigger, ...]
    """In order of appearance."""
    annotator: str = "rules"

    @property
    def key(self) -> TrajectoryKey:
        """The key of the trajectory that was annotated."""
        return TrajectoryKey(self.stage, self.problem_id, self.sample)


class Intervention(Record):
    """A correction: from `target` on, the response is dropped and `hint` stands in its place."""

    problem_id: str
    sample: int
    round: int
    """Round of the trajectory that was reviewed; the resumed one has `round + 1`."""
    trigger: Trigger
    analysis: str
    target: str
    """The flawed passage, verbatim."""
    position: int
    """Offset of the target in the response text, characters."""
    hint: str
    intervener: str = "rules"


class GoldenTrajectory(Record):
    """A trajectory that is correct and flawless, with what it took to get there."""

    trajectory: Trajectory
    question: str
    interventions: tuple[Intervention, ...]
    edited_token_share: float
    """Tokens of surviving hints over tokens of the response."""
