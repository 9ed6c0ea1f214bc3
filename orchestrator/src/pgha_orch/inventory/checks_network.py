"""Rules about addresses, networks and ports."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import IPv4Network, ip_address

from pgha_orch.inventory.fields import IPAddress, IPNetwork
from pgha_orch.inventory.findings import FieldPath, Problem
from pgha_orch.inventory.model import Inventory, Role

_HOST_OR_ADDRESS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_WIDEST = {4: 8, 6: 32}  # shortest prefix of a cluster's network
_UNUSABLE = ("multicast", "loopback", "link_local", "unspecified")


def _all_addresses(inventory: Inventory) -> Iterator[tuple[FieldPath, str, IPAddress]]:
    """Every address the cluster takes in its network: path, who takes it, address."""
    if inventory.gateway is not None:
        yield ("gateway",), "the gateway", inventory.gateway
    if inventory.haproxy.vip is not None:
        yield ("haproxy", "vip"), "haproxy.vip", inventory.haproxy.vip
    for name, host in inventory.hosts.items():
        yield ("hosts", name, "address"), name, host.address


def _network(inventory: Inventory) -> Iterator[Problem]:
    network, path = inventory.network, ("network",)
    for kind in _UNUSABLE:
        if getattr(network, f"is_{kind}"):
            message = f"a {kind.replace('_', '-')} network is not for machines"
            yield Problem(path, str(network), message, "use a private one: 10.77.0.0/24 or fd00:77::/64")
            return
    if network.prefixlen < _WIDEST[network.version]:
        hint = f"use /{_WIDEST[network.version]} or longer; /24 is usual"
        yield Problem(path, str(network), "far too large for one cluster", hint)
        return
    fixed = 0 if isinstance(network, IPv4Network) and network.prefixlen > 30 else _reserved_count(network)
    free = network.num_addresses - fixed
    inside = {address for _, _, address in _all_addresses(inventory)}
    needed = len(inside) + (1 if inventory.gateway is None else 0)
    if needed > free:
        own = " and this host's own on the bridge" if inventory.gateway is None else ""
        message = f"too small: {free} usable addresses, {needed} wanted by the hosts{own}"
        yield Problem(path, str(network), message, "use a shorter prefix, such as /24")


def _reserved_count(network: IPNetwork) -> int:
    return 2 if network.version == 4 else 1


def _addresses(inventory: Inventory) -> Iterator[Problem]:
    network = inventory.network
    taken: dict[IPAddress, str] = {}
    for path, who, address in _all_addresses(inventory):
        if address.version != network.version:
            message = f"an IPv{address.version} address in the IPv{network.version} network {network}"
            yield Problem(path, str(address), message, f"give an address in {network}")
        elif getattr(address, "scope_id", None):
            yield Problem(path, str(address), "an address with a zone", "leave the % and what follows out")
        elif address not in network:
            yield Problem(path, str(address), f"outside the network {network}", f"give an address in {network}")
        elif network.prefixlen < network.max_prefixlen - 1 and address == network.network_address:
            yield Problem(path, str(address), f"the address of the network {network} itself", _next(inventory))
        elif network.version == 4 and network.prefixlen < 31 and address == network.broadcast_address:
            yield Problem(path, str(address), f"the broadcast address of {network}", _next(inventory))
        elif address in taken:
            message = f"{taken[address]} has this address already"
            yield Problem(path, str(address), message, _next(inventory))
        taken.setdefault(address, who)


def _next(inventory: Inventory) -> str:
    taken = {address for _, _, address in _all_addresses(inventory)}
    top = max((a for a in taken if a in inventory.network), default=inventory.network.network_address)
    free = ip_address(min(int(top) + 1, int(inventory.network.broadcast_address)))
    usable = free in inventory.network and free not in (*taken, inventory.network.broadcast_address)
    return f"take a free one, such as {free}" if usable else "take a free one"


def _client_networks(inventory: Inventory) -> Iterator[Problem]:
    for field in ("clients", "operators"):
        networks: tuple[IPNetwork, ...] = getattr(inventory, field)
        for i, network in enumerate(networks):
            if network.version != inventory.network.version:
                message = f"an IPv{network.version} network, but the cluster's is IPv{inventory.network.version}"
                yield Problem((field, i), str(network), message, "remove it: its machines cannot reach the cluster")
            elif network.is_multicast or network.is_loopback:
                message = "no machine sends from such a network"
                yield Problem((field, i), str(network), message, "give the network that they are in")
            elif network in networks[:i]:
                yield Problem((field, i), str(network), "given twice", "keep one of the two")


def _time_servers(inventory: Inventory) -> Iterator[Problem]:
    for i, server in enumerate(inventory.ntp):
        try:
            ip_address(server)
        except ValueError:
            if not _HOST_OR_ADDRESS.fullmatch(server):
                yield Problem(("ntp", i), server, "neither a host name nor an address", "write 2.debian.pool.ntp.org")


def _vip(inventory: Inventory) -> Iterator[Problem]:
    if inventory.haproxy.vip is not None and not inventory.of_role(Role.HAPROXY):
        vip = str(inventory.haproxy.vip)
        yield Problem(("haproxy", "vip"), vip, "no haproxy host to carry it", "add haproxy hosts, or remove it")


def _ports(inventory: Inventory) -> Iterator[Problem]:
    taken = {22: "sshd"}
    for field in ("port_rw", "port_ro", "port_stats"):
        port: int = getattr(inventory.haproxy, field)
        if port in taken:
            hint = "give each its own: the usual ones are 5000, 5001 and 7000"
            yield Problem(("haproxy", field), str(port), f"{taken[port]} has this port already", hint)
        taken.setdefault(port, f"haproxy.{field}")


RULES: tuple[Callable[[Inventory], Iterator[Problem]], ...] = (
    _network,
    _addresses,
    _client_networks,
    _time_servers,
    _vip,
    _ports,
)
