"""The one exception tree. Catch `CalmstormError` and you have caught everything this package raises on purpose.

    CalmstormError
     +- InputError            the user gave something unusable: value, rule, remedy; the CLI ends with status 2
     |   +- SettingsError     a setting is unknown or out of range
     |   +- ProblemFileError  a problem or response file cannot be read as one
     +- MissingExtraError     an optional dependency is not installed (also ends with status 2)
     +- WorkError             the work itself failed; the CLI ends with status 1
         +- InfrastructureError   our machinery failed (a worker died, a server is gone); never scored as a wrong answer
         |   +- UnfinishedError   some samples are left open; the others are finished
         +- BudgetSpentError      a bound on cost, tokens or time is reached; everything is kept
         +- RunLockedError        another process is writing to this run directory

A Reasoner's failure is never an exception: it is data, recorded in its trajectory.
"""


class CalmstormError(Exception):
    """Base of everything this package raises on purpose."""

    agreed = False
    """All processes that work together have failed in it."""
    reported = False
    """Another process has said so already."""


class InputError(CalmstormError):
    """The user gave something unusable.

    The message is one line: the value given, the rule it breaks, the remedy.
    """


class SettingsError(InputError):
    """A setting is unknown, of the wrong type or out of range."""


class ProblemFileError(InputError):
    """A file of problems or responses cannot be read as one."""


class MissingExtraError(CalmstormError):
    """An optional dependency is missing; the message names the command that installs it."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"{package} is not installed; this needs the '{extra}' extra: pip install 'calmstorm[{extra}]'"
        )


class WorkError(CalmstormError):
    """The work failed although the input was good."""


class InfrastructureError(WorkError):
    """Our machinery failed. It is retried, then recorded as such, and never scored as a wrong answer."""


class UnfinishedError(InfrastructureError):
    """Some samples are left open after all passes; the others are finished and kept."""

    def __init__(self, left: int, total: int, reason: str) -> None:
        super().__init__(f"{left} of {total} samples are not finished ({reason}); the rest is kept: resume the run")
        self.left = left
        self.finished = total - left


class BudgetSpentError(WorkError):
    """A bound on cost, tokens or time is reached. Nothing new was started; what was in flight is kept."""


class RunLockedError(WorkError):
    """Another process holds the run directory."""
