"""Bring running machines to what the inventory says: reloads first, then restarts and reboots, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from pgha_orch.cluster import Cluster
from pgha_orch.deploy import gates
from pgha_orch.deploy.boot import (
    LEADER_DEADLINE_S,
    QUORUM_DEADLINE_S,
    REPLICA_DEADLINE_S,
    SERVICE_DEADLINE_S,
    leader_name,
)
from pgha_orch.deploy.changes import PENDING, Action, Change, Impact, pending
from pgha_orch.health.patroni import Rest
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine
from pgha_orch.progress import Reporter, Step, step, wait_for

UNIT_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 120.0
REBOOT = Action("reboot")
LIVE = (Impact.NONE, Impact.RELOAD, Impact.RESTART, Impact.REBOOT)


def push(cluster: Cluster, changes: Sequence[Change], reporter: Reporter) -> None:
    """Give running machines their new files and reload what can be reloaded.

    Restarts and reboots are only noted on the machine; `roll` carries them out.
    """
    for name, own in _by_host(changes).items():
        machine = cluster.machine(name)
        with step(f"{name}: new configuration", reporter) as current:
            owed = _owe(machine, [action for change in own for action in change.actions])
            machine.apply_identity(cluster.identities[name])
            for action in owed:
                if action.impact is Impact.RELOAD:
                    _carry_out(machine, action)
                    current.saw(str(action))
            _forget(machine, lambda action: action.impact is Impact.RELOAD)
            current.note = ", ".join(str(a) for a in owed) or "nothing to reload"


def roll(cluster: Cluster, images: Mapping[Role, Image], reporter: Reporter) -> None:
    """Restarts and reboots: etcd members one by one, then the replicas, then the leader, then the others."""
    for name in cluster.addresses(Role.ETCD):
        _roll_machine(cluster, images, name, reporter)
    owing = [name for name in cluster.addresses(Role.POSTGRES) if pending(cluster.machine(name))]
    if owing:
        leader = leader_name(cluster)
        for name in sorted(owing, key=lambda n: n == leader):
            _roll_machine(cluster, images, name, reporter)
    _pending_restarts(cluster, reporter)
    for name in [*cluster.addresses(Role.BACKUP), *cluster.addresses(Role.HAPROXY)]:
        _roll_machine(cluster, images, name, reporter)


def remove(cluster: Cluster, changes: Sequence[Change], reporter: Reporter) -> None:
    """Stop machines that the inventory no longer names. Their data stays until `destroy --data`."""
    for change in changes:
        if change.impact is Impact.REMOVE:
            with step(f"{change.host}: removed from the inventory", reporter):
                cluster.fleet.stray(change.host).stop(timeout_s=STOP_TIMEOUT_S)


def _by_host(changes: Iterable[Change]) -> dict[str, list[Change]]:
    found: dict[str, list[Change]] = {}
    for change in changes:
        if change.impact in LIVE:
            found.setdefault(change.host, []).append(change)
    return found


def _roll_machine(cluster: Cluster, images: Mapping[Role, Image], name: str, reporter: Reporter) -> None:
    machine = cluster.machine(name)
    owed = pending(machine)
    if not owed:
        return
    role = cluster.inventory.hosts[name].role
    hardest = "reboot" if REBOOT in owed else "restart"
    with step(f"{name}: {hardest}", reporter) as current:
        if role is Role.POSTGRES and REBOOT in owed:
            _step_down(cluster, name, current)
        if REBOOT in owed:
            machine.reboot(images[role], cluster.identities[name], timeout_s=STOP_TIMEOUT_S)
        else:
            for action in owed:
                _carry_out(machine, action)
            _forget(machine, lambda _: True)
        _gate(cluster, name, role, current)


def _step_down(cluster: Cluster, name: str, current: Step) -> None:
    """Hand the leadership over before a planned reboot: 2 s of stall instead of a failover."""
    nodes = cluster.addresses(Role.POSTGRES)
    if leader_name(cluster) == name and len(nodes) > 1:
        current.saw(f"switchover away from {name}")
        Rest(nodes, cluster.tls).switchover(name)
        others = [n for n in nodes if n != name]
        wait_for(current, gates.leader(cluster, others), deadline_s=LEADER_DEADLINE_S * cluster.fleet.patience)


def _gate(cluster: Cluster, name: str, role: Role, current: Step) -> None:
    match role:
        case Role.ETCD:
            names = list(cluster.addresses(Role.ETCD))
            wait_for(current, gates.etcd_quorum(cluster, names), deadline_s=QUORUM_DEADLINE_S * cluster.fleet.patience)
        case Role.POSTGRES:
            names = list(cluster.addresses(Role.POSTGRES))
            wait_for(current, gates.leader(cluster, names), deadline_s=LEADER_DEADLINE_S * cluster.fleet.patience)
            wait_for(current, gates.replicas(cluster), deadline_s=REPLICA_DEADLINE_S * cluster.fleet.patience)
        case Role.HAPROXY:
            wait_for(
                current,
                gates.service(cluster.machine(name), "haproxy.service"),
                deadline_s=SERVICE_DEADLINE_S * cluster.fleet.patience,
            )
        case Role.BACKUP:
            wait_for(
                current,
                gates.service(cluster.machine(name), "pgbackrest.service"),
                deadline_s=SERVICE_DEADLINE_S * cluster.fleet.patience,
            )


def _pending_restarts(cluster: Cluster, reporter: Reporter) -> None:
    """Restart PostgreSQL where a changed parameter asks for it: replicas first, then the leader."""
    rest = Rest(cluster.addresses(Role.POSTGRES), cluster.tls)
    # A member that has left the inventory is stopped soon: it needs no restart.
    waiting = [m.name for m in rest.cluster().members if m.pending_restart and m.name in cluster.inventory.hosts]
    if not waiting:
        return
    leader = leader_name(cluster)
    for name in sorted(waiting, key=lambda n: n == leader):
        with step(f"{name}: restart PostgreSQL for changed parameters", reporter) as current:
            rest.restart(name)
            wait_for(
                current,
                gates.leader(cluster, list(cluster.addresses(Role.POSTGRES))),
                deadline_s=LEADER_DEADLINE_S * cluster.fleet.patience,
            )
            wait_for(current, gates.replicas(cluster), deadline_s=REPLICA_DEADLINE_S * cluster.fleet.patience)


def _carry_out(machine: Machine, action: Action) -> None:
    if action.unit == "timers":
        units = (machine.read("/run/pgha/units") or b"").decode().split()
        machine.exec(["systemctl", "daemon-reload"], timeout_s=UNIT_TIMEOUT_S)
        if units:
            machine.exec(["systemctl", "restart", *units], timeout_s=UNIT_TIMEOUT_S)
        return
    active = machine.exec(["systemctl", "--quiet", "is-active", action.unit], timeout_s=UNIT_TIMEOUT_S, check=False)
    if action.verb == "reload" and active.returncode != 0:
        # It fails and is started again and again: the new files may be what it lacked. A gate waits for it later.
        machine.exec(["systemctl", "--no-block", "restart", action.unit], timeout_s=UNIT_TIMEOUT_S)
        return
    # A service that somebody stopped has nothing to reload: it starts, with its new files.
    verb = "reload-or-restart" if action.verb == "reload" else action.verb
    machine.exec(["systemctl", verb, action.unit], timeout_s=UNIT_TIMEOUT_S)


def _owe(machine: Machine, actions: Sequence[Action]) -> tuple[Action, ...]:
    """Note what the machine owes, before its files change; duplicates once, and a restart covers its reload."""
    all_owed = dict.fromkeys([*pending(machine), *actions])
    restarted = {a.unit for a in all_owed if a.verb == "restart"}
    owed = tuple(a for a in all_owed if not (a.verb == "reload" and a.unit in restarted))
    _write(machine, owed)
    return owed


def _forget(machine: Machine, done: Callable[[Action], bool]) -> None:
    _write(machine, tuple(a for a in pending(machine) if not done(a)))


def _write(machine: Machine, owed: tuple[Action, ...]) -> None:
    if owed:
        machine.exec(["tee", PENDING], input="".join(f"{a}\n" for a in owed), timeout_s=UNIT_TIMEOUT_S)
    else:
        machine.exec(["rm", "-f", PENDING], timeout_s=UNIT_TIMEOUT_S)
