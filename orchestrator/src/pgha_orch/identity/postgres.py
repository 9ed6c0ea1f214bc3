"""Patroni's configuration file and the keys of a PostgreSQL node."""

from __future__ import annotations

from pgha_orch.identity import hba, ports
from pgha_orch.identity.archive import Member
from pgha_orch.identity.dynamic import dynamic_config
from pgha_orch.identity.site import Site, bracketed
from pgha_orch.identity.template import render
from pgha_orch.inventory.fields import IPAddress
from pgha_orch.inventory.model import Role, Tags

# Member directory and leaf of the PKI.
_KEYS = {"patroni/rest": "rest", "patroni/etcd-client": "etcd-client", "postgresql/server": "server"}


def members(site: Site) -> list[Member]:
    """Members of role postgres, without pgBackRest's."""
    files = [_member("patroni/patroni.yml", _patroni(site))]
    for path, service in _KEYS.items():
        pair = site.pki.leaf(site.name, service)
        files += [_member(f"{path}.crt", pair.certificate), _member(f"{path}.key", pair.key)]
    return files


def _patroni(site: Site) -> bytes:
    inventory, secrets = site.inventory, site.secrets
    dynamic = dynamic_config(inventory)
    host = bracketed(site.address)
    return render(
        "patroni.yml.j2",
        name=site.name,
        scope=inventory.cluster,
        rest=f"{host}:{ports.PATRONI_REST}",
        # Who may write through the REST API, besides having a client certificate.
        rest_writers=[*_nets(site.addresses(Role.POSTGRES)), *map(str, inventory.operator_networks)],
        etcd=[f"{bracketed(address)}:{ports.ETCD_CLIENT}" for address in site.addresses(Role.ETCD)],
        dynamic=dynamic,
        listen=f"{site.address},127.0.0.1:{ports.POSTGRESQL}",
        connect_address=f"{host}:{ports.POSTGRESQL}",
        pgdata=ports.PGDATA,
        sockets=ports.SOCKETS,
        run=ports.RUN,
        ca=ports.CA,
        pgbackrest=f"pgbackrest --config={ports.PGBACKREST_CONF} --stanza={inventory.cluster}",
        archiving=site.archiving,
        passwords={
            "superuser": secrets.superuser.get_secret_value(),
            "replicator": secrets.replicator.get_secret_value(),
            "rewind": secrets.rewind.get_secret_value(),
        },
        users={"superuser": hba.SUPERUSER, "replicator": hba.REPLICATOR, "rewind": hba.REWIND},
        pg_hba=hba.lines(site),
        pg_ident=hba.IDENT,
        watchdog=inventory.watchdog_mode,
        safety_margin=inventory.timings.safety_margin,
        tags=_tags(site.host.tags),
    )


def _tags(tags: Tags) -> dict[str, bool | int]:
    """Patroni's tags; `nofailover` and `failover_priority` exclude each other."""
    eligible: dict[str, bool | int] = (
        {"nofailover": tags.nofailover}
        if tags.failover_priority is None
        else {"failover_priority": tags.failover_priority}
    )
    return {
        **eligible,
        "noloadbalance": tags.noloadbalance,
        "nosync": tags.nosync,
        "clonefrom": tags.clonefrom,
    }


def _nets(addresses: tuple[IPAddress, ...]) -> list[str]:
    return [f"{address}/{address.max_prefixlen}" for address in addresses]


def _member(path: str, content: bytes) -> Member:
    return Member(path, content, "postgres", "postgres", 0o600)
