"""What every renderer gets: one host in its cluster, with the cluster's secrets and keys."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Address

from pgha_orch.identity import ports
from pgha_orch.identity.dynamic import archiving
from pgha_orch.inventory.backup import Backup
from pgha_orch.inventory.fields import IPAddress
from pgha_orch.inventory.model import Host, Inventory, Role
from pgha_orch.pki import Pki
from pgha_orch.secrets import Secrets


@dataclass(frozen=True)
class Site:
    """One host to render for. Everything else is the same for all hosts of the cluster."""

    inventory: Inventory
    secrets: Secrets
    pki: Pki
    name: str

    @property
    def host(self) -> Host:
        return self.inventory.hosts[self.name]

    @property
    def address(self) -> IPAddress:
        return self.host.address

    @property
    def ipv6(self) -> bool:
        """Whether the cluster's network is IPv6."""
        return self.inventory.network.version == 6

    @property
    def archiving(self) -> bool:
        """Whether there is a repository to push WAL to."""
        return archiving(self.inventory)

    @property
    def backup(self) -> Backup:
        """The backup section, or its defaults."""
        return self.inventory.backup or Backup()

    @property
    def backup_host(self) -> str | None:
        """The repository host: the first of role backup."""
        return next(iter(self.inventory.of_role(Role.BACKUP)), None)

    def addresses(self, *roles: Role) -> tuple[IPAddress, ...]:
        """Addresses of the hosts of these roles, in file order of each role."""
        return tuple(host.address for role in roles for host in self.inventory.of_role(role).values())


def bracketed(address: IPAddress) -> str:
    """An address as the host part of `host:port` or of a URL."""
    return f"[{address}]" if isinstance(address, IPv6Address) else str(address)


def etcd_urls(inventory: Inventory) -> list[str]:
    """The client URL of every etcd member, in file order."""
    members = inventory.of_role(Role.ETCD).values()
    return [f"https://{bracketed(host.address)}:{ports.ETCD_CLIENT}" for host in members]
