"""What differs between the inventory and the machines, and what each difference costs.

Identities are compared member by member through their SHA256SUMS; the cost of a changed member is looked up
in one table. Actions that a machine still owes are kept on the machine itself, in PENDING, so that a deploy
that was broken off between new files and the reload goes on where it stopped.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pgha_orch.cluster import Cluster
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine, MachineState

PENDING = "/run/pgha.pending"
SUMS = "/run/pgha/SHA256SUMS"


class Impact(StrEnum):
    """What a difference means for the machine, from harmless to hard."""

    NONE = "none"
    RELOAD = "reload"
    RESTART = "restart"
    REBOOT = "reboot"
    BOOT = "boot"
    NEW = "new machine"
    REMOVE = "remove"


ORDER = tuple(Impact)


@dataclass(frozen=True)
class Action:
    """`verb` is a systemctl verb, or "reboot". As text: `reload haproxy.service`, `reboot`."""

    verb: str
    unit: str = ""

    @property
    def impact(self) -> Impact:
        if self.verb == "reboot":
            return Impact.REBOOT
        return Impact.RESTART if (self.verb, self.unit) in ROLE_RESTARTS else Impact.RELOAD

    def __str__(self) -> str:
        return f"{self.verb} {self.unit}".strip()

    @classmethod
    def parse(cls, line: str) -> Action:
        verb, _, unit = line.strip().partition(" ")
        return cls(verb, unit)


ETCD, PATRONI = Action("restart", "etcd.service"), Action("restart", "patroni.service")
# Restarts that an application can feel; others (chronyd, the TLS server of pgBackRest) count as reloads.
ROLE_RESTARTS = {("restart", "etcd.service"), ("restart", "patroni.service"), ("restart", "haproxy.service")}

# First match wins. An empty tuple: the file is read when it is used, nothing has to be told.
COSTS: tuple[tuple[str, tuple[Action, ...]], ...] = (
    ("network/", (Action("reboot"),)),
    ("tls/ca.crt", (Action("reboot"),)),
    ("etcd/etcd.yml", (ETCD,)),
    ("etcd/", ()),  # etcd reads its certificates anew for every handshake
    ("patroni/etcd-client.", (PATRONI,)),
    ("patroni/", (Action("reload", "patroni.service"),)),
    ("postgresql/", (Action("reload", "patroni.service"),)),
    ("haproxy/", (Action("reload", "haproxy.service"),)),
    ("pgbackrest/", (Action("restart", "pgbackrest.service"),)),
    ("nftables.conf", (Action("reload", "pgha-firewall.service"),)),
    ("chrony/", (Action("restart", "chronyd.service"),)),
    ("ssh/authorized_keys", ()),
    ("ssh/", (Action("restart", "sshd.service"),)),
    ("systemd/", (Action("restart", "timers"),)),
)


@dataclass(frozen=True)
class Change:
    """One difference of one host: in words, what it costs, and what has to be done."""

    host: str
    role: Role
    impact: Impact
    what: str
    actions: tuple[Action, ...] = ()


def of_cluster(cluster: Cluster, images: dict[Role, Image]) -> list[Change]:
    """All differences of all hosts, in file order, machines to be removed last. Changes nothing."""
    found = [
        change
        for name, host in cluster.inventory.hosts.items()
        for change in _of_machine(cluster, name, host.role, images[host.role])
    ]
    for name in cluster.fleet.strays():
        # One that is stopped is as it should be: its data goes with `destroy --data`.
        if cluster.fleet.stray(name).state() is MachineState.RUNNING:
            found.append(Change(name, Role.ETCD, Impact.REMOVE, "no longer in the inventory"))
    return found


def pending(machine: Machine) -> tuple[Action, ...]:
    """What an earlier deploy owes this machine."""
    lines = (machine.read(PENDING) or b"").decode().splitlines()
    return tuple(Action.parse(line) for line in lines if line.strip())


def sums(text: str) -> dict[str, str]:
    """Member path to digest, from `sha256sum` format."""
    return {path: digest for digest, _, path in (line.partition("  ") for line in text.splitlines()) if path}


def cost(path: str) -> tuple[Action, ...]:
    """What a running machine has to do when this member of its identity has changed."""
    return next((actions for prefix, actions in COSTS if path.startswith(prefix)), ())


def _of_machine(cluster: Cluster, name: str, role: Role, image: Image) -> list[Change]:
    machine, identity = cluster.fleet.machines[name], cluster.identities[name]
    match machine.state():
        case MachineState.ABSENT:
            return [Change(name, role, Impact.NEW, f"{role} machine, image {image.build_id[:12]}")]
        case MachineState.STOPPED:
            return [Change(name, role, Impact.BOOT, "does not run")]
    found: list[Change] = []
    booted = machine.booted_image()
    if cluster.fleet.boots_images and booted != image.build_id:
        what = f"image {(booted or 'unknown')[:12]} -> {image.build_id[:12]}"
        found.append(Change(name, role, Impact.REBOOT, what, (Action("reboot"),)))
    running = sums((machine.read(SUMS) or b"").decode())
    wanted = sums(identity.sums.decode())
    for path in sorted(running.keys() | wanted.keys()):
        if running.get(path) != wanted.get(path):
            verb = "new" if path not in running else "gone" if path not in wanted else "changed"
            found.append(_change(name, role, f"{path} {verb}", cost(path)))
    if not running:
        found.append(Change(name, role, Impact.REBOOT, "has no identity", (Action("reboot"),)))
    owed = pending(machine)
    if owed and not found:
        found.append(_change(name, role, "an earlier deploy was broken off", owed))
    return found


def _change(name: str, role: Role, what: str, actions: tuple[Action, ...]) -> Change:
    impact = max((a.impact for a in actions), key=ORDER.index, default=Impact.NONE)
    return Change(name, role, impact, what, actions)
