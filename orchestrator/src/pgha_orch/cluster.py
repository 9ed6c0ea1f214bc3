"""A cluster at hand: its inventory, its state directory, what derives from the two, and its machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pgha_orch import identity, pki, secrets
from pgha_orch.http import ClientTls
from pgha_orch.identity import Identity
from pgha_orch.inventory.fields import IPAddress
from pgha_orch.inventory.load import LoadedInventory
from pgha_orch.inventory.model import Inventory, Role
from pgha_orch.machines import Fleet, Machine, open_fleet
from pgha_orch.pki import Pki
from pgha_orch.secrets import Secrets
from pgha_orch.sql import Target
from pgha_orch.state import StateDir

PROBE = "pgha"  # the orchestrator's own user and database, for gates and probes


@dataclass(frozen=True)
class Cluster:
    """What every command on a cluster works with. Opening it starts nothing and sends nothing."""

    inventory: Inventory
    path: Path
    state: StateDir
    secrets: Secrets
    pki: Pki
    fleet: Fleet

    @classmethod
    def open(cls, loaded: LoadedInventory, state: StateDir) -> Cluster:
        """With secrets and certificates, which are made or renewed where they are missing or due."""
        inventory = loaded.inventory
        keys = pki.ensure(state, inventory)
        return cls(
            inventory, loaded.path, state, secrets.ensure(state, inventory), keys, open_fleet(inventory, state, keys)
        )

    @cached_property
    def identities(self) -> Mapping[str, Identity]:
        return identity.render(self.inventory, self.secrets, self.pki)

    @property
    def tls(self) -> ClientTls:
        """The operator's certificate, for Patroni's REST API and etcd."""
        return ClientTls(self.pki.ca_path, self.pki.operator_certificate_path, self.pki.operator_key_path)

    def addresses(self, role: Role) -> dict[str, IPAddress]:
        """Name to address of the hosts of a role, in file order."""
        return {name: host.address for name, host in self.inventory.of_role(role).items()}

    def machine(self, name: str) -> Machine:
        return self.fleet.machines[name]

    def proxy_target(self, *, read_only: bool = False) -> Target:
        """The probe user through HAProxy: the VIP when there is one, else the first HAProxy host."""
        proxies = self.addresses(Role.HAPROXY)
        address = self.inventory.haproxy.vip or next(iter(proxies.values()))
        port = self.inventory.haproxy.port_ro if read_only else self.inventory.haproxy.port_rw
        return Target(str(address), port, PROBE, PROBE, self.secrets.pgha.get_secret_value(), self.pki.ca_path)
