"""The seven triggers, flaws by stage, interventions, and golden trajectories."""

from __future__ import annotations

from enum import IntEnum, StrEnum

from calmstorm.records.base import Record
from calmstorm.records.trajectories import Stage, Trajectory, TrajectoryKey, Usage


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


class ReviewOutcome(StrEnum):
    """What an Intervener came to."""

    FLAWED = "flawed"
    FLAWLESS = "flawless"
    FAILED = "failed"
    """It gave nothing that could be used, although it was asked again; says nothing about the trajectory."""


class Review(Record):
    """That a round was reviewed, with what came of it and what it cost; a line of `reviews.jsonl`."""

    problem_id: str
    sample: int
    round: int
    outcome: ReviewOutcome
    reason: str = ""
    """Why it failed."""
    intervener: str = ""
    usage: Usage = Usage()


class Failure(Record):
    """That our machinery failed in one round of a sample, which stays open; a line of `failures.jsonl`."""

    stage: Stage
    problem_id: str
    sample: int
    round: int = 0
    reason: str
    time: str
    """ISO 8601, UTC."""


class GoldenTrajectory(Record):
    """A trajectory that is correct and flawless, with what it took to get there."""

    trajectory: Trajectory
    question: str
    interventions: tuple[Intervention, ...]
    edited_token_share: float
    """Tokens of surviving hints over tokens of the response."""
    token_modification: float | None = None
    """Edit distance between the first attempt and this one, over the longer of the two; None where it was not taken."""
