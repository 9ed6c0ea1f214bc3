"""HAProxy's statistics as CSV (HAProxy management guide, 9.1)."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from pgha_orch.errors import OperationError
from pgha_orch.health.etcd import url
from pgha_orch.http import ClientTls, request
from pgha_orch.inventory.fields import IPAddress

TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Server:
    """One server line of one proxy: `status` is UP, DOWN, MAINT, ...; `check` what the last check said."""

    proxy: str
    name: str
    status: str
    sessions: int
    check: str

    @property
    def up(self) -> bool:
        return self.status.startswith("UP")


def servers(address: IPAddress, port: int, auth: tuple[str, str], tls: ClientTls) -> list[Server]:
    """Servers of the proxies that balance PostgreSQL. Raises OperationError when HAProxy does not answer."""
    reply = request("GET", f"{url(address, port)}/;csv", tls=tls, timeout_s=TIMEOUT_S, auth=auth)
    if reply.status != 200:
        raise OperationError(f"HAProxy's stats page: HTTP {reply.status}")
    rows = csv.DictReader(io.StringIO(reply.text.removeprefix("# ")))
    return [
        Server(row["pxname"], row["svname"], row["status"], int(row["scur"] or 0), row.get("check_status") or "")
        for row in rows
        if row["svname"] not in ("FRONTEND", "BACKEND") and row.get("check_status")
    ]
