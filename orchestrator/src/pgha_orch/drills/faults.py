"""Faults as data, a journal of those in place, and how each kind is put in and taken away.

The journal is written before a fault is put in and shortened after it was taken away, so what a drill broke can
be healed after it was killed itself: `pgha-orch drill --heal`. Healing is safe to repeat.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter

from pgha_orch.cluster import Cluster
from pgha_orch.drills import wal_disk
from pgha_orch.errors import OperationError
from pgha_orch.health.patroni import Rest
from pgha_orch.image import Image
from pgha_orch.inventory.model import Role
from pgha_orch.machines import faults as machine_faults
from pgha_orch.machines.faults import Direction

JOURNAL = "drill-faults.json"
UNIT_TIMEOUT_S = 60.0
ANSWER_DEADLINE_S = 60.0  # times the fleet's patience
Kind = Literal["power", "freeze", "cut", "stopped-process", "masked", "clock", "setting", "wal-disk"]


class Fault(BaseModel):
    """One thing that is broken on purpose. `args` are the kind's own.

    power: off; build_id of the image to boot again. freeze: all of the machine. cut: peers (hosts, or "host" for
    this one), direction, port. stopped-process: pid inside. masked: unit. clock: step_s, forward or back.
    setting: key, value and value before of Patroni's dynamic configuration. wal-disk: pg_wal on a file system with
    little room.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    host: str
    args: Mapping[str, JsonValue] = {}

    def __str__(self) -> str:
        what = ", ".join(f"{key} {value}" for key, value in self.args.items())
        return f"{self.kind} {self.host}" + (f" ({what})" if what else "")


_FAULTS = TypeAdapter(list[Fault])


@dataclass(frozen=True)
class Injector:
    """Puts faults in and takes them away. `images` is the store, to boot machines again with what they ran."""

    cluster: Cluster
    images: Sequence[Image]

    def in_place(self) -> list[Fault]:
        """Faults of this or an earlier drill that were not taken away, oldest first."""
        text = self.cluster.state.read(JOURNAL)
        return _FAULTS.validate_json(text) if text else []

    def note(self, fault: Fault) -> None:
        """Enter a fault that the caller puts in itself."""
        self._write([*self.in_place(), fault])

    def inject(self, fault: Fault) -> None:
        self.note(fault)
        _INJECT[fault.kind](self, fault)

    def heal(self, fault: Fault) -> None:
        _HEAL[fault.kind](self, fault)
        self._write([f for f in self.in_place() if f != fault])

    def heal_all(self) -> list[Fault]:
        """Take every fault away, the newest first; what was healed. Tries all, then raises the first error."""
        healed, errors = [], []
        for fault in reversed(self.in_place()):
            try:
                self.heal(fault)
                healed.append(fault)
            except OperationError as exc:
                errors.append(exc)
        if errors:
            left = ", ".join(map(str, self.in_place()))
            raise OperationError(
                f"not healed: {left}: {errors[0].message}", hint="repair it, then: pgha-orch drill --heal"
            ) from errors[0]
        return healed

    def boot(self, host: str, build_id: str) -> None:
        """Start a machine again with the image that it ran."""
        role = self.cluster.inventory.hosts[host].role
        image = next((i for i in self.images if i.role == role and i.build_id == build_id), None)
        if image is None:
            raise OperationError(
                f"{host}: its image {build_id[:12]} is gone", hint="pgha-orch deploy boots a newer one"
            )
        self.cluster.machine(host).boot(image, self.cluster.identities[host])

    def _write(self, faults: list[Fault]) -> None:
        if faults:
            self.cluster.state.write(JOURNAL, _FAULTS.dump_json(faults))
        else:
            self.cluster.state.delete(JOURNAL)


def _cut(injector: Injector, fault: Fault) -> None:
    inventory = injector.cluster.inventory
    named = fault.args["peers"]
    names = [str(n) for n in named] if isinstance(named, list) else []
    peers = [inventory.bridge_address if n == "host" else inventory.hosts[n].address for n in names]
    port = fault.args.get("port")
    machine_faults.cut(
        injector.cluster.machine(fault.host),
        peers,
        direction=Direction(str(fault.args.get("direction", "both"))),
        port=port if isinstance(port, int) else None,
    )


def _signal(injector: Injector, fault: Fault, signal: str, *, check: bool) -> None:
    pid = str(fault.args["pid"])
    injector.cluster.machine(fault.host).exec(["kill", f"-{signal}", pid], timeout_s=UNIT_TIMEOUT_S, check=check)


def _mask(injector: Injector, fault: Fault) -> None:
    machine = injector.cluster.machine(fault.host)
    machine.exec(["systemctl", "mask", "--runtime", str(fault.args["unit"])], timeout_s=UNIT_TIMEOUT_S)


def _unmask(injector: Injector, fault: Fault) -> None:
    machine, unit = injector.cluster.machine(fault.host), str(fault.args["unit"])
    machine.exec(["systemctl", "unmask", "--runtime", unit], timeout_s=UNIT_TIMEOUT_S)
    machine.exec(["systemctl", "start", unit], timeout_s=UNIT_TIMEOUT_S)


def _step(injector: Injector, fault: Fault, sign: int) -> None:
    seconds = sign * int(str(fault.args["step_s"]))
    injector.cluster.machine(fault.host).exec(["date", "--set", f"{seconds:+d} seconds"], timeout_s=UNIT_TIMEOUT_S)


def _setting(injector: Injector, fault: Fault, value: JsonValue) -> None:
    rest = Rest(injector.cluster.addresses(Role.POSTGRES), injector.cluster.tls)
    seen = rest.cluster()
    name = seen.leader.name if seen.leader else seen.members[0].name
    rest.patch_config(name, {str(fault.args["key"]): value})


def _until_it_works(heal: Callable[[Injector, Fault], None]) -> Callable[[Injector, Fault], None]:
    """Again and again: a machine that its watchdog reset still boots, etcd that was just healed has no leader yet."""

    def healing(injector: Injector, fault: Fault) -> None:
        deadline = time.monotonic() + ANSWER_DEADLINE_S * injector.cluster.fleet.patience
        while True:
            try:
                return heal(injector, fault)
            except OperationError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    return healing


_INJECT: dict[Kind, Callable[[Injector, Fault], None]] = {
    "power": lambda i, f: i.cluster.machine(f.host).kill(),
    "freeze": lambda i, f: i.cluster.machine(f.host).freeze(),
    "cut": _cut,
    "stopped-process": lambda i, f: _signal(i, f, "STOP", check=True),
    "masked": _mask,
    "clock": lambda i, f: _step(i, f, 1),
    "setting": lambda i, f: _setting(i, f, f.args["value"]),
    "wal-disk": lambda i, f: wal_disk.shrink(i.cluster.machine(f.host)),
}
_HEAL: dict[Kind, Callable[[Injector, Fault], None]] = {
    "power": lambda i, f: i.boot(f.host, str(f.args["build_id"])),
    "freeze": lambda i, f: i.cluster.machine(f.host).thaw(),
    "cut": lambda i, f: machine_faults.mend(i.cluster.machine(f.host)),
    # The process may be gone meanwhile.
    "stopped-process": _until_it_works(lambda i, f: _signal(i, f, "CONT", check=False)),
    "masked": _until_it_works(_unmask),
    "clock": lambda i, f: _step(i, f, -1),
    "setting": _until_it_works(lambda i, f: _setting(i, f, f.args["before"])),
    "wal-disk": lambda i, f: wal_disk.restore(i.cluster.machine(f.host)),
}
