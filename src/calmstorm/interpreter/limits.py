"""What one execution may use."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from calmstorm.errors import InputError
from calmstorm.records import Record


class Limits(Record):
    """Bounds of one execution; each ends it with a status that names the cause.

    `processes`, `file_mb`, `scratch_mb` and `open_files` make the offending call fail inside the script instead: it
    sees an OSError.
    """

    wall_seconds: float = 10.0
    """Time from receiving the script to its end."""
    cpu_seconds: float | None = None
    """CPU time of any one process; None for the wall time plus one second."""
    memory_mb: int = 2048
    """MiB of address space that any one process may add to the preloaded libraries, and of memory for all together."""
    processes: int = 64
    """Processes and threads alive at the same time."""
    file_mb: int = 64
    """MiB of any one file."""
    scratch_mb: int = 64
    """MiB of all files together; enforced by the kernel in `namespaces`, by a check every 0.1 s elsewhere."""
    open_files: int = 256
    stdout_bytes: int = 262_144
    stderr_bytes: int = 65_536
    capture_bytes: int = 2_097_152
    """Bytes of recorded formulations, as JSON; a model beyond that is recorded in outline and marked truncated."""

    @model_validator(mode="after")
    def _positive(self) -> Self:
        for name, value in self:
            if value is not None and not value > 0:
                raise InputError(f"{name} is {value}; a limit must be > 0: set Limits({name}=...)")
        return self

    def for_sandbox(self) -> dict[str, float | int]:
        """The limits as the sandbox takes them: plain numbers, none missing."""
        values: dict[str, float | int] = dict(self)
        if self.cpu_seconds is None:
            values["cpu_seconds"] = self.wall_seconds + 1
        values["cpu_seconds"] = max(1, round(values["cpu_seconds"] + 0.5))
        return values
