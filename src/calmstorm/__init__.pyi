"""The public API, all of it: `calmstorm/__init__.py` loads each name when it is first used."""

from .curation.export import export as export
from .errors import CalmstormError as CalmstormError
from .errors import InfrastructureError as InfrastructureError
from .errors import InputError as InputError
from .errors import MissingExtraError as MissingExtraError
from .errors import WorkError as WorkError
from .evaluation import Summary as Summary
from .evaluation import Tally as Tally
from .evaluation import evaluate as evaluate
from .grading import extract_answer as extract_answer
from .grading import grade as grade
from .grading import graded_trajectory as graded_trajectory
from .grading import reward as reward
from .interpreter import Interpreter as Interpreter
from .interpreter import Limits as Limits
from .interpreter import verify as verify
from .intervener.protocol import Intervener as Intervener
from .intervener.protocol import Reviewed as Reviewed
from .intervener.rules import RulesIntervener as RulesIntervener
from .intervener.rules import find_flaws as find_flaws
from .intervener.scripted import ScriptedIntervener as ScriptedIntervener
from .problems.files import load_problems as load_problems
from .problems.files import load_responses as load_responses
from .problems.generator import generate as generate
from .reasoner.opening import OpenedReasoner as OpenedReasoner
from .reasoner.opening import open_reasoner as open_reasoner
from .reasoner.protocol import Completion as Completion
from .reasoner.protocol import CompletionStop as CompletionStop
from .reasoner.protocol import Prefix as Prefix
from .reasoner.protocol import Reasoner as Reasoner
from .reasoner.protocol import Sampling as Sampling
from .reasoner.protocol import TokenCodec as TokenCodec
from .reasoner.scripted import ScriptedReasoner as ScriptedReasoner
from .records import Author as Author
from .records import Execution as Execution
from .records import ExecutionStatus as ExecutionStatus
from .records import Formulation as Formulation
from .records import GoldenTrajectory as GoldenTrajectory
from .records import Intervention as Intervention
from .records import LabelStatus as LabelStatus
from .records import Problem as Problem
from .records import ReviewOutcome as ReviewOutcome
from .records import Span as Span
from .records import SpanKind as SpanKind
from .records import Stage as Stage
from .records import StopReason as StopReason
from .records import Trajectory as Trajectory
from .records import Trigger as Trigger
from .records import TriggerGroup as TriggerGroup
from .records import Verdict as Verdict
from .records import VerdictStatus as VerdictStatus
from .rollout import CodeRunner as CodeRunner
from .rollout import Rollout as Rollout
from .rollout import rollout as rollout
from .runs import RunDirectory as RunDirectory
from .settings import Recipe as Recipe
from .settings import RolloutLimits as RolloutLimits
from .settings import load_recipe as load_recipe
from .stages import Funnel as Funnel
from .stages import curate as curate
from .stages import filter_golden as filter_golden

__version__: str
__all__ = [
    "Author",
    "CalmstormError",
    "CodeRunner",
    "Completion",
    "CompletionStop",
    "Execution",
    "ExecutionStatus",
    "Formulation",
    "Funnel",
    "GoldenTrajectory",
    "InfrastructureError",
    "InputError",
    "Interpreter",
    "Intervener",
    "Intervention",
    "LabelStatus",
    "Limits",
    "MissingExtraError",
    "OpenedReasoner",
    "Prefix",
    "Problem",
    "Reasoner",
    "Recipe",
    "ReviewOutcome",
    "Reviewed",
    "Rollout",
    "RolloutLimits",
    "RulesIntervener",
    "RunDirectory",
    "Sampling",
    "ScriptedIntervener",
    "ScriptedReasoner",
    "Span",
    "SpanKind",
    "Stage",
    "StopReason",
    "Summary",
    "Tally",
    "TokenCodec",
    "Trajectory",
    "Trigger",
    "TriggerGroup",
    "Verdict",
    "VerdictStatus",
    "WorkError",
    "curate",
    "evaluate",
    "export",
    "extract_answer",
    "filter_golden",
    "find_flaws",
    "generate",
    "grade",
    "graded_trajectory",
    "load_problems",
    "load_recipe",
    "load_responses",
    "open_reasoner",
    "reward",
    "rollout",
    "verify",
]
