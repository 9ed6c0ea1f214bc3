"""The cluster's passwords: generated once, kept in `secrets.json` of the state directory, never shown."""

from __future__ import annotations

import os
import secrets as random
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_serializer

from pgha_orch.errors import UsageError
from pgha_orch.inventory.model import Inventory
from pgha_orch.state import StateDir

FILE = "secrets.json"

# 32 letters and digits, 187 bits. No other character, so that no config format (YAML, INI, haproxy.cfg,
# pgpass, a connection URI) has to quote it.
_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789"
_LENGTH = 32

Password = Annotated[SecretStr, Field(min_length=16)]


class S3Keys(BaseModel):
    """Access to the bucket of `backup.repository.s3`. Given by the environment once, then kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    access_key: SecretStr
    secret_key: SecretStr

    @field_serializer("access_key", "secret_key", when_used="json")
    def _plain(self, value: SecretStr) -> str:
        return value.get_secret_value()


class Secrets(BaseModel):
    """Every password of one cluster. `repr` and `str` show asterisks; `.get_secret_value()` gives a value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    superuser: Password  # postgres
    replicator: Password
    rewind: Password
    pgha: Password  # the orchestrator's own user, for gates and drills
    stats: Password  # HAProxy's stats page, user "operator"
    cipher: Password  # pgBackRest's repository; used when backup.repository.cipher is not "none"
    users: dict[str, Password]  # postgresql.users, by name
    s3: S3Keys | None = None

    @field_serializer("superuser", "replicator", "rewind", "pgha", "stats", "cipher", when_used="json")
    def _plain(self, value: SecretStr) -> str:
        return value.get_secret_value()

    @field_serializer("users", when_used="json")
    def _plain_users(self, value: dict[str, SecretStr]) -> dict[str, str]:
        return {name: password.get_secret_value() for name, password in value.items()}


_GENERATED = ("superuser", "replicator", "rewind", "pgha", "stats", "cipher")


def generate() -> str:
    """One new password."""
    return "".join(random.choice(_ALPHABET) for _ in range(_LENGTH))


def ensure(state: StateDir, inventory: Inventory, *, environ: Mapping[str, str] = os.environ) -> Secrets:
    """The cluster's secrets: what is missing is generated and stored, what exists never changes.

    A user that left the inventory keeps its password here, so that it has the same one should it come back.
    Keys for S3 are read from PGHA_S3_ACCESS_KEY and PGHA_S3_SECRET_KEY and kept. Raises UsageError when the
    file is damaged, or when the inventory needs S3 keys and there are none.
    """
    with state.lock("secrets", wait_s=30):
        found = load(state)
        secrets = _complete(found, inventory, environ)
        if secrets != found:
            state.write(FILE, secrets.model_dump_json(indent=2).encode() + b"\n")
    return secrets


def load(state: StateDir) -> Secrets | None:
    """What the state directory holds; None when it holds no secrets yet."""
    raw = state.read(FILE)
    if raw is None:
        return None
    try:
        return Secrets.model_validate_json(raw)
    except ValidationError as exc:
        # pydantic's own text would quote the values.
        problems = sorted({f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['type']}" for e in exc.errors()})
        raise UsageError(
            f"{state.path(FILE)}: damaged or incomplete ({'; '.join(problems)[:300]})",
            hint="restore it from a copy: new passwords would be unknown to a running cluster",
        ) from None


def _complete(found: Secrets | None, inventory: Inventory, environ: Mapping[str, str]) -> Secrets:
    users = dict(found.users) if found else {}
    for user in inventory.postgresql.users:
        users.setdefault(user.name, SecretStr(generate()))
    s3 = _s3(found.s3 if found else None, inventory, environ)
    if found is not None:
        return found.model_copy(update={"users": users, "s3": s3})
    return Secrets(users=users, s3=s3, **{name: SecretStr(generate()) for name in _GENERATED})


def _s3(found: S3Keys | None, inventory: Inventory, environ: Mapping[str, str]) -> S3Keys | None:
    if found is not None or inventory.backup is None or inventory.backup.repository.s3 is None:
        return found
    access, secret = environ.get("PGHA_S3_ACCESS_KEY"), environ.get("PGHA_S3_SECRET_KEY")
    if not access or not secret:
        raise UsageError(
            "backup.repository.s3: no keys for the bucket",
            hint="set PGHA_S3_ACCESS_KEY and PGHA_S3_SECRET_KEY for this one run: they are kept",
        )
    if any(not c.isprintable() or c.isspace() for c in access + secret):
        raise UsageError("PGHA_S3_ACCESS_KEY or PGHA_S3_SECRET_KEY: holds a blank or a control character")
    return S3Keys(access_key=SecretStr(access), secret_key=SecretStr(secret))
