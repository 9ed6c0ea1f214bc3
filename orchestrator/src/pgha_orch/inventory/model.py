"""The typed inventory: what `hosts.yml` says, field by field.

Only the shape and the rules of single fields are here; rules between fields are in `checks`, advice is in
`critic`, and `load` turns YAML and pydantic's errors into messages with file, line, field and value.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network
ParameterValue = bool | int | float | str

# RFC 1123 label, which is also a valid Patroni member name and etcd name.
HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
# Patroni scope, pgBackRest stanza, nspawn machine prefix.
ClusterName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}[a-z0-9]$")]
# An identifier that PostgreSQL needs no quoting for.
PgName = Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_]{0,62}$")]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Role(StrEnum):
    ETCD = "etcd"
    POSTGRES = "postgres"
    HAPROXY = "haproxy"
    BACKUP = "backup"


class Driver(StrEnum):
    """What runs the machines."""

    NSPAWN = "nspawn"
    QEMU = "qemu"
    SSH = "ssh"


class Durability(StrEnum):
    """What a COMMIT waits for (reliability.md, Configuration that is right)."""

    STRICT = "strict"  # a sync standby, always: without one, writes block
    SYNC = "sync"  # a sync standby while there is one
    ASYNC = "async"  # nothing: a failover may lose the newest transactions
    QUORUM = "quorum"  # any of the standbys; needs the watchdog


class Preset(StrEnum):
    FAST = "fast"
    NORM = "norm"
    SAFE = "safe"
    WIDE = "wide"


class HealthCheck(Strict):
    """HAProxy's check of Patroni's REST API. Milliseconds; counts of checks."""

    inter_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    fastinter_ms: Annotated[int, Field(ge=100, le=60_000)] = 500
    downinter_ms: Annotated[int, Field(ge=100, le=60_000)] = 1000
    rise: Annotated[int, Field(ge=1, le=10)] = 1
    fall: Annotated[int, Field(ge=1, le=10)] = 3


class Timings(Strict):
    """Patroni's failover timings, seconds (reliability.md, Failover timing)."""

    ttl: Annotated[int, Field(ge=20, le=600)]
    loop_wait: Annotated[int, Field(ge=1, le=120)]
    retry_timeout: Annotated[int, Field(ge=3, le=120)]
    primary_start_timeout: Annotated[int, Field(ge=0, le=3600)] = 0
    safety_margin: Annotated[int, Field(ge=-1, le=120)] = 5
    check: HealthCheck = HealthCheck()


class Image(Strict):
    builder: Literal["debian", "nix"] = "debian"
    build_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")] | None = None


class User(Strict):
    name: PgName
    options: tuple[
        Literal["createdb", "createrole", "superuser", "replication", "bypassrls", "noinherit", "nologin"],
        ...,
    ] = ()
    member_of: tuple[PgName, ...] = ()


class Database(Strict):
    name: PgName
    owner: PgName
    extensions: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")], ...] = ()


class PostgreSQL(Strict):
    """Parameters go to Patroni's dynamic configuration; users and databases are made once a leader runs."""

    parameters: dict[str, ParameterValue] = {}
    users: tuple[User, ...] = ()
    databases: tuple[Database, ...] = ()
    hba: tuple[str, ...] = ()  # extra pg_hba lines, before the project's own
    max_connections: Annotated[int, Field(ge=20, le=10_000)] = 200
    synchronous_node_count: Annotated[int, Field(ge=1, le=8)] = 1
    failsafe_mode: bool = True
    watchdog: Literal["auto", "required", "off"] = (
        "auto"  # auto: required where the machine has one, else off
    )


class S3(Strict):
    bucket: str
    endpoint: str
    region: str
    path: str = "/pgbackrest"
    uri_style: Literal["host", "path"] = "host"
    verify_tls: bool = True


class Repository(Strict):
    """Where backups go: the `backup` role's host (default), or S3."""

    s3: S3 | None = None
    cipher: Literal["none", "aes-256-cbc"] = "none"


class Retention(Strict):
    full: Annotated[int, Field(ge=1, le=9_999_999)] = 2
    differential: Annotated[int, Field(ge=1, le=9_999_999)] | None = None


class Schedule(Strict):
    """systemd OnCalendar expressions, in UTC (systemd.time(7)); None: never."""

    full: str | None = "Sun *-*-* 01:00:00"
    differential: str | None = "Mon..Sat *-*-* 01:00:00"
    incremental: str | None = None


class Backup(Strict):
    repository: Repository = Repository()
    retention: Retention = Retention()
    schedule: Schedule = Schedule()
    compress: Literal["none", "gz", "lz4", "zst"] = "lz4"
    process_max: Annotated[int, Field(ge=1, le=64)] = 2


class Proxy(Strict):
    """HAProxy. Ports are the guide's."""

    port_rw: Annotated[int, Field(ge=1, le=65535)] = 5000
    port_ro: Annotated[int, Field(ge=1, le=65535)] = 5001
    port_stats: Annotated[int, Field(ge=1, le=65535)] = 7000
    vip: IPAddress | None = None


class Tags(Strict):
    """Patroni's tags for one PostgreSQL host."""

    nofailover: bool = False
    noloadbalance: bool = False
    nosync: bool = False
    clonefrom: bool = False
    failover_priority: Annotated[int, Field(ge=0, le=1000)] | None = None


class Ssh(Strict):
    user: str = "root"
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    address: IPAddress | None = None  # where to reach it before it has its identity
    host_key: str | None = None  # "SHA256:..." fingerprint, or "ssh-ed25519 AAAA..."


class Host(Strict):
    role: Role
    address: IPAddress
    zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,63}$")] | None = None
    tags: Tags = Tags()
    bootstrap: bool = False  # a hint: this PostgreSQL host starts first on the very first deploy
    memory_mib: Annotated[int, Field(ge=128, le=1_048_576)] = 1024  # machines: qemu
    cpus: Annotated[int, Field(ge=1, le=256)] = 1  # machines: qemu
    ssh: Ssh | None = None  # machines: ssh


class Inventory(Strict):
    """One cluster. Host names are the keys of `hosts`, in file order."""

    version: Literal[1]
    cluster: ClusterName
    network: IPNetwork  # every host's address lies in it
    gateway: IPAddress | None = None  # machines' default route; None: no way out of the network
    machines: Driver = Driver.NSPAWN
    image: Image = Image()
    failover: Preset | Timings = Preset.FAST
    durability: Durability = Durability.STRICT
    clients: Annotated[tuple[IPNetwork, ...], Field(min_length=1)]  # may reach HAProxy's :5000 and :5001
    operators: tuple[
        IPNetwork, ...
    ] = ()  # may reach sshd, REST API, etcd clients, stats; () : only the host of pgha-orch
    ntp: tuple[str, ...] = ()  # time servers; (): the local clock of the first etcd host is the reference
    drills: Literal["allowed", "forbidden"] = "forbidden"
    postgresql: PostgreSQL = PostgreSQL()
    haproxy: Proxy = Proxy()
    backup: Backup | None = None
    hosts: Annotated[dict[HostName, Host], Field(min_length=1)]

    @property
    def timings(self) -> Timings:
        """The explicit timings, or the preset's."""
        return self.failover if isinstance(self.failover, Timings) else PRESETS[self.failover]

    def of_role(self, role: Role) -> dict[str, Host]:
        """Hosts of one role, name to host, in file order."""
        return {name: host for name, host in self.hosts.items() if host.role is role}

    @property
    def bridge_address(self) -> IPAddress:
        """This host's own address on the cluster's bridge: the gateway, or the first address no host has."""
        if self.gateway is not None:
            return self.gateway
        taken = {host.address for host in self.hosts.values()} | {self.haproxy.vip}
        return next(address for address in self.network.hosts() if address not in taken)

    @property
    def operator_networks(self) -> tuple[IPNetwork, ...]:
        """Who may reach sshd, REST API, etcd's client port, PostgreSQL directly and the stats page."""
        return self.operators or (ip_network(self.bridge_address),)

    @property
    def bootstrap_host(self) -> str:
        """The PostgreSQL host that starts first: the one marked `bootstrap`, or the first in the file."""
        nodes = self.of_role(Role.POSTGRES)
        return next((name for name, host in nodes.items() if host.bootstrap), next(iter(nodes)))


# reliability.md, Failover timing; names and most values as Pigsty publishes them as pg_rto_plan.
PRESETS: dict[Preset, Timings] = {
    Preset.FAST: Timings(ttl=20, loop_wait=5, retry_timeout=5, primary_start_timeout=0, safety_margin=5),
    Preset.NORM: Timings(
        ttl=30,
        loop_wait=5,
        retry_timeout=10,
        primary_start_timeout=15,
        safety_margin=5,
        check=HealthCheck(inter_ms=2000, fastinter_ms=1000, downinter_ms=2000),
    ),
    Preset.SAFE: Timings(
        ttl=60,
        loop_wait=10,
        retry_timeout=20,
        primary_start_timeout=45,
        safety_margin=10,
        check=HealthCheck(inter_ms=3000, fastinter_ms=1500, downinter_ms=3000),
    ),
    Preset.WIDE: Timings(
        ttl=120,
        loop_wait=20,
        retry_timeout=30,
        primary_start_timeout=95,
        safety_margin=15,
        check=HealthCheck(inter_ms=4000, fastinter_ms=2000, downinter_ms=4000),
    ),
}
