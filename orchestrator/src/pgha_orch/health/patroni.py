"""Patroni's REST API (Patroni docs, REST API), typed. Patroni sends "unknown" where a number is not known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from pgha_orch.errors import OperationError
from pgha_orch.health.etcd import url
from pgha_orch.http import ClientTls, HttpError, request
from pgha_orch.inventory.fields import IPAddress

REST_PORT = 8008
TIMEOUT_S = 4.0
RESTART_TIMEOUT_S = 120.0
PRIMARY_ROLES = ("primary", "master", "standby_leader")
SYNC_ROLES = ("sync_standby", "quorum_standby")
Lag = int | Literal["unknown"]
_CONFIG = TypeAdapter(dict[str, JsonValue])


class Lenient(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Member(Lenient):
    """A row of GET /cluster."""

    name: str
    role: str
    state: str
    host: str = ""
    port: int = 5432
    timeline: int | Literal["unknown"] | None = None
    lag: Lag | None = None
    pending_restart: bool = False
    tags: dict[str, JsonValue] = {}

    @property
    def is_leader(self) -> bool:
        return self.role in ("leader", "standby_leader")

    @property
    def is_healthy(self) -> bool:
        return self.state == ("running" if self.is_leader else "streaming")


class Cluster(Lenient):
    """GET /cluster."""

    scope: str = ""
    members: tuple[Member, ...] = ()
    pause: bool = False

    @property
    def leader(self) -> Member | None:
        return next((m for m in self.members if m.is_leader), None)

    @property
    def sync_standbys(self) -> tuple[str, ...]:
        return tuple(m.name for m in self.members if m.role in SYNC_ROLES)

    def member(self, name: str) -> Member | None:
        return next((m for m in self.members if m.name == name), None)


class _Software(Lenient):
    version: str = ""
    scope: str = ""
    name: str = ""


class Node(Lenient):
    """GET /patroni: one node's view of itself. Answers 503 with the same body while PostgreSQL is not running."""

    state: str
    role: str = ""
    postmaster_start_time: str | None = None
    server_version: int | None = None
    timeline: int | None = None
    pending_restart: bool = False
    replication_state: str | None = None
    patroni: _Software = Field(default_factory=_Software)


class Rest:
    """The REST API of a cluster's nodes, asked with the operator's certificate."""

    def __init__(self, addresses: Mapping[str, IPAddress], tls: ClientTls) -> None:
        self._addresses = dict(addresses)
        self._tls = tls

    def node(self, name: str) -> Node:
        """One node about itself; OperationError when it does not answer or not as Patroni."""
        reply = self._ask(name, "GET", "/patroni")
        try:
            return Node.model_validate_json(reply)
        except ValidationError as exc:
            raise OperationError(f"{name}: its REST API does not answer as Patroni does") from exc

    def cluster(self, names: Iterable[str] | None = None) -> Cluster:
        """The cluster as the first node that answers knows it; OperationError when none does."""
        last = "no PostgreSQL host"
        for name in names if names is not None else self._addresses:
            try:
                return Cluster.model_validate_json(self._ask(name, "GET", "/cluster"))
            except OperationError as exc:
                last = exc.message
            except ValidationError:
                last = f"{name}: GET /cluster: not Patroni's answer"
        raise OperationError(f"Patroni: no REST API answers; last: {last}")

    def is_primary(self, name: str) -> bool:
        """Whether HAProxy's own check, GET /primary, passes."""
        try:
            return request("GET", self._url(name, "/primary"), tls=self._tls, timeout_s=TIMEOUT_S).status == 200
        except HttpError:
            return False

    def serves(self, name: str) -> bool:
        """Whether the node itself says that its PostgreSQL leads or streams, now; the DCS is up to loop_wait old."""
        try:
            node = self.node(name)
        except OperationError:
            return False
        return node.state == "running" and (node.role in PRIMARY_ROLES or node.replication_state == "streaming")

    def config(self, name: str) -> dict[str, JsonValue]:
        """The dynamic configuration in the DCS, as `name` tells it."""
        return _CONFIG.validate_json(self._ask(name, "GET", "/config"))

    def patch_config(self, name: str, patch: Mapping[str, object]) -> None:
        """Change the dynamic configuration; None removes a key (Patroni docs, PATCH /config)."""
        self._ask(name, "PATCH", "/config", json=patch)

    def wake(self, name: str, loop_wait_s: int) -> None:
        """Make a node run its HA loop now instead of up to loop_wait seconds later.

        PATCH /config wakes the loop even when, as here, it says what is so already (Patroni 4.1.5, api.py,
        do_PATCH_config); there is no call that only wakes it.
        """
        self.patch_config(name, {"loop_wait": loop_wait_s})

    def reload(self, name: str) -> None:
        self._ask(name, "POST", "/reload")

    def restart(self, name: str, *, timeout_s: float = RESTART_TIMEOUT_S) -> None:
        """Restart PostgreSQL on one node and wait until it is up.

        With primary_start_timeout 0 a leader's restart without `timeout` fails over (reliability.md).
        """
        self._ask(name, "POST", "/restart", json={"timeout": f"{timeout_s:g}s"}, timeout_s=timeout_s + 10)

    def switchover(
        self, leader: str, candidate: str | None = None, *, via: str | None = None, timeout_s: float = 60.0
    ) -> None:
        """A planned change of the leader, asked of `via` or of the leader itself; returns when it is done."""
        body = {"leader": leader} | ({"candidate": candidate} if candidate else {})
        self._ask(via or leader, "POST", "/switchover", json=body, timeout_s=timeout_s)

    def reinitialize(self, name: str) -> None:
        """Throw a replica's data away and clone it anew."""
        self._ask(name, "POST", "/reinitialize", json={"force": True})

    def _url(self, name: str, path: str) -> str:
        return url(self._addresses[name], REST_PORT) + path

    def _ask(
        self,
        name: str,
        method: str,
        path: str,
        *,
        json: Mapping[str, object] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> bytes:
        try:
            reply = request(method, self._url(name, path), tls=self._tls, timeout_s=timeout_s, json=json)
        except HttpError as exc:
            raise OperationError(f"{name}: {exc.message}") from exc
        # 503 with a body is how Patroni says "not running" or "not this role".
        if reply.status >= 400 and not (method == "GET" and reply.status == 503):
            said = "" if reply.text.lstrip().startswith("<") else f": {reply.text.strip()[:300]}"
            raise OperationError(f"{name}: {method} {path}: HTTP {reply.status}{said}")
        return reply.body
