"""The whole deploy, from what the inventory says to a cluster that takes writes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from pgha_orch.cluster import Cluster
from pgha_orch.deploy import backup, boot, changes, database, dynamic, gates, settle
from pgha_orch.deploy.boot import LEADER_DEADLINE_S, REPLICA_DEADLINE_S, leader_name, together
from pgha_orch.deploy.changes import Change, Impact
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.machines import MachineState
from pgha_orch.progress import Reporter, step, wait_for

WRITE_DEADLINE_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What a deploy would do. `parameters` are differences of Patroni's dynamic configuration."""

    changes: tuple[Change, ...]
    parameters: tuple[dynamic.Difference, ...]

    @property
    def empty(self) -> bool:
        return not self.changes and not self.parameters


@dataclass(frozen=True)
class Outcome:
    """What a deploy did. Seconds are of this run; `first_write_s` None when nothing was booted."""

    plan: Plan
    sql: tuple[str, ...]
    seconds: float
    first_write_s: float | None

    @property
    def changed(self) -> bool:
        return not self.plan.empty or bool(self.sql)


def plan(cluster: Cluster, images: Mapping[Role, Image]) -> Plan:
    """Compare, change nothing. Parameters can be compared only while a leader runs."""
    found = tuple(changes.of_cluster(cluster, dict(images)))
    running = [n for n in cluster.addresses(Role.POSTGRES) if cluster.machine(n).state() is MachineState.RUNNING]
    differences = dynamic.differences(cluster) if running else ()
    return Plan(found, tuple(differences))


def deploy(cluster: Cluster, images: Mapping[Role, Image], reporter: Reporter) -> Outcome:
    """Make it so. Every step is safe to repeat; a second run on a healthy cluster changes nothing."""
    begun = time.monotonic()
    with cluster.state.lock("deploy"):
        with step("network", reporter) as current:
            current.note = "bridge made" if cluster.fleet.network_up() else "is up"
        found = tuple(changes.of_cluster(cluster, dict(images)))
        booting = any(c.impact in (Impact.NEW, Impact.BOOT) for c in found)
        settle.push(cluster, found, reporter)
        boot.start(cluster, images, reporter)
        differences = dynamic.apply(cluster, reporter)
        settle.roll(cluster, images, reporter)
        sql = _prepare(cluster, reporter)
        with step("write and read through HAProxy", reporter) as current:
            look = gates.write_and_read(cluster)
            current.note = wait_for(current, look, deadline_s=WRITE_DEADLINE_S * cluster.fleet.patience).text
        written = time.monotonic() - begun
        settle.remove(cluster, found, reporter)
        if cluster.inventory.backup is not None:
            backup.ensure_first(cluster, reporter)
        with step("all nodes", reporter) as current:
            # A restart of the leader breaks every replica's stream once more.
            look = gates.replicas(cluster)
            current.note = wait_for(current, look, deadline_s=REPLICA_DEADLINE_S * cluster.fleet.patience).text
    return Outcome(Plan(found, differences), sql, time.monotonic() - begun, written if booting else None)


def _prepare(cluster: Cluster, reporter: Reporter) -> tuple[str, ...]:
    """Users and databases, and the backup stanza beside them."""
    done: list[str] = []
    nodes = list(cluster.addresses(Role.POSTGRES))

    def users() -> None:
        with step("users and databases", reporter) as current:
            # A failover may be under way: this run's restarts of etcd need not have caused it.
            wait_for(current, gates.leader(cluster, nodes), deadline_s=LEADER_DEADLINE_S * cluster.fleet.patience)
            done.extend(database.ensure(cluster, cluster.machine(leader_name(cluster))))
            current.note = ", ".join(done) or "as in the inventory"

    def stanza() -> None:
        if cluster.inventory.backup is not None:
            backup.ensure_stanza(cluster, reporter)

    together([users, stanza])
    return tuple(done)
