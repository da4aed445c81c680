"""The records that flow through the program. What one subpackage passes to the next is one of these.

All are frozen pydantic models: validated where they enter, serialised with `model_dump_json`, and refusing unknown
fields, so that a file written by another version is noticed instead of half read. The shapes on disk are the contract
in docs/run-directory.md; `SCHEMA` changes whenever one of them does.
"""

from calmstorm.records.base import Record
from calmstorm.records.execution import (
    BACKING_TOLERANCE,
    PRINTING_TOLERANCE,
    Constraint,
    Execution,
    ExecutionStatus,
    Formulation,
    Variable,
    agrees,
)
from calmstorm.records.interventions import (
    Failure,
    FlawRecord,
    GoldenTrajectory,
    Intervention,
    Review,
    ReviewOutcome,
    Trigger,
    TriggerGroup,
)
from calmstorm.records.problems import Domain, LabelStatus, LinearModel, Problem, ReferenceConstraint, Sense
from calmstorm.records.trajectories import (
    SCHEMA,
    Author,
    Requested,
    Span,
    SpanKind,
    Stage,
    StopReason,
    Trajectory,
    TrajectoryKey,
    Usage,
    Verdict,
    VerdictStatus,
)

__all__ = [
    "BACKING_TOLERANCE",
    "PRINTING_TOLERANCE",
    "SCHEMA",
    "Author",
    "Constraint",
    "Domain",
    "Execution",
    "ExecutionStatus",
    "Failure",
    "FlawRecord",
    "Formulation",
    "GoldenTrajectory",
    "Intervention",
    "LabelStatus",
    "LinearModel",
    "Problem",
    "Record",
    "ReferenceConstraint",
    "Requested",
    "Review",
    "ReviewOutcome",
    "Sense",
    "Span",
    "SpanKind",
    "Stage",
    "StopReason",
    "Trajectory",
    "TrajectoryKey",
    "Trigger",
    "TriggerGroup",
    "Usage",
    "Variable",
    "Verdict",
    "VerdictStatus",
    "agrees",
]
