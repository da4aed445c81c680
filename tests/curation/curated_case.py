"""One problem, a Reasoner that behaves as its hints ask, and a store that can die at any call."""

from __future__ import annotations

import asyncio

from calmstorm.curation.loop import HintLoop, SampleProgress, Sink
from calmstorm.interpreter.limits import Limits
from calmstorm.intervener.protocol import Intervener
from calmstorm.reasoner.protocol import Prefix, Sampling, TokenCodec
from calmstorm.reasoner.scripted import ScriptedReasoner
from calmstorm.records import (
    Execution,
    ExecutionStatus,
    Formulation,
    Intervention,
    LabelStatus,
    Problem,
    Review,
    Sense,
    Trajectory,
    Trigger,
)
from calmstorm.rollout import RolloutLimits

PROBLEM = Problem(id="p", question="How much?", answer=400.0, status=LabelStatus.OPTIMAL)
BLOCK = "print(400)\n```\n"
GOOD = "The value is plausible.\n\\boxed{400}"


class Runner:
    """Runs nothing; every script prints 400 and solved a model to that."""

    def __init__(self, status: ExecutionStatus = ExecutionStatus.OK) -> None:
        self.status, self.ran = status, 0

    async def arun(self, code: str | bytes, limits: Limits | None = None) -> Execution:
        self.ran += 1
        return Execution(status=self.status, stdout="400\n", wall_seconds=0.1, tier="unsafe", formulations=(solve(),))


def solve(**changes) -> Formulation:
    parts = {"source": "pulp", "sense": Sense.MAXIMIZE, "costs": {}, "variables": (), "constraints": ()}
    return Formulation(**{**parts, "solver_status": "Optimal", "objective": 400.0, **changes})


def hesitant(flaws: int):
    """Says that it works by hand, until that many hints have been heard; then it runs a script and answers."""

    def script(prefix: Prefix, sampling: Sampling) -> str:
        heard = prefix.text.count("HINT")
        said = prefix.text.rpartition("HINT")[2]
        if "```output" in said:
            return GOOD
        if heard < flaws:
            again = f"Attempt {heard} by hand.\n"
            return "I go on.\n" + again if heard else f"I model it.\n{again}\\boxed{{300}}"
        return "```python\n" + BLOCK

    return script


def hint(trajectory: Trajectory) -> Intervention:
    """A correction of the last attempt by hand."""
    start = trajectory.response.rindex("Attempt")
    return Intervention(
        problem_id=trajectory.problem_id,
        sample=trajectory.sample,
        round=trajectory.round,
        trigger=Trigger.PREMATURE_SOLVING,
        analysis="By hand.",
        target=trajectory.response[start:],
        position=start,
        hint="HINT: I code it.\n",
        intervener="scripted",
    )


def strict(problem: Problem, trajectory: Trajectory) -> Intervention | None:
    return hint(trajectory) if trajectory.response.rstrip().endswith(("hand.", "{300}")) else None


class Death(Exception):
    """The process was killed."""


class Store:
    """What would be on disk; dies before its n-th call, or right after it has stored."""

    def __init__(self, die_at: int | None = None, *, after_storing: bool = True) -> None:
        self.die_at, self.after_storing, self.calls = die_at, after_storing, 0
        self.trajectories: list[Trajectory] = []
        self.interventions: list[Intervention] = []
        self.reviews: list[Review] = []

    def _keep(self, kind: list, item: object) -> None:
        self.calls += 1
        if self.calls == self.die_at and not self.after_storing:
            raise Death
        kind.append(item)
        if self.calls == self.die_at:
            raise Death

    def sink(self) -> Sink:
        return Sink(
            trajectory=lambda item: self._keep(self.trajectories, item),
            intervention=lambda item: self._keep(self.interventions, item),
            review=lambda item: self._keep(self.reviews, item),
        )

    def progress(self) -> SampleProgress:
        return SampleProgress(
            rounds=len(self.trajectories),
            latest=self.trajectories[-1] if self.trajectories else None,
            interventions=list(self.interventions),
            reviews=list(self.reviews),
        )

    def content(self) -> tuple:
        """Everything but how long it took."""
        same = [t.model_copy(update={"usage": t.usage.model_copy(update={"seconds": 0})}) for t in self.trajectories]
        return same, self.interventions, self.reviews


def curate(
    intervener: Intervener,
    store: Store,
    *,
    flaws: int = 2,
    runner: Runner | None = None,
    most: int = 5,
    codec: TokenCodec | None = None,
    script=None,
) -> SampleProgress:
    loop = HintLoop(
        reasoner=ScriptedReasoner(script or hesitant(flaws), codec=codec),
        interpreter=runner or Runner(),
        intervener=intervener,
        limits=RolloutLimits(),
        sampling=Sampling(temperature=0.5),
        sink=store.sink(),
        seed=1,
        most_interventions=most,
    )
    return asyncio.run(loop.run(PROBLEM, 0, store.progress()))
