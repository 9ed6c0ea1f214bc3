"""All VMs of a cluster, on a bridge of their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.image import Image, default_image_dir, disk, ensure_images, kernel
from pgha_orch.inventory.model import Host, Inventory, Role
from pgha_orch.machines import accelerator
from pgha_orch.machines.accelerator import Accelerator
from pgha_orch.machines.base import Machine
from pgha_orch.machines.bridge import Bridge
from pgha_orch.machines.qemu import QemuMachine
from pgha_orch.machines.remote import RemoteShell
from pgha_orch.pki import Pki
from pgha_orch.progress import Reporter
from pgha_orch.ssh import Connection, Endpoint
from pgha_orch.state import StateDir

KNOWN = "ssh/known_hosts"
IDENTITY_DRIVE = "PGHA_IDENTITY_DRIVE"  # set: hand the identity over as a drive, not as a credential
PROGRAMS = {"qemu-system-x86_64": "qemu-system-x86", "qemu-img": "qemu-utils", "ip": "iproute2"}
TUN = Path("/dev/net/tun")


@dataclass(frozen=True)
class QemuFleet:
    """The VMs of one cluster."""

    inventory: Inventory
    state: StateDir
    pki: Pki
    bridge: Bridge
    boots_images = True

    @classmethod
    def open(cls, inventory: Inventory, state: StateDir, pki: Pki) -> QemuFleet:
        bridge = Bridge(f"pgha-{state.cluster_id()}", inventory.network, inventory.bridge_address)
        return cls(inventory, state, pki, bridge)

    @cached_property
    def machines(self) -> Mapping[str, Machine]:
        return {name: self._machine(name, host) for name, host in self.inventory.hosts.items()}

    @property
    def patience(self) -> float:
        """TCG's factor, and more when the machines have more processors than this host."""
        crowd = sum(host.cpus for host in self.inventory.hosts.values()) / (os.cpu_count() or 1)
        return self._accelerator.factor * (max(1.0, crowd) if self._accelerator.name == "tcg" else 1.0)

    def preflight(self) -> None:
        if os.geteuid() != 0:
            raise UsageError("machines: qemu: only root can make their bridge and taps", hint="run it as root (sudo)")
        for program, package in PROGRAMS.items():
            if shutil.which(program) is None:
                raise UsageError(f"{program} is not installed", hint=f"apt-get install {package}")
        try:
            os.close(os.open(TUN, os.O_RDWR))
        except OSError as exc:
            raise UsageError(
                f"{TUN}: {(exc.strerror or str(exc)).lower()}: no taps for the machines' network",
                hint="modprobe tun; in a container, let it have /dev/net/tun",
            ) from exc
        self.bridge.assert_free()

    def images(self, image_dir: Path, reporter: Reporter) -> Mapping[Role, Image]:
        found = ensure_images(self.inventory, image_dir, reporter)
        reporter.started("disks")
        disk.build(list(found.values()), image_dir, reporter)
        known = self._accelerator
        reporter.ended("disks", ok=True, seconds=0.0, note=f"QEMU with {known.name}, deadlines x {self.patience:.1f}")
        return found

    def network_up(self) -> bool:
        return self.bridge.up()

    def network_down(self) -> None:
        directory = self.state.root / "machines"
        self.bridge.down(guard=directory.exists() and any(directory.iterdir()))

    def assert_reachable(self) -> None:
        self.bridge.assert_local(next(iter(self.inventory.hosts.values())).address)

    def unconfirmed(self) -> Mapping[str, str]:
        return {}  # their host keys come with their identity

    def confirm(self, name: str, key: str) -> None:
        raise OperationError(f"{name}: its host key comes with its identity, there is none to confirm")

    def strays(self) -> tuple[str, ...]:
        directory = self.state.root / "machines"
        if not directory.exists():
            return ()
        names = (p.name for p in directory.iterdir() if p.is_dir())
        return tuple(sorted(name for name in names if name not in self.inventory.hosts))

    def stray(self, name: str) -> Machine:
        return self._machine(name, None)

    @cached_property
    def _accelerator(self) -> Accelerator:
        own = kernel.find(default_image_dir())
        if not own.directory.exists():
            return Accelerator(name="tcg", factor=1.0, host="")  # nothing was ever booted here
        return accelerator.find(own)

    @cached_property
    def _known_hosts(self) -> Path:
        lines = [f"{host.address} {self.pki.ssh_hosts[name].public}\n" for name, host in self.inventory.hosts.items()]
        content = "".join(lines).encode()
        return self.state.path(KNOWN) if self.state.read(KNOWN) == content else self.state.write(KNOWN, content)

    def _machine(self, name: str, host: Host | None) -> QemuMachine:
        address = str(host.address) if host is not None else str(self.bridge.address)
        connection = Connection(
            name,
            Endpoint(address),
            pins=[self.pki.ssh_hosts[name].public] if host is not None else [],
            keys=[self.pki.ssh_operator_path],
            patience=self.patience,
        )
        return QemuMachine(
            name,
            f"{self.state.cluster_id()}-{name}",
            self.state.root / "machines" / name,
            self.bridge,
            host,
            self._accelerator,
            RemoteShell(connection, self._known_hosts, self.pki.ssh_operator_path),
            identity_drive=bool(os.environ.get(IDENTITY_DRIVE)),
        )
