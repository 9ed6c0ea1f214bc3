"""The typed inventory: what `hosts.yml` says, field by field.

Only the shape and the rules of single fields are here; rules between fields are in `checks`, advice is in
`critic`, and `load` turns YAML and pydantic's errors into messages with file, line, field and value.
"""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from pgha_orch.inventory.backup import Backup
from pgha_orch.inventory.fields import (
    ClusterName,
    HostKey,
    HostName,
    IPAddress,
    IPNetwork,
    ParameterValue,
    PgName,
    Strict,
)
from pgha_orch.inventory.timings import PRESETS, Preset, Timings


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


class Image(Strict):
    builder: Literal["debian", "nix"] = "debian"
    """What built the machines' images."""
    build_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    """One certain build, by its hex id; without it, the newest one."""


class User(Strict):
    name: PgName
    """Name of a login role; its password is generated and kept in the state directory."""
    options: tuple[
        Literal["createdb", "createrole", "superuser", "replication", "bypassrls", "noinherit", "nologin"],
        ...,
    ] = ()
    """Attributes of the role, as in CREATE ROLE."""
    member_of: tuple[PgName, ...] = ()
    """Roles whose rights it inherits: users here, or PostgreSQL's pg_ roles."""


class Database(Strict):
    name: PgName
    """Name of the database."""
    owner: PgName
    """The user who owns it, one of `users`."""
    extensions: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]*$")], ...] = ()
    """Extensions that are created in it."""


class PostgreSQL(Strict):
    """Parameters go to Patroni's dynamic configuration; users and databases are made once a leader runs."""

    parameters: dict[str, ParameterValue] = {}  # noqa: RUF012 - pydantic copies it
    """PostgreSQL parameters, by name; those that Patroni or pgha set themselves are refused."""
    users: tuple[User, ...] = ()
    """Users that are created once a leader runs."""
    databases: tuple[Database, ...] = ()
    """Databases that are created once a leader runs."""
    hba: tuple[str, ...] = ()
    """More pg_hba.conf lines (hostssl or local), put before pgha's own."""
    max_connections: Annotated[int, Field(ge=25, le=10_000)] = 200
    """Connections that each server accepts; HAProxy's limits follow from it."""
    synchronous_node_count: Annotated[int, Field(ge=1, le=8)] = 1
    """Replicas that confirm a COMMIT, for durability strict, sync and quorum."""
    failsafe_mode: bool = True
    """The primary goes on without an etcd majority while it reaches all other members."""
    watchdog: Literal["auto", "required", "off"] = "auto"
    """A device that resets a hung primary; auto: required where the machine has one, else off."""


class Proxy(Strict):
    """HAProxy. Ports are the guide's."""

    port_rw: Annotated[int, Field(ge=1, le=65535)] = 5000
    """TCP port for reads and writes: the primary."""
    port_ro: Annotated[int, Field(ge=1, le=65535)] = 5001
    """TCP port for reads only: the replicas."""
    port_stats: Annotated[int, Field(ge=1, le=65535)] = 7000
    """TCP port of the stats page, for operators."""
    vip: IPAddress | None = None
    """A virtual address that moves between the haproxy hosts."""


class Tags(Strict):
    """Patroni's tags for one PostgreSQL host."""

    nofailover: bool = False
    """Never becomes the leader."""
    noloadbalance: bool = False
    """Takes no reads from the read-only port."""
    nosync: bool = False
    """Never a sync standby."""
    clonefrom: bool = False
    """New replicas are copied from here rather than from the leader."""
    failover_priority: Annotated[int, Field(ge=0, le=1000)] | None = None
    """The highest wins among equally fresh candidates; 0 is nofailover."""


class Ssh(Strict):
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")] = "root"
    """Login name before the machine has its identity; another than root needs sudo without a password."""
    port: Annotated[int, Field(ge=1, le=65535)] = 22
    """TCP port of sshd before the machine has its identity; with it, sshd is on port 22."""
    address: IPAddress | None = None
    """Where the machine answers before it has its identity; without it, the host's own address."""
    host_key: HostKey | None = None
    """Its key before it has its identity: "SHA256:..." or "ssh-ed25519 AAAA..."."""


class Host(Strict):
    role: Role
    """What the host does; it decides the image."""
    address: IPAddress
    """Its address in the cluster's network."""
    zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,63}$")] | None = None
    """What fails together with it, such as a rack or an availability zone: for advice only."""
    tags: Tags = Tags()
    """Patroni's tags, for postgres hosts."""
    bootstrap: bool = False
    """A hint: this PostgreSQL host starts first on the very first deploy."""
    memory_mib: Annotated[int, Field(ge=128, le=1_048_576)] = 1024
    """Memory in MiB, for `machines: qemu`."""
    cpus: Annotated[int, Field(ge=1, le=256)] = 1
    """Virtual processors, for `machines: qemu`."""
    ssh: Ssh | None = None
    """How to reach it, for `machines: ssh`."""


class Inventory(Strict):
    """One cluster. Host names are the keys of `hosts`, in file order."""

    version: Literal[1]
    """Version of this file's format."""
    cluster: ClusterName
    """Name of the cluster: Patroni's scope, pgBackRest's stanza, the prefix of machines' names."""
    network: IPNetwork
    """The cluster's network; every host's address lies in it."""
    gateway: IPAddress | None = None
    """The machines' default route; without it there is no way out of the network."""
    machines: Driver = Driver.NSPAWN
    """What runs the machines: nspawn or qemu on this host, or ssh to those that someone else boots."""
    image: Image = Image()
    """Which build of the images to run."""
    failover: Preset | Timings = Preset.FAST
    """How fast a failover is, as a preset or as explicit timings."""
    durability: Durability = Durability.STRICT
    """What a COMMIT waits for: a sync standby always, one while there is one, any of them, or nothing."""
    clients: Annotated[tuple[IPNetwork, ...], Field(min_length=1)]
    """Networks that may reach HAProxy's read/write and read-only ports."""
    operators: tuple[IPNetwork, ...] = ()
    """Networks that may reach sshd, REST API, etcd and stats; without any, only the host of pgha-orch."""
    ntp: tuple[str, ...] = ()
    """Time servers; without any, the first etcd host's clock is the reference."""
    drills: Literal["allowed", "forbidden"] = "forbidden"
    """Whether `pgha-orch drill` may break things on purpose here."""
    postgresql: PostgreSQL = PostgreSQL()
    """Parameters, users, databases and logins."""
    haproxy: Proxy = Proxy()
    """The way in for clients."""
    backup: Backup | None = None
    """Backups with pgBackRest; `{}` for a backup host and a usual schedule; without it there are none."""
    hosts: Annotated[dict[HostName, Host], Field(min_length=1)]
    """The machines, by host name."""

    @property
    def timings(self) -> Timings:
        """The explicit timings, or the preset's."""
        return self.failover if isinstance(self.failover, Timings) else PRESETS[self.failover]

    @property
    def watchdog_mode(self) -> str:
        """Patroni's watchdog mode. `auto` is `required` where the driver gives the machine a watchdog device."""
        if self.postgresql.watchdog == "auto":
            return "off" if self.machines is Driver.NSPAWN else "required"
        return self.postgresql.watchdog

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
    def proof_host(self) -> str | None:
        """Where restores are proven: the backup host; with S3, the last PostgreSQL host of the file."""
        if self.backup is None:
            return None
        return next(iter(self.of_role(Role.BACKUP)), None) or next(reversed(self.of_role(Role.POSTGRES)))

    @property
    def bootstrap_host(self) -> str:
        """The PostgreSQL host that starts first: the one marked `bootstrap`, or the first in the file."""
        nodes = self.of_role(Role.POSTGRES)
        return next((name for name, host in nodes.items() if host.bootstrap), next(iter(nodes)))
