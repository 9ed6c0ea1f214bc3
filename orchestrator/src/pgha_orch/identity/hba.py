"""pg_hba.conf and pg_ident.conf, as Patroni writes them at every start and reload."""

from __future__ import annotations

from pgha_orch.identity.site import Site
from pgha_orch.inventory.model import Role

REPLICATOR = "replicator"
REWIND = "rewind"
SUPERUSER = "postgres"

# Who is root in the machine may be postgres in PostgreSQL; everyone else only under their own name.
IDENT = ("pgha root postgres", r"pgha /^(.*)$ \1")


def lines(site: Site) -> list[str]:
    """pg_hba lines in order: what the cluster itself needs, the inventory's, the project's."""
    inventory = site.inventory
    nodes = [f"{address}/{address.max_prefixlen}" for address in site.addresses(Role.POSTGRES)]
    proxies = [f"{address}/{address.max_prefixlen}" for address in site.addresses(Role.HAPROXY)]
    loopback = ["127.0.0.1/32", "::1/128"]
    everyone = list(dict.fromkeys([*proxies, *map(str, inventory.operator_networks)]))
    scram = "scram-sha-256"
    return [
        # First, so that no line of the inventory can lock Patroni out.
        "local all all peer map=pgha",
        *(f"hostssl replication {REPLICATOR} {net} {scram}" for net in [*loopback, *nodes]),
        *(f"hostssl postgres {REWIND} {net} {scram}" for net in nodes),
        *inventory.postgresql.hba,
        f"host all {SUPERUSER},{REPLICATOR},{REWIND} all reject",
        f"host replication {SUPERUSER},{REPLICATOR},{REWIND} all reject",
        *(f"hostssl all all {net} {scram}" for net in everyone),
    ]
