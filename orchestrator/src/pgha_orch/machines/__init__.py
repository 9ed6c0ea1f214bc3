"""Machines: images that run with an identity and a data directory, behind one protocol."""

from __future__ import annotations

from pgha_orch.inventory.model import Driver, Inventory
from pgha_orch.machines.base import Fleet, Machine, MachineState
from pgha_orch.machines.in_use import images_in_use
from pgha_orch.machines.nspawn_fleet import NspawnFleet
from pgha_orch.machines.qemu_fleet import QemuFleet
from pgha_orch.machines.ssh_fleet import SshFleet
from pgha_orch.pki import Pki
from pgha_orch.state import StateDir

__all__ = ["Fleet", "Machine", "MachineState", "images_in_use", "open_fleet"]


def open_fleet(inventory: Inventory, state: StateDir, pki: Pki) -> Fleet:
    """The machines of a cluster, with the driver that its inventory names. Starts nothing."""
    match inventory.machines:
        case Driver.NSPAWN:
            return NspawnFleet.open(inventory, state)
        case Driver.SSH:
            return SshFleet.open(inventory, state, pki)
        case Driver.QEMU:
            return QemuFleet.open(inventory, state, pki)
