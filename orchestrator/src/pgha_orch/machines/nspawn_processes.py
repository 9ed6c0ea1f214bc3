"""The processes of nspawn machines, as this host sees them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def _wake_guests(leader: int | None) -> None:
    """Continue every stopped nsenter that is in the machine of this PID 1.

    A shutdown stops all processes before it ends them, and nsenter then stops itself as its child did. Asleep it
    never collects its dead child, and without that the machine's PID 1 never ends: a forgotten `logs -f` would
    hold the machine for good.
    """
    if leader is None:
        return
    target = f"--target\0{leader}\0".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            argv = (process / "cmdline").read_bytes()
            stopped = (process / "stat").read_text().rpartition(")")[2].split()[0] == "T"
            if stopped and target in argv and argv.split(b"\0")[0].endswith(b"nsenter"):
                os.kill(int(process.name), signal.SIGCONT)


def gone(pid: int, timeout_s: float, leader: int | None, *, poll_s: float) -> bool:
    """Wait for the end of systemd-nspawn, process `pid`; False when it still runs after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_s)
        _wake_guests(leader)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
    return True
