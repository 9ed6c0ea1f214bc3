"""From the inventory, the secrets and the keys to one identity per host."""

from __future__ import annotations

from collections.abc import Callable

from pgha_orch.identity import base, etcd, haproxy, pgbackrest, postgres
from pgha_orch.identity.archive import Identity, Member
from pgha_orch.identity.site import Site
from pgha_orch.inventory.model import Inventory, Role
from pgha_orch.pki import Pki
from pgha_orch.secrets import Secrets

_ROLE_MEMBERS: dict[Role, Callable[[Site], list[Member]]] = {
    Role.ETCD: etcd.members,
    Role.POSTGRES: lambda site: [*postgres.members(site), *pgbackrest.node_members(site)],
    Role.HAPROXY: haproxy.members,
    Role.BACKUP: pgbackrest.backup_members,
}


def render(inventory: Inventory, secrets: Secrets, pki: Pki) -> dict[str, Identity]:
    """The identity of every host, by name, in file order. It depends on nothing but its arguments."""
    identities = {}
    for name, host in inventory.hosts.items():
        site = Site(inventory, secrets, pki, name)
        members = [*base.members(site), *_ROLE_MEMBERS[host.role](site)]
        identities[name] = Identity(name, host.role, tuple(sorted(members, key=lambda m: m.path)))
    return identities
