"""The `failover` section: how fast a failover is, as a preset or as explicit timings."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from pgha_orch.inventory.fields import Strict


class Preset(StrEnum):
    FAST = "fast"
    NORM = "norm"
    SAFE = "safe"
    WIDE = "wide"


class HealthCheck(Strict):
    """HAProxy's check of Patroni's REST API. Milliseconds; counts of checks."""

    inter_ms: Annotated[int, Field(ge=100, le=60_000)] = 500
    """Milliseconds between checks of a server that is up."""
    fastinter_ms: Annotated[int, Field(ge=100, le=60_000)] = 500
    """Milliseconds between checks of a server whose last check changed its result."""
    downinter_ms: Annotated[int, Field(ge=100, le=60_000)] = 500
    """Milliseconds between checks of a server that is down."""
    rise: Annotated[int, Field(ge=1, le=10)] = 1
    """Good checks in a row until a server is up."""
    fall: Annotated[int, Field(ge=1, le=30)] = 12
    """Unanswered checks in a row until a server is down; a restart of Patroni must fit in fall x fastinter_ms."""


class Timings(Strict):
    """Patroni's failover timings, seconds (reliability.md, Failover timing)."""

    ttl: Annotated[int, Field(ge=20, le=600)]
    """Seconds that the leader lock lives without renewal: what bounds a failover after a power-off."""
    loop_wait: Annotated[int, Field(ge=1, le=120)]
    """Seconds between two rounds of Patroni's loop."""
    retry_timeout: Annotated[int, Field(ge=3, le=120)]
    """Seconds that Patroni retries etcd and PostgreSQL before the leader gives up its role."""
    primary_start_timeout: Annotated[int, Field(ge=0, le=3600)] = 0
    """Seconds that a crashed primary may take to recover in place; 0: fail over at once."""
    safety_margin: Annotated[int, Field(ge=-1, le=120)] = 5
    """Seconds before the end of ttl at which the watchdog resets a hung primary; -1: at half of ttl."""
    check: HealthCheck = HealthCheck()
    """HAProxy's checks of the database hosts."""


# reliability.md, Failover timing; names and most values as Pigsty publishes them as pg_rto_plan. `fast` differs by
# measurement (docs/drills.md): a crash is noticed within 2 s, and fails over. With a start timeout above 0 a primary
# that cannot start (its WAL disk is full) keeps the lock and tries for ever, each try with a timeout of its own.
PRESETS: dict[Preset, Timings] = {
    Preset.FAST: Timings(ttl=20, loop_wait=2, retry_timeout=5, primary_start_timeout=0, safety_margin=5),
    Preset.NORM: Timings(
        ttl=30,
        loop_wait=5,
        retry_timeout=10,
        primary_start_timeout=15,
        safety_margin=5,
        check=HealthCheck(inter_ms=2000, fastinter_ms=1000, downinter_ms=2000, fall=4),
    ),
    Preset.SAFE: Timings(
        ttl=60,
        loop_wait=10,
        retry_timeout=20,
        primary_start_timeout=45,
        safety_margin=10,
        check=HealthCheck(inter_ms=3000, fastinter_ms=1500, downinter_ms=3000, fall=3),
    ),
    Preset.WIDE: Timings(
        ttl=120,
        loop_wait=20,
        retry_timeout=30,
        primary_start_timeout=95,
        safety_margin=15,
        check=HealthCheck(inter_ms=4000, fastinter_ms=2000, downinter_ms=4000, fall=3),
    ),
}
