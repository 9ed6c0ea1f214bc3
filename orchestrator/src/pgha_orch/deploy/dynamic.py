"""Patroni's dynamic configuration in the DCS: bootstrap.dcs counts only once, so later changes go by PATCH."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from pgha_orch.cluster import Cluster
from pgha_orch.deploy import gates
from pgha_orch.deploy.boot import leader_name
from pgha_orch.deploy.changes import Impact
from pgha_orch.deploy.database import psql
from pgha_orch.errors import OperationError
from pgha_orch.health.patroni import Rest
from pgha_orch.identity import dynamic_config
from pgha_orch.inventory.model import Role
from pgha_orch.progress import POLL_S, Reporter, Step, step, wait_for

_GONE = object()
PARAMETERS = "postgresql.parameters."
SYNC_DEADLINE_S = 60.0
SETTLE_S = 3.0  # beside two rounds of the HA loop: the reload itself and the next word to the DCS


@dataclass(frozen=True)
class Difference:
    """One key, dotted, as it is in the DCS and as the inventory wants it; JSON text, "unset" when absent."""

    key: str
    now: str
    wanted: str
    impact: Impact  # RESTART for a PostgreSQL parameter that takes one, on every node, else RELOAD


def differences(cluster: Cluster) -> tuple[Difference, ...]:
    """What the DCS holds otherwise than the inventory says."""
    leader = leader_name(cluster)
    rest = Rest(cluster.addresses(Role.POSTGRES), cluster.tls)
    now, wanted = rest.config(leader), dynamic_config(cluster.inventory).as_json()
    return _described(cluster, leader, list(_compare("", now, wanted)))


def apply(cluster: Cluster, reporter: Reporter) -> tuple[Difference, ...]:
    """Patch the DCS where it differs; what was different."""
    leader = leader_name(cluster)
    rest = Rest(cluster.addresses(Role.POSTGRES), cluster.tls)
    now, wanted = rest.config(leader), dynamic_config(cluster.inventory).as_json()
    found = list(_compare("", now, wanted))
    described = _described(cluster, leader, found)
    if found:
        with step("Patroni's dynamic configuration", reporter) as current:
            rest.patch_config(leader, _patch(now, wanted))
            if any(key.startswith("synchronous_") for key, _, _ in found):
                wait_for(current, gates.replicas(cluster), deadline_s=SYNC_DEADLINE_S * cluster.fleet.patience)
            if any(d.impact is Impact.RESTART for d in described):
                _await_pending(cluster, rest, current)
            current.note = ", ".join(key for key, _, _ in found)
    return described


def _await_pending(cluster: Cluster, rest: Rest, current: Step) -> None:
    """Give every node time to find out that it has to restart, which it does in its next HA loop.

    No error when one does not: the new value may be the one that it runs with.
    """
    loop_wait = cluster.inventory.timings.loop_wait
    deadline = time.monotonic() + 2 * loop_wait + SETTLE_S
    names = set(cluster.addresses(Role.POSTGRES))
    while time.monotonic() < deadline:
        with suppress(OperationError):
            names -= {m.name for m in rest.cluster().members if m.pending_restart}
        if not names:
            return
        current.saw(f"{', '.join(sorted(names))} not yet reloaded")
        time.sleep(POLL_S)


def _described(cluster: Cluster, leader: str, found: Sequence[tuple[str, object, object]]) -> tuple[Difference, ...]:
    """The differences with what each costs. Which parameters take a restart is PostgreSQL's own to say."""
    restarting: set[str] = set()
    if any(key.startswith(PARAMETERS) for key, _, _ in found):
        rows = psql(cluster.machine(leader), "SELECT name FROM pg_settings WHERE context = 'postmaster';")
        restarting = {PARAMETERS + row[0] for row in rows}
    return tuple(
        Difference(key, _text(have), _text(want), Impact.RESTART if key in restarting else Impact.RELOAD)
        for key, have, want in found
    )


def _compare(prefix: str, now: Mapping[str, object], wanted: Mapping[str, object]) -> list[tuple[str, object, object]]:
    found: list[tuple[str, object, object]] = []
    for key in _keys(prefix, now, wanted):
        have, want, path = now.get(key, _GONE), wanted.get(key, _GONE), f"{prefix}{key}"
        if isinstance(want, Mapping) and isinstance(have, Mapping):
            found.extend(_compare(f"{path}.", have, want))
        elif have != want:
            found.append((path, have, want))
    return found


def _patch(now: Mapping[str, object], wanted: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """The smallest JSON merge patch that turns `now` into `wanted`."""
    patch: dict[str, object] = {}
    for key in _keys(prefix, now, wanted):
        have, want = now.get(key, _GONE), wanted.get(key, _GONE)
        if isinstance(want, Mapping) and isinstance(have, Mapping):
            inner = _patch(have, want, f"{prefix}{key}.")
            if inner:
                patch[key] = inner
        elif want is _GONE:
            patch[key] = None
        elif have != want:
            patch[key] = want
    return patch


def _keys(prefix: str, now: Mapping[str, object], wanted: Mapping[str, object]) -> list[str]:
    """PostgreSQL's parameters are the inventory's alone; of other keys an operator may add more (pause, slots)."""
    return sorted(now.keys() | wanted.keys() if prefix == PARAMETERS else wanted.keys())


def _text(value: object) -> str:
    return "unset" if value is _GONE else json.dumps(value)
