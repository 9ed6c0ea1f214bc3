"""The one door to other programs: argument lists, a required timeout, one mapping to errors."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pgha_orch.errors import ProcessError


@dataclass(frozen=True)
class Result:
    """What a program that ended left behind. `stdout` and `stderr` are decoded with replacement."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    timeout_s: float,
    input: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    secret: bool = False,
) -> Result:
    """Run a program to its end.

    `env` replaces the whole environment. With `secret`, arguments and output stay out of error messages.
    Raises ProcessError when the program is missing, exceeds `timeout_s` seconds (it is killed), or, with
    `check`, ends with another exit code than 0.
    """
    args = tuple(os.fspath(a) for a in argv)
    shown = args[0] if secret else shlex.join(args)[:300]
    data = input.encode() if isinstance(input, str) else input
    try:
        done = subprocess.run(
            args,
            input=data,
            stdin=subprocess.DEVNULL if data is None else None,
            capture_output=True,
            timeout=timeout_s,
            env=dict(env) if env is not None else None,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as exc:
        raise _missing(args, exc) from exc
    except PermissionError as exc:
        raise ProcessError(f"{args[0]}: not permitted to run it", argv=args, hint="run as root") from exc
    except subprocess.TimeoutExpired as exc:
        raise ProcessError(f"{shown}: no end within {timeout_s:g} s", argv=args) from exc
    result = Result(args, done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
    if check and result.returncode != 0:
        tail = "" if secret else _tail(result.stderr or result.stdout)
        raise ProcessError(
            f"{shown}: exit code {result.returncode}{': ' + tail if tail else ''}",
            argv=args,
            returncode=result.returncode,
            stderr="" if secret else result.stderr,
        )
    return result


def spawn_detached(
    argv: Sequence[str | os.PathLike[str]],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> int:
    """Start a program that outlives this one, in a session of its own; return its process id.

    Its output is appended to `log`. Raises ProcessError when the program is missing.
    """
    args = tuple(os.fspath(a) for a in argv)
    with log.open("ab") as out:
        try:
            proc = subprocess.Popen(
                args,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=dict(env) if env is not None else None,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
            )
        except FileNotFoundError as exc:
            raise _missing(args, exc) from exc
    return proc.pid


def stream(
    argv: Sequence[str | os.PathLike[str]],
    *,
    stdin: IO[bytes] | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Run an interactive program on this terminal (psql, ssh, journalctl -f); return its exit code.

    It has no timeout: its user ends it.
    """
    args = tuple(os.fspath(a) for a in argv)
    try:
        return subprocess.call(args, stdin=stdin, env=dict(env) if env is not None else None)
    except FileNotFoundError as exc:
        raise _missing(args, exc) from exc


def _missing(args: tuple[str, ...], exc: OSError) -> ProcessError:
    what = exc.filename if exc.filename and exc.filename != args[0] else args[0]
    return ProcessError(f"{what}: not found", argv=args, hint=f"install {Path(what).name} (make lab does)")


def _tail(text: str, lines: int = 4) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])[:600]
