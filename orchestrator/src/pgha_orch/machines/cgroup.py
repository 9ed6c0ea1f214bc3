"""A cgroup for each nspawn machine, so that `--keep-unit` does not put all of them under one payload.

Where systemd is PID 1 the cgroup tree is its own, so a transient unit makes it; elsewhere this module does,
in every hierarchy that this host has mounted (lab-notes.md, systemd-nspawn).
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
# The pid file is written by the very process that becomes systemd-nspawn, so it is there even when pgha-orch
# is killed right after the start.
_EXEC = 'echo $$ > "$0.new" && mv "$0.new" "$0" && exec "$@"'
_JOIN = 'for g in $1; do echo $$ > "$g/cgroup.procs" || exit 1; done; shift; ' + _EXEC


def systemd_is_pid1() -> bool:
    """As sd_booted(3) tells it."""
    return Path("/run/systemd/system").is_dir()


def launcher(unit: str, pid_file: Path) -> list[str]:
    """Arguments to put before a command so that it runs in the cgroup of `unit` and leaves its pid in `pid_file`."""
    if systemd_is_pid1():
        return [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit=pgha-{unit}",
            "--slice=machine.slice",
            "--property=Delegate=yes",
            "--property=KillMode=mixed",
            "--property=TasksMax=infinity",
            "--service-type=exec",
            "--pipe",
            "sh",
            "-c",
            _EXEC.replace("$", "$$"),  # the manager takes one of two for itself (systemd.service, Command lines)
            str(pid_file),
        ]
    groups = [base / "pgha" / unit for base in _hierarchies()]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return ["sh", "-c", _JOIN, str(pid_file), " ".join(str(g) for g in groups)]


def remove(unit: str) -> None:
    """Remove the cgroups of a machine that has ended; they may be busy for a moment after it."""
    if systemd_is_pid1():
        return
    for base in _hierarchies():
        group = base / "pgha" / unit
        for _ in range(20):
            nested = sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True) if group.exists() else []
            for directory in [*nested, group]:
                with suppress(OSError):
                    directory.rmdir()
            if not group.exists():
                break
            time.sleep(0.05)


def set_frozen(unit: str, frozen: bool, *, timeout_s: float = 10.0) -> bool:
    """Stop every process of a machine where it is, or let them go on (cgroup v2's freezer); False when there is none.

    Returns once the kernel says that it is so.
    """
    group = ROOT / "machine.slice" / f"pgha-{unit}.service" if systemd_is_pid1() else _hierarchies()[0] / "pgha" / unit
    if not (group / "cgroup.freeze").exists():
        return False
    (group / "cgroup.freeze").write_text("1" if frozen else "0")
    deadline = time.monotonic() + timeout_s
    while f"frozen {int(frozen)}" not in (group / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _hierarchies() -> list[Path]:
    """Where nspawn looks for its own cgroup: the unified hierarchy, and systemd's named one where it is hybrid."""
    if (ROOT / "cgroup.procs").exists():
        return [ROOT]
    return [p for p in (ROOT / "unified", ROOT / "systemd") if (p / "cgroup.procs").exists()]
