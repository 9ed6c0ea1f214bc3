"""Ports and paths that more than one program's configuration names. HAProxy's ports are the inventory's."""

from __future__ import annotations

ETCD_CLIENT = 2379
ETCD_PEER = 2380
PATRONI_REST = 8008
POSTGRESQL = 5432
PGBACKREST = 8432
SSH = 22
NTP = 123

RUN = "/run/pgha"
STATE = "/var/lib/pgha"
SOCKETS = "/run/postgresql"
PGDATA = f"{STATE}/postgresql/data"
PROVE = f"{STATE}/prove"  # where a proof restores to
CA = f"{RUN}/tls/ca.crt"
PGBACKREST_CONF = f"{RUN}/pgbackrest/pgbackrest.conf"
