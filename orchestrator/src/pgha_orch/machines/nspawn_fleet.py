"""All nspawn machines of a cluster, and what they need of this host."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.image import Image, ensure_images
from pgha_orch.inventory.model import Inventory, Role
from pgha_orch.machines.base import Machine
from pgha_orch.machines.bridge import Bridge
from pgha_orch.machines.nspawn import NspawnMachine
from pgha_orch.progress import Reporter
from pgha_orch.state import StateDir

log = logging.getLogger(__name__)

INOTIFY_LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_PER_MACHINE = 16
INOTIFY_SPARE = 1024  # what this host itself and other clusters use
PROGRAMS = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "ip": "iproute2"}


@dataclass(frozen=True)
class NspawnFleet:
    """All containers of a cluster, on a bridge of their own."""

    inventory: Inventory
    directory: Path
    prefix: str
    bridge: Bridge
    machines: Mapping[str, Machine]
    boots_images = True
    patience = 1.0

    @classmethod
    def open(cls, inventory: Inventory, state: StateDir) -> NspawnFleet:
        cluster_id = state.cluster_id()
        bridge = Bridge(f"pgha-{cluster_id}", inventory.network, inventory.bridge_address)
        prefix, directory = f"{cluster_id}-", state.root / "machines"
        names = {
            name: NspawnMachine(name, f"{prefix}{name}", directory / name, bridge.name) for name in inventory.hosts
        }
        return cls(inventory, directory, prefix, bridge, names)

    def preflight(self) -> None:
        if os.geteuid() != 0:
            raise UsageError(
                "machines: nspawn: only root can start systemd-nspawn machines",
                hint="run it as root (sudo), or use machines: ssh",
            )
        for program, package in PROGRAMS.items():
            if shutil.which(program) is None:
                raise UsageError(f"{program} is not installed", hint=f"apt-get install {package}")
        self.bridge.assert_free()

    def images(self, image_dir: Path, reporter: Reporter) -> Mapping[Role, Image]:
        return ensure_images(self.inventory, image_dir, reporter)

    def network_up(self) -> bool:
        _allow_inotify(len(self.machines))
        return self.bridge.up()

    def network_down(self) -> None:
        self.bridge.down(guard=self.directory.exists() and any(self.directory.iterdir()))

    def assert_reachable(self) -> None:
        self.bridge.assert_local(next(iter(self.inventory.hosts.values())).address)

    def unconfirmed(self) -> Mapping[str, str]:
        return {}  # nothing here is reached through sshd

    def confirm(self, name: str, key: str) -> None:
        raise OperationError(f"{name}: nspawn machines have no key to confirm")

    def strays(self) -> tuple[str, ...]:
        if not self.directory.exists():
            return ()
        return tuple(sorted(p.name for p in self.directory.iterdir() if p.is_dir() and p.name not in self.machines))

    def stray(self, name: str) -> Machine:
        return NspawnMachine(name, f"{self.prefix}{name}", self.directory / name, self.bridge.name)


def _allow_inotify(machines: int) -> None:
    """Raise the kernel's limit of inotify instances of one user when this host's is too low for the machines.

    All machines' root is this host's root. Past the limit, 128 by default, systemd in the next machine ends at
    once and says nothing: seen with 22 machines on one host, about six instances each.
    """
    now = int(INOTIFY_LIMIT.read_text())
    wanted = INOTIFY_SPARE + INOTIFY_PER_MACHINE * machines
    if now < wanted:
        INOTIFY_LIMIT.write_text(f"{wanted}\n")
        log.info("fs.inotify.max_user_instances was %d; it is %d now, for %d machines", now, wanted, machines)
