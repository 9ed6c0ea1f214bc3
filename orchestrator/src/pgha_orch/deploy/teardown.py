"""Take a cluster down: HAProxy first, then PostgreSQL with the leader last, then what they need."""

from __future__ import annotations

import shutil
from functools import partial

from pgha_orch.cluster import Cluster
from pgha_orch.deploy.boot import leader_name, together
from pgha_orch.errors import OrchError
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState
from pgha_orch.progress import Reporter, step

STOP_TIMEOUT_S = 60.0


def destroy(cluster: Cluster, reporter: Reporter, *, data: bool) -> None:
    """Stop every machine of the cluster, also those that left its inventory; with `data`, remove all it has.

    Only this cluster's own machines, bridge and directory are touched: their names derive from its cluster id.
    """
    with cluster.state.lock("deploy"):
        nodes = list(cluster.addresses(Role.POSTGRES))
        leader = _leader(cluster, nodes)
        stages = (
            ("HAProxy", list(cluster.addresses(Role.HAPROXY))),
            ("replicas", [n for n in nodes if n != leader]),
            ("PostgreSQL leader", [leader] if leader else []),
            ("etcd and backup", [*cluster.addresses(Role.ETCD), *cluster.addresses(Role.BACKUP)]),
        )
        for title, names in stages:
            _stop(title, [cluster.machine(name) for name in names], reporter)
        strays = [cluster.fleet.stray(name) for name in cluster.fleet.strays()]
        _stop("machines that left the inventory", strays, reporter)
        if data:
            with step("data", reporter):
                for machine in [*(cluster.machine(n) for n in cluster.inventory.hosts), *strays]:
                    machine.destroy()
        cluster.fleet.network_down()
    if data:
        shutil.rmtree(cluster.state.root)


def _stop(title: str, machines: list[Machine], reporter: Reporter) -> None:
    running = [m for m in machines if m.state() is MachineState.RUNNING]
    if running:
        with step(f"stop {title}", reporter) as current:
            together([partial(machine.stop, timeout_s=STOP_TIMEOUT_S) for machine in running])
            current.note = ", ".join(m.name for m in running)


def _leader(cluster: Cluster, nodes: list[str]) -> str | None:
    if not any(cluster.machine(n).state() is MachineState.RUNNING for n in nodes):
        return None
    try:
        return leader_name(cluster)
    except OrchError:
        return None
