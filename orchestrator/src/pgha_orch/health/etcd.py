"""etcd members over the JSON gateway of their client port (etcd docs, gRPC gateway)."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pgha_orch.errors import OperationError
from pgha_orch.http import ClientTls, HttpError, request
from pgha_orch.inventory.fields import IPAddress

CLIENT_PORT = 2379
TIMEOUT_S = 3.0


class _Header(BaseModel):
    member_id: str = ""


class _Status(BaseModel):
    """POST /v3/maintenance/status; 64-bit numbers come as strings."""

    model_config = ConfigDict(extra="ignore")

    header: _Header
    version: str
    db_size: int = Field(0, alias="dbSize")
    leader: str = "0"


class _Health(BaseModel):
    model_config = ConfigDict(extra="ignore")

    health: str
    reason: str = ""


class _Pair(BaseModel):
    model_config = ConfigDict(extra="ignore")

    value: str = ""


class _Range(BaseModel):
    model_config = ConfigDict(extra="ignore")

    kvs: list[_Pair] = []


@dataclass(frozen=True)
class Member:
    """One member as it answers; `healthy` means that a linearizable read through it works, so there is a quorum."""

    name: str
    healthy: bool
    leader: bool = False
    version: str = ""
    db_size_bytes: int = 0
    error: str = ""


def url(address: IPAddress, port: int = CLIENT_PORT) -> str:
    """Base URL of a service on a host."""
    return f"https://[{address}]:{port}" if address.version == 6 else f"https://{address}:{port}"


def member(name: str, address: IPAddress, tls: ClientTls) -> Member:
    """Ask one member; never raises for a member that is down."""
    base = url(address)
    try:
        health = request("GET", f"{base}/health", tls=tls, timeout_s=TIMEOUT_S)
        verdict = _Health.model_validate_json(health.body)
        status = request("POST", f"{base}/v3/maintenance/status", tls=tls, timeout_s=TIMEOUT_S, json={})
        seen = _Status.model_validate_json(status.body)
    except HttpError as exc:
        return Member(name, healthy=False, error=exc.message.partition(": ")[2] or exc.message)
    except ValidationError:
        return Member(name, healthy=False, error="its answer is not etcd's")
    return Member(
        name,
        healthy=verdict.health == "true",
        leader=seen.leader == seen.header.member_id != "",
        version=seen.version,
        db_size_bytes=seen.db_size,
        error=verdict.reason,
    )


def members(addresses: dict[str, IPAddress], tls: ClientTls) -> list[Member]:
    """Ask all members at once, in the order given."""
    with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as pool:
        return list(pool.map(lambda item: member(item[0], item[1], tls), addresses.items()))


def get(key: str, addresses: dict[str, IPAddress], tls: ClientTls) -> bytes | None:
    """Value of a key, by a linearizable read through the first member that answers; None when there is no such key."""
    last = "no member named"
    for address in addresses.values():
        try:
            reply = request(
                "POST",
                f"{url(address)}/v3/kv/range",
                tls=tls,
                timeout_s=TIMEOUT_S,
                json={"key": base64.b64encode(key.encode()).decode()},
            )
        except HttpError as exc:
            last = exc.message
            continue
        if reply.status == 200:
            pairs = _Range.model_validate_json(reply.body).kvs
            return base64.b64decode(pairs[0].value) if pairs else None
        last = f"{url(address)}: HTTP {reply.status}"
    raise OperationError(f"etcd: cannot read {key}: {last}")


def replace(
    deletes: Sequence[tuple[bytes, bytes]],
    puts: Mapping[str, bytes],
    addresses: Mapping[str, IPAddress],
    tls: ClientTls,
) -> None:
    """Delete ranges of keys (start, end without it) and write keys, all or nothing, through the first member that can.

    No key may be both deleted and written (etcd docs, Transaction). Raises OperationError when none can.
    """

    def text(raw: bytes) -> str:
        return base64.b64encode(raw).decode()

    steps: list[dict[str, object]] = [
        {"requestDeleteRange": {"key": text(start), "range_end": text(end)}} for start, end in deletes
    ]
    steps += [{"requestPut": {"key": text(key.encode()), "value": text(value)}} for key, value in puts.items()]
    last = "no member named"
    for address in addresses.values():
        try:
            reply = request("POST", f"{url(address)}/v3/kv/txn", tls=tls, timeout_s=TIMEOUT_S, json={"success": steps})
        except HttpError as exc:
            last = exc.message
            continue
        if reply.status == 200:
            return
        last = f"{url(address)}: HTTP {reply.status}: {reply.text[:200]}"
    raise OperationError(f"etcd: cannot change the scope: {last}")
