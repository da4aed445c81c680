"""Runs model-written code, each script in a new process that the kernel confines. Threat model: docs/interpreter.md.

from calmstorm.interpreter import Interpreter, Limits
with Interpreter(workers=2) as interpreter:
    execution = interpreter.run("print(6 * 7)", Limits(wall_seconds=5))
"""

from calmstorm.interpreter.api import Interpreter, Tier, probe
from calmstorm.interpreter.highs_model import lp_text
from calmstorm.interpreter.limits import Limits
from calmstorm.interpreter.verification import Doubt, Verification, verify
from calmstorm.records import Constraint, Execution, ExecutionStatus, Formulation, Variable

__all__ = [
    "Constraint",
    "Doubt",
    "Execution",
    "ExecutionStatus",
    "Formulation",
    "Interpreter",
    "Limits",
    "Tier",
    "Variable",
    "Verification",
    "lp_text",
    "probe",
    "verify",
]
