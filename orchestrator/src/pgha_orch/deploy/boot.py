"""Start what does not run, in the order in which its parts need each other (design.md, Boot order)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from pgha_orch.cluster import Cluster
from pgha_orch.deploy import gates
from pgha_orch.errors import OperationError, OrchError
from pgha_orch.health import etcd
from pgha_orch.health.patroni import Rest
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState
from pgha_orch.progress import Reporter, Seen, step, wait_for

QUORUM_DEADLINE_S = 60.0
LEADER_DEADLINE_S = 120.0
REPLICA_DEADLINE_S = 300.0
SERVICE_DEADLINE_S = 60.0
SERVICE_TIMEOUT_S = 20.0
WAKE_EVERY_S = 1.0


def together(tasks: Iterable[Callable[[], None]]) -> None:
    """Run all tasks at once; wait for all; raise the first error."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        running = [pool.submit(task) for task in tasks]
        errors = [error for task in running if (error := task.exception()) is not None]
    if errors:
        raise errors[0]


def start(cluster: Cluster, images: Mapping[Role, Image], reporter: Reporter) -> None:
    """Boot every machine that does not run, and wait at each stage's gate. Does nothing when all run and are well."""
    down = {n for n in cluster.inventory.hosts if cluster.machine(n).state() is not MachineState.RUNNING}
    stores = list(cluster.addresses(Role.ETCD))
    nodes = list(cluster.addresses(Role.POSTGRES))
    others = [*cluster.addresses(Role.BACKUP), *cluster.addresses(Role.HAPROXY)]

    running = [cluster.machine(n) for n in cluster.inventory.hosts if n not in down]
    together([partial(_start_services, machine) for machine in running])

    def boot(names: Sequence[str]) -> None:
        def one(name: str) -> None:
            cluster.machine(name).boot(images[cluster.inventory.hosts[name].role], cluster.identities[name])

        together([partial(one, name) for name in names if name in down])

    with step("etcd quorum", reporter) as current:
        boot(stores)
        wait_for(current, gates.etcd_quorum(cluster, stores), deadline_s=QUORUM_DEADLINE_S * cluster.fleet.patience)
        current.note = f"{len(stores)} members"

    # Nothing waits for these machines' gates until HAProxy has to route: they boot beside PostgreSQL.
    first = _first_nodes(cluster, nodes)
    with step("PostgreSQL leader", reporter) as current:
        boot(first)
        boot(others)
        current.note = wait_for(
            current, gates.leader(cluster, first), deadline_s=LEADER_DEADLINE_S * cluster.fleet.patience
        ).text

    def join() -> None:
        with step("replicas", reporter) as current:
            boot(nodes)
            look = _awake(cluster, gates.replicas(cluster))
            current.note = wait_for(current, look, deadline_s=REPLICA_DEADLINE_S * cluster.fleet.patience).text

    def services() -> None:
        for name in others:
            machine = cluster.machine(name)
            unit = "haproxy.service" if cluster.inventory.hosts[name].role is Role.HAPROXY else "pgbackrest.service"
            with step(f"{name} serves", reporter) as current:
                wait_for(current, gates.service(machine, unit), deadline_s=SERVICE_DEADLINE_S * cluster.fleet.patience)

    together([join, services])


def _awake(cluster: Cluster, look: Callable[[], Seen]) -> Callable[[], Seen]:
    """`look`, and while it is shut, wake Patroni once a second, on slow machines less often.

    Replicas say that they stream, and the leader names a sync standby, only in their HA loops, every loop_wait
    seconds: on a fresh cluster that was half of the time to the first write.
    """
    rest = Rest(cluster.addresses(Role.POSTGRES), cluster.tls)
    woken, every_s = 0.0, WAKE_EVERY_S * cluster.fleet.patience

    def looking() -> Seen:
        nonlocal woken
        seen = look()
        if not seen.open and seen.fatal is None and time.monotonic() - woken >= every_s:
            woken = time.monotonic()
            for name in cluster.addresses(Role.POSTGRES):
                # A node that is not there yet cannot be woken, and need not be.
                with suppress(OperationError):
                    rest.wake(name, cluster.inventory.timings.loop_wait)
        return seen

    return looking


def _start_services(machine: Machine) -> None:
    """Start what the machine's role wants and somebody stopped. What runs is left alone; gates tell what fails."""
    command = ["systemctl", "start", "--no-block", "pgha.target"]
    with suppress(OperationError):
        machine.exec(command, timeout_s=SERVICE_TIMEOUT_S, check=False)


def leader_name(cluster: Cluster) -> str:
    """Name of the node that leads now; OrchError when none does."""
    found = Rest(cluster.addresses(Role.POSTGRES), cluster.tls).cluster().leader
    if found is None:
        raise OrchError(f"{cluster.inventory.cluster}: no leader", hint="pgha-orch status says why")
    return found.name


def _first_nodes(cluster: Cluster, nodes: Sequence[str]) -> list[str]:
    """Who has to be up before there can be a leader.

    Before the first bootstrap it is one node, so that the others clone it. Later it may be any of them: only
    those know who has the newest data, so all start together.
    """
    key = f"/service/{cluster.inventory.cluster}/initialize"
    if etcd.get(key, cluster.addresses(Role.ETCD), cluster.tls):
        return list(nodes)
    return [cluster.inventory.bootstrap_host]
