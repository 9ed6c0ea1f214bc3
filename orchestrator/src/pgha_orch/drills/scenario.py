"""What a scenario is: a small file in `scenarios/` with one `SCENARIO`, found by discovery."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pgha_orch.drills import scenarios
from pgha_orch.errors import UsageError

if TYPE_CHECKING:
    from pgha_orch.drills.stage import Stage

READ_ONLY = "25006"


class Need(StrEnum):
    """What a scenario needs of its machines; without it, it is skipped with the reason."""

    WATCHDOG = "watchdog"
    CLOCK = "clock"
    BACKUP = "backup"
    THREE_ETCD = "three etcd members"
    STANDBYS = "two standbys"


@dataclass(frozen=True)
class Expect:
    """What a run has to show, at preset `fast` on an idle machine. None: recorded, not judged.

    `outage_s`: the longest time without an acknowledged write. `resume_s`: from the heal to the next one, where
    writes have to wait for the heal. `blocked`: no write may be acknowledged while the fault lasts.
    `dropped`: write sessions that may break. `forbidden`: SQLSTATEs that no client may see.
    """

    outage_s: float | None = None
    resume_s: float | None = None
    timeline: Literal["stays", "advances"] | None = None
    blocked: bool = False
    dropped: int | None = None
    forbidden: tuple[str, ...] = (READ_ONLY,)


@dataclass(frozen=True)
class Scenario:
    """One fault of reliability.md's matrix. `number` is the matrix's, with a letter for a variant.

    `inject` breaks something; then the fault stays for `hold_s` seconds and, where they do (`await_writes`),
    until writes flow again; then everything is healed. `verify` gives what it found wrong besides.
    """

    number: str
    name: str
    title: str
    expect: Expect
    inject: Callable[[Stage], None]
    hold_s: float = 3.0
    needs: frozenset[Need] = frozenset()
    prepare: Callable[[Stage], None] | None = None
    during: Callable[[Stage], None] | None = None
    verify: Callable[[Stage], list[str]] | None = None
    await_writes: bool = True  # whether writes come back before the heal

    @property
    def order(self) -> tuple[int, str]:
        digits = "".join(c for c in self.number if c.isdigit())
        return int(digits), self.number


def discover() -> tuple[Scenario, ...]:
    """All scenarios, in the matrix's order."""
    found = []
    for module in pkgutil.iter_modules(scenarios.__path__):
        loaded = importlib.import_module(f"{scenarios.__name__}.{module.name}")
        if isinstance(one := getattr(loaded, "SCENARIO", None), Scenario):
            found.append(one)
    return tuple(sorted(found, key=lambda s: s.order))


def select(names: tuple[str, ...]) -> tuple[Scenario, ...]:
    """Scenarios by number or name; `all`, or none named, is every one. UsageError for an unknown one."""
    known = discover()
    if not names or "all" in names:
        return known
    wanted = []
    for name in names:
        match = [s for s in known if name in (s.number, s.name)]
        if not match:
            listed = ", ".join(f"{s.number} {s.name}" for s in known)
            raise UsageError(f"{name}: no such drill", hint=f"one of: all, {listed}")
        wanted.extend(match)
    return tuple(dict.fromkeys(wanted))
