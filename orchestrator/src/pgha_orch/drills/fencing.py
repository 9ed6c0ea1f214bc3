"""Whether a machine was reset before another node was promoted, both by this host's monotonic clock.

Both instants are taken to the worse side by what asking took: the reset late (when the kernel started again), the
promotion early (when the new leader wrote the history of its timeline).
"""

from __future__ import annotations

import time

from pgha_orch.drills.stage import EXEC_TIMEOUT_S, Stage

WAL = "/var/lib/pgha/postgresql/data/pg_wal"
_AGE = 'echo "$(date +%s.%N) $(stat --format=%.Y "$0")"'


def verify(stage: Stage) -> list[str]:
    """What was wrong with the reset of the machine that led when the fault came; notes by how much it came first."""
    timeline = stage.ledger.timeline() or 0
    new, old = stage.look().leader, stage.struck
    if new is None or new.name == old:
        return [f"{old} leads again: nobody was promoted in its place"]
    reset_s, promoted_s = booted(stage, old), promoted(stage, new.name, timeline)
    wrong = judged(stage.begun_s, reset_s, promoted_s)
    if wrong:
        return [f"{old} {wrong}"]
    stage.note(f"{old} was reset {promoted_s - reset_s:.1f} s before {new.name} was promoted")
    return []


def judged(fault_s: float, reset_s: float, promoted_s: float) -> str:
    """What is wrong with a machine whose kernel started at `reset_s` when another was promoted at `promoted_s`."""
    if reset_s < fault_s:
        return f"was not reset: its kernel runs since {fault_s - reset_s:.1f} s before the fault"
    if reset_s >= promoted_s:
        return f"was reset {reset_s - promoted_s:.1f} s after another was promoted"
    return ""


def booted(stage: Stage, host: str) -> float:
    """When a machine's kernel started, at the latest."""
    uptime = stage.run(host, "cat", "/proc/uptime")
    return time.monotonic() - float(uptime.split()[0])


def promoted(stage: Stage, host: str, timeline: int) -> float:
    """When a node began a timeline, at the earliest."""
    asked = time.monotonic()
    said = stage.machine(host).exec(["sh", "-c", _AGE, f"{WAL}/{timeline:08X}.history"], timeout_s=EXEC_TIMEOUT_S)
    now, written = map(float, said.stdout.split())
    return asked - (now - written)
