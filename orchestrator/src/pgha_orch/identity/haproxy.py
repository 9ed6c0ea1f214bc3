"""HAProxy's configuration file, the stats certificate, and the server state that a cold start begins with."""

from __future__ import annotations

from dataclasses import dataclass

from pgha_orch.identity import ports
from pgha_orch.identity.archive import Member
from pgha_orch.identity.dynamic import dynamic_config
from pgha_orch.identity.site import Site, bracketed
from pgha_orch.identity.template import render
from pgha_orch.inventory.model import Inventory, Role

STATS_USER = "operator"
RW, RO = "postgres_rw", "postgres_ro"

# Connections that HAProxy leaves free: superuser_reserved_connections (3), Patroni's, pgBackRest's, the
# orchestrator's probes and operators who connect directly.
RESERVED_CONNECTIONS = 20


@dataclass(frozen=True)
class Limits:
    """Server maxconn per HAProxy, so that the sum over all stays below PostgreSQL's max_connections."""

    rw: int  # the primary, through :5000
    ro: int  # a replica, through :5001
    ro_on_primary: int  # the primary, through :5001, while no replica is healthy


@dataclass(frozen=True)
class Server:
    """One PostgreSQL host, as a server line names it."""

    name: str
    address: str  # bracketed when IPv6


def members(site: Site) -> list[Member]:
    """Members of role haproxy."""
    stats = site.pki.leaf(site.name, "stats")
    return [
        _member("haproxy.cfg", _config(site)),
        # The state that a start begins with: no server gets a connection before its first passed check.
        _member("start.state", _start_state(site)),
        _member("stats.pem", stats.certificate + stats.key),
    ]


def limits(inventory: Inventory) -> Limits:
    """How many connections one HAProxy opens to one PostgreSQL host."""
    allowed = dynamic_config(inventory).parameters["max_connections"]
    share = (int(allowed) - min(RESERVED_CONNECTIONS, int(allowed) // 3)) // len(inventory.of_role(Role.HAPROXY))
    on_primary = max(1, share // 5)
    return Limits(rw=max(1, share - on_primary), ro=max(1, share), ro_on_primary=on_primary)


def _config(site: Site) -> bytes:
    inventory = site.inventory
    cap = limits(inventory)
    return render(
        "haproxy.cfg.j2",
        name=site.name,
        run=f"{ports.RUN}/haproxy",
        ca=ports.CA,
        bind=_bind(site),
        proxy=inventory.haproxy,
        rw=RW,
        ro=RO,
        servers=_servers(inventory),
        limits=cap,
        maxconn=2 * len(inventory.of_role(Role.POSTGRES)) * (cap.rw + cap.ro) + 100,
        rest_port=ports.PATRONI_REST,
        postgres_port=ports.POSTGRESQL,
        check=inventory.timings.check,
        # A replica that is less than this behind the leader serves reads; the same bound as a failover's.
        lag=dynamic_config(inventory).settings["maximum_lag_on_failover"],
        stats_user=STATS_USER,
        stats_password=site.secrets.stats.get_secret_value(),
        operators=inventory.operator_networks,
    )


def _bind(site: Site) -> str:
    """The address of `bind` lines: the host's own, or every address when a VIP may come and go."""
    version = "ipv6" if site.ipv6 else "ipv4"
    vip = site.inventory.haproxy.vip
    return f"{version}@{bracketed(site.address)}" if vip is None else f"{version}@"


def _servers(inventory: Inventory) -> list[Server]:
    nodes = inventory.of_role(Role.POSTGRES)
    return [Server(name, bracketed(host.address)) for name, host in nodes.items()]


def _start_state(site: Site) -> bytes:
    return render(
        "start.state.j2",
        proxies=(RW, RO),
        servers=_servers(site.inventory),
        postgres_port=ports.POSTGRESQL,
    )


def _member(name: str, content: bytes) -> Member:
    return Member(f"haproxy/{name}", content, "root", "haproxy", 0o640)
