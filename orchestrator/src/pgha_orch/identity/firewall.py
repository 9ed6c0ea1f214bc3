"""Who may reach which port of a host, as data. What is not here is dropped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import collapse_addresses, ip_network
from typing import Literal

from pgha_orch.identity import ports
from pgha_orch.identity.site import Site
from pgha_orch.inventory.fields import IPAddress, IPNetwork
from pgha_orch.inventory.model import Role


@dataclass(frozen=True)
class Rule:
    """Packets to `port` from `sources` (of one address family) are accepted."""

    comment: str
    protocol: Literal["tcp", "udp"]
    port: int
    family: Literal["ip", "ip6"]
    sources: tuple[str, ...]


def rules(site: Site) -> list[Rule]:
    """The flows that the cluster needs to this host, in a fixed order."""
    inventory = site.inventory
    operators = inventory.operator_networks
    etcd, postgres = site.addresses(Role.ETCD), site.addresses(Role.POSTGRES)
    proxies, backups = site.addresses(Role.HAPROXY), site.addresses(Role.BACKUP)
    clients = (*inventory.clients, *operators)
    found = [*_rule("ssh", ports.SSH, operators)]
    match site.host.role:
        case Role.ETCD:
            found += _rule("etcd clients", ports.ETCD_CLIENT, (*postgres, *etcd, *operators))
            found += _rule("etcd peers", ports.ETCD_PEER, etcd)
        case Role.POSTGRES:
            found += _rule("Patroni REST", ports.PATRONI_REST, (*postgres, *proxies, *operators))
            found += _rule("PostgreSQL", ports.POSTGRESQL, (*postgres, *proxies, *operators))
            found += _rule("pgBackRest", ports.PGBACKREST, backups)
        case Role.BACKUP:
            found += _rule("pgBackRest", ports.PGBACKREST, postgres)
        case Role.HAPROXY:
            found += _rule("read/write", inventory.haproxy.port_rw, clients)
            found += _rule("read-only", inventory.haproxy.port_ro, clients)
            found += _rule("statistics", inventory.haproxy.port_stats, operators)
    if not inventory.ntp and site.host.role is Role.ETCD:
        found += _rule("time", ports.NTP, site.addresses(*Role), protocol="udp")
    return found


def _rule(
    comment: str,
    port: int,
    sources: Iterable[IPAddress | IPNetwork],
    *,
    protocol: Literal["tcp", "udp"] = "tcp",
) -> list[Rule]:
    """One rule per address family; overlapping networks are merged, which nftables' interval sets ask for."""
    networks = [ip_network(source) for source in sources]
    v4 = collapse_addresses(n for n in networks if n.version == 4)
    v6 = collapse_addresses(n for n in networks if n.version == 6)
    families: list[tuple[Literal["ip", "ip6"], list[IPNetwork]]] = [("ip", [*v4]), ("ip6", [*v6])]
    return [
        Rule(comment, protocol, port, family, tuple(_shown(network) for network in members))
        for family, members in families
        if members
    ]


def _shown(network: IPNetwork) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network)
