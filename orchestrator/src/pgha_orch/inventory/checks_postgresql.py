"""Rules about PostgreSQL's parameters, users, databases, logins and durability."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator

from pgha_orch.inventory import hba, parameters
from pgha_orch.inventory.fields import ParameterValue
from pgha_orch.inventory.findings import Problem, shown
from pgha_orch.inventory.model import Driver, Durability, Inventory, Role

# Patroni makes postgres, replicator and rewind; PostgreSQL keeps pg_*, public and none for itself.
RESERVED_USERS = {"postgres", "replicator", "rewind", "pgha", "public", "none"}
RESERVED_DATABASES = {"postgres", "template0", "template1", "pgha"}
_PARAMETER = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*")
_WEAK_COMMIT = {"off", "false", "no", "0", "local", "remote_write"}
_SENDERS_SPARE = 2  # a base backup takes two


def _parameters(inventory: Inventory) -> Iterator[Problem]:
    for name, value in inventory.postgresql.parameters.items():
        path, text, lower = ("postgresql", "parameters", name), shown(value), name.lower()
        owner = parameters.owner(lower)
        if owner:
            yield Problem(path, text, owner.by, owner.instead)
        elif lower != name and _PARAMETER.fullmatch(lower):
            yield Problem(path, text, "parameter names are in lower case here", f"write {lower}")
        elif not _PARAMETER.fullmatch(name):
            yield Problem(path, text, "not a parameter name", "use a-z, 0-9 and _, and a dot after an extension's name")
        elif "." not in name and name not in parameters.KNOWN:
            near = difflib.get_close_matches(name, parameters.KNOWN, n=1)
            hint = (
                f"did you mean {near[0]}?"
                if near
                else "an extension's has its name before a dot: auto_explain.log_format"
            )
            yield Problem(path, text, "PostgreSQL 17 has no such parameter", hint)
        elif name == "wal_level" and value not in ("replica", "logical"):
            yield Problem(path, text, "replicas need at least replica", "remove it, or write logical")
        elif name == "synchronous_commit":
            yield from _synchronous_commit(inventory, value)
        elif name in ("max_wal_senders", "max_replication_slots"):
            yield from _senders(inventory, name, value)


def _synchronous_commit(inventory: Inventory, value: ParameterValue) -> Iterator[Problem]:
    if inventory.durability is not Durability.ASYNC and shown(value).lower() in _WEAK_COMMIT:
        message = f"a COMMIT would not wait for a standby's disk, against `durability: {inventory.durability}`"
        hint = "remove it, set `durability: async`, or set it per session where losing a write is fine"
        yield Problem(("postgresql", "parameters", "synchronous_commit"), shown(value), message, hint)


def _senders(inventory: Inventory, name: str, value: ParameterValue) -> Iterator[Problem]:
    least = len(inventory.of_role(Role.POSTGRES)) + _SENDERS_SPARE
    if not shown(value).isdigit() or int(shown(value)) < least:
        message = f"too few: the replicas and a base backup need {least}"
        yield Problem(("postgresql", "parameters", name), shown(value), message, "remove it, or raise it")


def _users(inventory: Inventory) -> Iterator[Problem]:
    users = inventory.postgresql.users
    names = [user.name for user in users]
    for i, user in enumerate(users):
        path = ("postgresql", "users", i, "name")
        if user.name in RESERVED_USERS or user.name.startswith("pg_"):
            yield Problem(path, user.name, "reserved for PostgreSQL or pgha", "choose another name")
        elif user.name in names[:i]:
            yield Problem(path, user.name, f"users[{names.index(user.name)}] has this name already", "remove one")
        for j, role in enumerate(user.member_of):
            below = ("postgresql", "users", i, "member_of", j)
            if role == user.name:
                yield Problem(below, role, "a user cannot be a member of itself", "remove it")
            elif role not in names and not role.startswith("pg_"):
                message = "neither a user here nor one of PostgreSQL's pg_ roles"
                yield Problem(below, role, message, f"add it: users: [{{name: {role}, options: [nologin]}}]")


def _databases(inventory: Inventory) -> Iterator[Problem]:
    users = [user.name for user in inventory.postgresql.users]
    names = [database.name for database in inventory.postgresql.databases]
    for i, database in enumerate(inventory.postgresql.databases):
        path = ("postgresql", "databases", i, "name")
        if database.name in RESERVED_DATABASES:
            yield Problem(path, database.name, "reserved for PostgreSQL or pgha", "choose another name")
        elif database.name in names[:i]:
            message = f"databases[{names.index(database.name)}] has this name already"
            yield Problem(path, database.name, message, "remove one")
        if database.owner not in users:
            near = difflib.get_close_matches(database.owner, users, n=1)
            hint = f"did you mean {near[0]}?" if near else f"add it: users: [{{name: {database.owner}}}]"
            owner = ("postgresql", "databases", i, "owner")
            yield Problem(owner, database.owner, "no user of this name under postgresql.users", hint)


def _hba(inventory: Inventory) -> Iterator[Problem]:
    for i, line in enumerate(inventory.postgresql.hba):
        wrong = hba.complaint(line)
        if wrong:
            text = shown(hba.HIDDEN_OPTIONS.sub(r"\1(not shown)", line))
            yield Problem(("postgresql", "hba", i), text, *wrong)


def _standbys(inventory: Inventory) -> Iterator[Problem]:
    """Whether there can be the sync standbys that `durability` promises, whoever leads."""
    if inventory.durability is Durability.ASYNC:
        return
    nodes = inventory.of_role(Role.POSTGRES)
    able = [name for name, host in nodes.items() if not host.tags.nosync]
    standbys = max(0, len(able) - 1)
    promise = f"`durability: {inventory.durability}`"
    count = inventory.postgresql.synchronous_node_count
    if nodes and standbys == 0 and inventory.durability is not Durability.SYNC:
        why = "all but one have nosync" if len(nodes) > 1 else "there is one postgres host"
        message = f"{promise} waits for a standby, and {why}: every write would block"
        hint = "add a postgres host, remove nosync, or set `durability: async`"
        yield Problem(("durability",), inventory.durability, message, hint)
    elif count > max(1, standbys):
        message = f"{promise} with {standbys} possible sync standbys"
        yield Problem(("postgresql", "synchronous_node_count"), str(count), message, f"set it to {max(1, standbys)}")


def _watchdog(inventory: Inventory) -> Iterator[Problem]:
    path, mode = ("postgresql", "watchdog"), inventory.postgresql.watchdog
    if inventory.machines is Driver.NSPAWN and mode == "required":
        hint = "set it to auto, or use `machines: qemu`"
        yield Problem(path, mode, "nspawn machines have no watchdog device: no node would ever lead", hint)
    if inventory.durability is not Durability.QUORUM:
        return
    message = "needs a watchdog that fences a hung primary"
    if inventory.machines is Driver.NSPAWN:
        hint = "use `durability: strict`, or `machines: qemu`"
        yield Problem(("durability",), "quorum", f"{message}, and nspawn machines have none", hint)
    elif mode == "off" or (mode == "auto" and inventory.machines is Driver.SSH):
        yield Problem(("durability",), "quorum", message, "set `postgresql.watchdog: required`")


RULES: tuple[Callable[[Inventory], Iterator[Problem]], ...] = (
    _parameters,
    _users,
    _databases,
    _hba,
    _standbys,
    _watchdog,
)
