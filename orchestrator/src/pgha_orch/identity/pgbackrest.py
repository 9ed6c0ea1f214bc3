"""pgBackRest's configuration: of a PostgreSQL node, and of the repository host."""

from __future__ import annotations

from pgha_orch.identity import ports
from pgha_orch.identity.archive import Member
from pgha_orch.identity.site import Site, bracketed
from pgha_orch.identity.template import render
from pgha_orch.inventory.model import Role


def node_members(site: Site) -> list[Member]:
    """pgBackRest's members of role postgres."""
    backup_host = site.backup_host
    repository = site.inventory.hosts[backup_host] if backup_host is not None else None
    config = render(
        "pgbackrest-node.conf.j2",
        **_common(site),
        archiving=site.archiving,
        repository=bracketed(repository.address) if repository is not None else None,
        clients=[backup_host] if backup_host is not None else [],
        pgdata=ports.PGDATA,
        sockets=ports.SOCKETS,
    )
    return [*_members(site, config, "postgres"), *_proof(site, "postgres")]


def backup_members(site: Site) -> list[Member]:
    """Members of role backup."""
    nodes = site.inventory.of_role(Role.POSTGRES)
    config = render(
        "pgbackrest-backup.conf.j2",
        **_common(site),
        nodes={name: bracketed(host.address) for name, host in nodes.items()},
        clients=list(nodes),
        pgdata=ports.PGDATA,
        sockets=ports.SOCKETS,
    )
    return [*_members(site, config, "pgbackrest"), *_proof(site, "pgbackrest")]


def _proof(site: Site, user: str) -> list[Member]:
    """The configuration that a proof restores with: the repository is near, and the database is its own."""
    if site.name != site.inventory.proof_host:
        return []
    config = render("pgbackrest-prove.conf.j2", **_common(site), pgdata=f"{ports.PROVE}/data", sockets=ports.PROVE)
    return [Member("pgbackrest/prove.conf", config, "root", user, 0o640)]


def _common(site: Site) -> dict[str, object]:
    """What both kinds of host say alike: the server, the repository's options, paths."""
    backup, secrets = site.backup, site.secrets
    keys = secrets.s3
    return {
        "name": site.name,
        "stanza": site.inventory.cluster,
        "address": str(site.address),
        "port": ports.PGBACKREST,
        "run": f"{ports.RUN}/pgbackrest",
        "conf": ports.PGBACKREST_CONF,
        "ca": ports.CA,
        "state": ports.STATE,
        "backup": backup,
        "s3": backup.repository.s3,
        "s3_key": keys.access_key.get_secret_value() if keys is not None else "",
        "s3_secret": keys.secret_key.get_secret_value() if keys is not None else "",
        "cipher_pass": secrets.cipher.get_secret_value() if backup.repository.cipher != "none" else None,
    }


def _members(site: Site, config: bytes, user: str) -> list[Member]:
    pair = site.pki.leaf(site.name, "pgbackrest")
    files = {"pgbackrest.conf": config, "node.crt": pair.certificate, "node.key": pair.key}
    # pgBackRest takes a key of root's that its group may read. Root itself it refuses such a key (tried
    # with 2.55.1): on a node `pgbackrest info` is for postgres.
    return [Member(f"pgbackrest/{name}", content, "root", user, 0o640) for name, content in files.items()]
