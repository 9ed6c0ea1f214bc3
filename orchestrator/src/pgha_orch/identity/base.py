"""What every role has: identity.env, environment, hosts, network, firewall, time, SSH, the CA."""

from __future__ import annotations

from pgha_orch.identity import ports
from pgha_orch.identity.archive import Member
from pgha_orch.identity.firewall import rules
from pgha_orch.identity.site import Site, etcd_urls
from pgha_orch.identity.template import render
from pgha_orch.inventory.model import Role

CONTRACT = 1


def members(site: Site) -> list[Member]:
    """Members that the image contract names for all roles."""
    inventory, name = site.inventory, site.name
    key = site.pki.ssh_hosts[name]
    identity = {
        "PGHA_CONTRACT": str(CONTRACT),
        "PGHA_CLUSTER": inventory.cluster,
        "PGHA_HOST": name,
        "PGHA_ROLE": site.host.role.value,
    }
    timers = _timers(site)
    return [
        Member("identity.env", _lines(identity)),
        Member("environment", _lines(_environment(site))),
        Member("hosts", render("hosts.j2", cluster=inventory.cluster, hosts=inventory.hosts)),
        Member(
            "network/70-pgha.network",
            render(
                "70-pgha.network.j2",
                name=name,
                address=f"{site.address}/{inventory.network.prefixlen}",
                gateway=inventory.gateway,
                ipv6=site.ipv6,
            ),
        ),
        Member("nftables.conf", render("nftables.conf.j2", name=name, rules=rules(site)), mode=0o600),
        Member("ssh/ssh_host_ed25519_key", key.private, mode=0o600),
        Member("ssh/ssh_host_ed25519_key.pub", f"{key.public} {name}\n".encode()),
        Member("ssh/authorized_keys", f"{site.pki.ssh_operator.public} operator@{inventory.cluster}\n".encode()),
        Member("chrony/chrony.conf", _chrony(site)),
        Member("tls/ca.crt", site.pki.ca),
        *(Member(f"systemd/{unit}.d/schedule.conf", content) for unit, content in timers.items()),
        Member("units", "".join(f"{unit}\n" for unit in timers).encode()),
    ]


def serves_time(site: Site) -> bool:
    """Whether this host is a time server: the etcd hosts are, when the inventory names no other."""
    return not site.inventory.ntp and site.host.role is Role.ETCD


def _environment(site: Site) -> dict[str, str]:
    """What lets an operator run each role's programs with no option."""
    pgbackrest = {"PGBACKREST_CONFIG": ports.PGBACKREST_CONF, "PGBACKREST_STANZA": site.inventory.cluster}
    match site.host.role:
        case Role.ETCD:
            return {
                "ETCDCTL_API": "3",
                "ETCDCTL_ENDPOINTS": ",".join(etcd_urls(site.inventory)),
                "ETCDCTL_CACERT": ports.CA,
                "ETCDCTL_CERT": f"{ports.RUN}/etcd/client.crt",
                "ETCDCTL_KEY": f"{ports.RUN}/etcd/client.key",
            }
        case Role.POSTGRES:
            return {
                "PATRONICTL_CONFIG_FILE": f"{ports.RUN}/patroni/patroni.yml",
                "PGHOST": ports.SOCKETS,
                "PGUSER": "postgres",
                **(pgbackrest if site.archiving else {}),
                # How long a leader that is gone is still named: the schedule's condition waits for longer.
                **({"PGHA_TTL": str(site.inventory.timings.ttl)} if site.archiving else {}),
                **_proof(site),
            }
        case Role.BACKUP:
            return pgbackrest | _proof(site)
        case Role.HAPROXY:
            return {}


def _proof(site: Site) -> dict[str, str]:
    """What pgha-prove.service counts."""
    tables = site.backup.prove.tables
    return {"PGHA_PROVE_TABLES": " ".join(tables)} if tables and site.name == site.inventory.proof_host else {}


def _chrony(site: Site) -> bytes:
    inventory = site.inventory
    own = inventory.of_role(Role.ETCD)
    return render(
        "chrony.conf.j2",
        name=site.name,
        outside=inventory.ntp,
        inside=() if inventory.ntp else [host.address for name, host in own.items() if name != site.name],
        clients=site.addresses(*Role) if serves_time(site) else (),
        state=ports.STATE,
    )


def _timers(site: Site) -> dict[str, bytes]:
    """Timer unit to its drop-in, for the schedules that the inventory sets (UTC, the machines' time zone).

    They are the backup host's. With S3 every PostgreSQL node has those of the backups, and the unit's condition
    lets only the leader go on; the proofs are one node's.
    """
    backup = site.inventory.backup
    if backup is None:
        return {}
    schedule = backup.schedule
    kinds = {"full": schedule.full, "diff": schedule.differential, "incr": schedule.incremental}
    found = {}
    if site.name == site.backup_host or (site.host.role is Role.POSTGRES and backup.repository.s3 is not None):
        found.update({f"pgha-backup@{kind}.timer": calendar for kind, calendar in kinds.items()})
    if site.name == site.inventory.proof_host:
        found["pgha-prove.timer"] = backup.prove.schedule
    return {
        unit: render("schedule.conf.j2", calendar=calendar) for unit, calendar in found.items() if calendar is not None
    }


def _lines(values: dict[str, str]) -> bytes:
    return "".join(f"{key}={value}\n" for key, value in values.items()).encode()
