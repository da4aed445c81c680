"""How the outcome of an execution is shown to the Reasoner: the ```output block, worded in one place.

Curation, training, evaluation and the pocket corpus all show outcomes through this function, so that a Reasoner never
meets two formats (a mismatch between training and evaluation is a known way to lose points silently).
"""

from __future__ import annotations

import re

from calmstorm.records import Execution, ExecutionStatus

_ENDINGS = {
    ExecutionStatus.EARLY_EXIT: "ExitError: the script ended its process early",
    ExecutionStatus.TIMEOUT: "TimeoutError: stopped after {seconds:.0f} s",
    ExecutionStatus.MEMORY: "MemoryError: the memory limit was reached",
    ExecutionStatus.OUTPUT_LIMIT: "OutputError: too much output",
    ExecutionStatus.KILLED: "KilledError: the script was killed",
    ExecutionStatus.INFRASTRUCTURE: "RuntimeError: the interpreter failed",
}


def output_block(execution: Execution, characters: int) -> str:
    """Returns the block that is appended after a script: standard output, then what went wrong, if anything did.

    Args:
        execution: The outcome.
        characters: Cap on the text inside; more is cut in the middle, and the cut says how much is gone.
    """
    lines = [execution.stdout.rstrip()] if execution.stdout.strip() else []
    if execution.status is ExecutionStatus.ERROR:
        lines.append(_last_error(execution.stderr))
    elif execution.status is not ExecutionStatus.OK:
        lines.append(_ENDINGS[execution.status].format(seconds=execution.wall_seconds))
    return _block(_cut("\n".join(lines) or "(no output)", characters))


_SPENT = "No run is left: "


def spent_block(executions: int) -> str:
    """Returns the block that is appended instead of an output when no run is left.

    Args:
        executions: Runs that a response has, all of them used.
    """
    used = "none may be used here" if executions == 0 else f"{executions} of {executions} are used"
    return _block(f"{_SPENT}{used}. Give the final answer from what has been printed so far.")


def is_spent_block(text: str) -> bool:
    """Whether an output block says that no run is left, and therefore shows nothing that a program printed."""
    return text.lstrip("\n").startswith(f"```output\n{_SPENT}")


def _block(text: str) -> str:
    return f"```output\n{text.replace('```', '` ` `')}\n```\n"  # the script must not be able to close the block


def _last_error(stderr: str) -> str:
    """Returns the exception line with the script's line number."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    if not lines:
        return "Error: the script failed without a message"
    numbers = re.findall(r"line (\d+)", "\n".join(lines[:-1]))
    return f"{lines[-1].strip()} (line {numbers[-1]})" if numbers else lines[-1].strip()


def _cut(text: str, characters: int) -> str:
    if len(text) <= characters:
        return text
    half = characters // 2
    return f"{text[:half]}\n... [{len(text) - 2 * half} characters cut] ...\n{text[-half:]}"
