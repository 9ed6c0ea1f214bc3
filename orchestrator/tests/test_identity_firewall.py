"""Who reaches which port: the whole matrix of lab.yml, and networks of both families."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from identities import LAB, WIDE, inventory, pki, secrets

from pgha_orch.identity.firewall import Rule, rules
from pgha_orch.identity.site import Site
from pgha_orch.inventory.model import Inventory

OPERATOR = "10.77.0.1"
STRANGER = "10.77.0.200"  # in the clients' network, not in the inventory


def rules_of(inv: Inventory, host: str) -> list[Rule]:
    return rules(Site(inv, secrets(inv), pki(inv), host))


def reachable(inv: Inventory, source: str, host: str) -> set[str]:
    """Ports of `host` that `source` may reach, as "port/protocol"."""
    address = ip_address(source)
    return {
        f"{rule.port}/{rule.protocol}"
        for rule in rules_of(inv, host)
        if any(address in ip_network(s) for s in rule.sources if ip_network(s).version == address.version)
    }


def test_a_stranger_reaches_only_haproxys_listeners() -> None:
    inv = inventory(LAB)
    for host in inv.hosts:
        wanted = {"5000/tcp", "5001/tcp"} if host == "haproxy" else set()
        assert reachable(inv, STRANGER, host) == wanted, host


def test_an_address_outside_every_network_reaches_nothing() -> None:
    inv = inventory(LAB)
    assert all(not reachable(inv, "192.0.2.9", host) for host in inv.hosts)


def test_the_operator_reaches_what_pgha_orch_asks() -> None:
    inv = inventory(LAB)
    assert reachable(inv, OPERATOR, "etcd-1") == {"22/tcp", "2379/tcp"}
    assert reachable(inv, OPERATOR, "pg-1") == {"22/tcp", "5432/tcp", "8008/tcp"}
    assert reachable(inv, OPERATOR, "haproxy") == {"22/tcp", "5000/tcp", "5001/tcp", "7000/tcp"}
    assert reachable(inv, OPERATOR, "backup") == {"22/tcp"}


def test_hosts_reach_each_other_only_where_a_service_needs_it() -> None:
    inv = inventory(LAB)
    at = {name: str(host.address) for name, host in inv.hosts.items()}
    wanted = {
        ("etcd-1", "etcd-2"): {"2379/tcp", "2380/tcp", "123/udp"},
        ("pg-1", "etcd-1"): {"2379/tcp", "123/udp"},
        ("haproxy", "etcd-1"): {"123/udp"},
        ("backup", "etcd-1"): {"123/udp"},
        ("etcd-1", "pg-1"): set(),
        ("pg-2", "pg-1"): {"5432/tcp", "8008/tcp"},
        ("haproxy", "pg-1"): {"5432/tcp", "8008/tcp"},
        ("backup", "pg-1"): {"8432/tcp"},
        ("pg-1", "backup"): {"8432/tcp"},
        ("haproxy", "backup"): set(),
        ("etcd-1", "backup"): set(),
        ("pg-1", "haproxy"): {"5000/tcp", "5001/tcp"},  # as a member of the clients' network
    }
    for (source, host), ports in wanted.items():
        assert reachable(inv, at[source], host) == ports, (source, host)


def test_networks_of_both_families_are_kept_apart_and_merged() -> None:
    found = {(r.comment, r.family): r.sources for r in rules_of(inventory(WIDE), "proxy-1")}
    assert found["read/write", "ip6"] == ("fd00:77::/64", "fd00:88::/64", "fd00:99::/64")
    assert found["read/write", "ip"] == ("192.0.2.0/24",)
    assert found["statistics", "ip6"] == ("fd00:99::/64",)


def test_time_is_served_only_where_no_other_server_is_named() -> None:
    assert not any(rule.port == 123 for rule in rules_of(inventory(WIDE), "etcd-1"))
