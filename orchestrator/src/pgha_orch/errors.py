"""The one error tree. Only the Click group in `cli` turns these into output and an exit code."""

from __future__ import annotations


class OrchError(Exception):
    """Something the user can act on.

    `message` names the file or host, the field and the value; `hint` names the next step.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message


class UsageError(OrchError):
    """Bad command line, bad inventory, missing privilege: nothing was changed."""

    exit_code = 2


class OperationError(OrchError):
    """An operation on a machine or a cluster failed."""


class GateTimeout(OperationError):
    """A gate did not open before its deadline; the message carries the last observation."""


class ProcessError(OperationError):
    """A program could not be run, ran too long, or ended with another exit code than allowed."""

    def __init__(
        self,
        message: str,
        *,
        argv: tuple[str, ...],
        returncode: int | None = None,
        stderr: str = "",
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv
        self.returncode = returncode
        self.stderr = stderr
