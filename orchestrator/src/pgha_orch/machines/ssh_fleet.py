"""All SSH hosts of a cluster: how each is reached, whose host keys are known, which images they run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.image import Image
from pgha_orch.inventory.model import Host, Inventory, Role
from pgha_orch.machines.base import Machine
from pgha_orch.machines.remote import RemoteShell
from pgha_orch.machines.ssh_host import Record, SshMachine
from pgha_orch.pki import Pki
from pgha_orch.progress import Reporter
from pgha_orch.ssh import Connection, Endpoint, ask_host_key, is_pinned
from pgha_orch.state import StateDir

CONFIRMED = "ssh/confirmed_hosts"  # lines "HOST ssh-ed25519 AAAA..."
KNOWN = "ssh/known_hosts"
BOOTSTRAP_KEY = "PGHA_BOOTSTRAP_KEY"


@dataclass(frozen=True)
class SshFleet:
    """Hosts that someone else boots. There is no network of ours."""

    inventory: Inventory
    state: StateDir
    hosts: Mapping[str, SshMachine]
    boots_images = False
    patience = 1.0

    @classmethod
    def open(cls, inventory: Inventory, state: StateDir, pki: Pki) -> SshFleet:
        confirmed = _confirmed(state)
        lines = [
            f"{host.address} {pki.ssh_hosts[name].public}\n"
            + "".join(f"{_known_name(_endpoint(host))} {pin}\n" for pin in _pins(name, host, confirmed) if " " in pin)
            for name, host in inventory.hosts.items()
        ]
        content = "".join(lines).encode()
        known = state.path(KNOWN) if state.read(KNOWN) == content else state.write(KNOWN, content)
        extra = os.environ.get(BOOTSTRAP_KEY)
        keys = (pki.ssh_operator_path, *((Path(extra),) if extra else ()))
        hosts = {
            name: _machine(
                name,
                host,
                state.root / "machines" / name,
                pki.ssh_hosts[name].public,
                _pins(name, host, confirmed),
                keys,
                known,
            )
            for name, host in inventory.hosts.items()
        }
        return cls(inventory, state, hosts)

    @property
    def machines(self) -> Mapping[str, Machine]:
        return self.hosts

    def preflight(self) -> None:
        extra = os.environ.get(BOOTSTRAP_KEY)
        if extra and not Path(extra).is_file():
            raise UsageError(f"{BOOTSTRAP_KEY}={extra}: no such file", hint="name the private key, or unset it")

    def images(self, image_dir: Path, reporter: Reporter) -> Mapping[Role, Image]:
        """What the hosts run. Raises OperationError for a host that is down, and for an image of another role."""
        found: dict[Role, Image] = {}
        for name, machine in self._each():
            manifest = machine.manifest()
            role = self.inventory.hosts[name].role
            if manifest is None:
                raise OperationError(f"{name}: no /etc/pgha/image.json", hint=f"boot the {role} image on it")
            if manifest.role != role:
                raise UsageError(
                    f"{name}: it runs the image of role {manifest.role}, the inventory says {role}",
                    hint=f"boot the {role} image on it, or change hosts.{name}.role",
                )
            wanted = self.inventory.image.build_id
            if wanted is not None and not manifest.build_id.startswith(wanted):
                raise UsageError(
                    f"{name}: it runs build {manifest.build_id[:12]}, image.build_id is {wanted[:12]}",
                    hint="boot that build on it, or change image.build_id",
                )
            self._check_watchdog(name, machine)
            found.setdefault(role, Image(role, manifest.builder, manifest.build_id, Path("/"), manifest))
        return found

    def _check_watchdog(self, name: str, machine: SshMachine) -> None:
        """Without its device, Patroni in mode `required` cancels the bootstrap: better to hear of it before that."""
        required = self.inventory.watchdog_mode == "required" and self.inventory.hosts[name].role is Role.POSTGRES
        if not required or machine.exec(["test", "-c", "/dev/watchdog"], timeout_s=10, check=False).returncode == 0:
            return
        raise UsageError(
            f"{name}: no /dev/watchdog, and postgresql.watchdog is {self.inventory.postgresql.watchdog}: "
            "it would never lead",
            hint="load its driver (softdog is one), or set postgresql.watchdog: off and live without fencing",
        )

    def network_up(self) -> bool:
        return False

    def network_down(self) -> None:
        """There is none of ours."""

    def assert_reachable(self) -> None:
        """Whether packets find the hosts is the business of whoever runs their network."""

    def strays(self) -> tuple[str, ...]:
        directory = self.state.root / "machines"
        if not directory.exists():
            return ()
        return tuple(sorted(p.parent.name for p in directory.glob("*/machine.json") if p.parent.name not in self.hosts))

    def stray(self, name: str) -> Machine:
        directory = self.state.root / "machines" / name
        record = Record.model_validate_json((directory / "machine.json").read_bytes())
        host = Host(role=Role.ETCD, address=ip_address(record.address))  # its role does not matter any more
        return _machine(
            name, host, directory, record.host_key, (), (self.state.path("ssh/operator"),), self.state.path(KNOWN)
        )

    def unconfirmed(self) -> Mapping[str, str]:
        """Host to the key that it answers with, where that is none we know. Raises SshError for a host that is down."""

        def ask(name: str) -> tuple[str, str | None]:
            machine = self.hosts[name]
            known = (*machine.pins, machine.record.host_key)
            answer = ask_host_key(machine.waiting.connection.endpoint)
            return name, None if is_pinned(answer, known) else answer

        with ThreadPoolExecutor(max_workers=8) as pool:
            return {name: key for name, key in pool.map(ask, self.hosts) if key is not None}

    def confirm(self, name: str, key: str) -> None:
        """Remember a host's key; an operator has compared it with the machine's console."""
        kept = {**_confirmed(self.state), name: key}
        self.state.write(CONFIRMED, "".join(f"{host} {pin}\n" for host, pin in kept.items()).encode())

    def _each(self) -> Sequence[tuple[str, SshMachine]]:
        """All hosts, once each has answered; the first error in file order when one does not."""
        with ThreadPoolExecutor(max_workers=8) as pool:
            waiting = {name: pool.submit(machine.shell) for name, machine in self.hosts.items()}
        for task in waiting.values():
            task.result()
        return list(self.hosts.items())


def _machine(
    name: str,
    host: Host,
    directory: Path,
    own_key: str,
    pins: tuple[str, ...],
    keys: tuple[Path, ...],
    known: Path,
) -> SshMachine:
    """With its identity a host takes the operator's key alone, on port 22 of its own address."""
    own = Connection(name, Endpoint(str(host.address)), pins=[own_key], keys=keys[:1])
    before = Connection(name, _endpoint(host), pins=[*pins, own_key], keys=keys)
    return SshMachine(
        name,
        directory,
        RemoteShell(own, known, keys[0]),
        RemoteShell(before, known, keys[-1]),
        pins,
        Record(address=str(host.address), host_key=own_key),
    )


def _endpoint(host: Host) -> Endpoint:
    if host.ssh is None:
        return Endpoint(str(host.address))
    return Endpoint(str(host.ssh.address or host.address), host.ssh.port, host.ssh.user)


def _known_name(endpoint: Endpoint) -> str:
    return endpoint.address if endpoint.port == 22 else f"[{endpoint.address}]:{endpoint.port}"


def _pins(name: str, host: Host, confirmed: Mapping[str, str]) -> tuple[str, ...]:
    """What may answer before the identity: the inventory's `host_key`, or the one that was confirmed."""
    given = host.ssh.host_key if host.ssh is not None else None
    return tuple(pin for pin in (given or confirmed.get(name),) if pin)


def _confirmed(state: StateDir) -> dict[str, str]:
    lines = (state.read(CONFIRMED) or b"").decode().splitlines()
    return {name: pin for name, _, pin in (line.partition(" ") for line in lines) if pin}
