"""pydantic's errors in words: the field, its value, what is allowed, the nearest known key, the next step."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, ip_network
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from pgha_orch.inventory import fields, model
from pgha_orch.inventory.findings import FieldPath, Problem, dotted, shown
from pgha_orch.inventory.source import Plain, Source

_SECRET = re.compile(
    r"pass(word|wd|phrase|_?file)?$|pw$|secret|token|credential|private|(access|api|s3)_?key|^key$", re.I
)
HIDDEN = "(not shown)"

# Pattern -> what it means, for someone who does not read regular expressions.
_PATTERNS: dict[str, tuple[str, str]] = {}


def _pattern(annotated: object, message: str, hint: str) -> None:
    _PATTERNS[get_args(annotated)[1].pattern] = (message, hint)


_pattern(fields.HostName, "not a host name", "use a-z, 0-9 and inner hyphens, at most 63: pg-1")
_pattern(fields.ClusterName, "not a cluster name", "use a-z, 0-9 and inner hyphens, 2 to 32, a letter first: orders")
_pattern(fields.HostKey, "not an SSH host key", 'use "SHA256:..." from ssh-keygen -l, or "ssh-ed25519 AAAA..."')
_pattern(fields.PgName, "not a plain PostgreSQL name", "use a-z, 0-9 and _, at most 63, no digit first: order_app")


def _branches(annotation: object) -> list[Any]:
    """The alternatives of a type: unions opened, Annotated and None taken off."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _branches(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [b for arg in get_args(annotation) for b in _branches(arg)]
    return [] if annotation is type(None) else [annotation]


def types_at(path: FieldPath) -> list[Any]:
    """The types that a field may have, by its path; [] where there is no such field."""
    found: list[Any] = [model.Inventory]
    for part in path:
        below: list[Any] = []
        for kind in found:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                info = kind.model_fields.get(str(part))
                below += _branches(info.annotation) if info else []
            elif get_origin(kind) is dict and isinstance(part, str):
                below += _branches(get_args(kind)[1])
            elif get_origin(kind) is tuple and isinstance(part, int):
                below += _branches(get_args(kind)[0])
        found = below
    return found


def words_at(path: FieldPath) -> list[str]:
    """The words that a field may be: members of an enum or a Literal."""
    words: list[str] = []
    for kind in types_at(path):
        if get_origin(kind) is Literal:
            words += [str(word) for word in get_args(kind)]
        elif isinstance(kind, type) and issubclass(kind, Enum):
            words += [str(member.value) for member in kind]
    return words


def keys_at(path: FieldPath) -> list[str]:
    """The keys that a mapping may have; [] where they are free."""
    kinds = types_at(path)
    return [
        key for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel) for key in kind.model_fields
    ]


# What pydantic says of the half of a union that was not meant.
_UNION_KINDS = ("enum", "literal_error", "model_type")


def problems(errors: Iterable[ErrorDetails], source: Source) -> list[Problem]:
    """One problem per field, in words."""
    found: dict[FieldPath, Problem] = {}
    meant: set[FieldPath] = set()
    details = [(_real_path(error["loc"], source.values), error) for error in errors]
    inner = {path for path, _ in details}
    for path, error in details:
        kind = error["type"]
        if kind == "extra_forbidden":
            problem, near = _unknown_key(path)
            found[path] = problem
            meant |= {near} if near else set()
        elif path in found or (kind == "too_short" and error["input"]):
            continue  # pydantic counts only the items that were right
        elif kind in _UNION_KINDS and any(len(o) > len(path) and o[: len(path)] == path for o in inner):
            continue  # the other half of a union: the fields inside say it better
        elif kind == "missing":
            found[path] = _missing(path)
        else:
            found[path] = _wrong_value(path, error, source)
    return [problem for path, problem in found.items() if not (path in meant and problem.value == "")]


def _real_path(loc: tuple[int | str, ...], values: Plain) -> FieldPath:
    """pydantic's location without the names of union members and the `[key]` mark."""
    path: list[str | int] = []
    at: Plain = values
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if isinstance(at, dict) and isinstance(part, str) and part in at:
            at = at[part]
        elif isinstance(at, list) and isinstance(part, int):
            at = at[part] if part < len(at) else None
        elif not (last and isinstance(at, dict) and part in keys_at(tuple(path))):
            continue
        path.append(part)
    return tuple(path)


def _unknown_key(path: FieldPath) -> tuple[Problem, FieldPath | None]:
    key, parent = str(path[-1]), path[:-1]
    known = keys_at(parent)
    if _SECRET.search(key):
        hint = "remove the line, and change the secret if the file was shared: pgha generates and keeps secrets"
        return Problem(path, HIDDEN, "a secret does not belong in an inventory", hint), None
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if near:
        return Problem(path, "", "unknown key", f"did you mean `{near[0]}`?"), (*parent, near[0])
    where = next((top for top in model.Inventory.model_fields if key in keys_at((top,))), None)
    if not parent and where:
        return Problem(path, "", "unknown key here", f"`{key}` belongs under `{where}:`"), None
    if len(parent) and key in keys_at(()):
        return Problem(path, "", "unknown key here", f"`{key}` belongs at the top of the file"), None
    return Problem(path, "", "unknown key", f"known here: {', '.join(known)}"), None


def _missing(path: FieldPath) -> Problem:
    example = _EXAMPLES.get(str(path[-1])) or " or ".join(words_at(path)[:6])
    where = f" under `{dotted(path[:-1])}`" if path[:-1] else ""
    return Problem(path, "", "missing", f"add `{path[-1]}: {example or '...'}`{where}")


_EXAMPLES = {
    "version": "1",
    "cluster": "orders",
    "network": "10.0.0.0/24",
    "clients": "[10.0.0.0/24]",
    "hosts": "{pg-1: {role: postgres, address: 10.0.0.21}, ...}",
    "address": "10.0.0.21",
    "name": "app",
    "owner": "app",
    "ttl": "30",
    "loop_wait": "5",
    "retry_timeout": "10",
    "bucket": "my-backups",
    "endpoint": "s3.eu-central-1.amazonaws.com",
    "region": "eu-central-1",
}

# pydantic's error type -> (message, hint); {names} come from the error's context.
_MESSAGES: Mapping[str, tuple[str, str]] = {
    "string_type": ("not text", "put it in quotes"),
    "int_type": ("not a whole number", "write a whole number without quotes"),
    "int_parsing_size": ("far too large a number", "write a smaller one"),
    "float_type": ("not a number", "write a number without quotes"),
    "bool_type": ("neither true nor false", "write true or false, without quotes"),
    "tuple_type": ("not a list", "write [a, b], or `- ` lines"),
    "dict_type": ("not a mapping", "write `key: value` lines under it, indented"),
    "model_type": ("not a mapping of fields", "write `field: value` lines under it, or {{field: value}}"),
    "greater_than_equal": ("less than {ge}", "the least is {ge}"),
    "less_than_equal": ("more than {le}", "the most is {le}"),
    "too_short": ("empty", "give at least {min_length}"),
    "string_too_short": ("empty", "give at least {min_length} characters"),
    "string_too_long": ("too long", "at most {max_length} characters"),
    "string_pattern_mismatch": ("not in the form wanted", "it must match {pattern}"),
}


def _wrong_value(path: FieldPath, error: ErrorDetails, source: Source) -> Problem:
    value, context = error["input"], error.get("ctx", {})
    word = source.surprises.get(path)
    text = HIDDEN if any(_SECRET.search(str(part)) for part in path) else shown(value if word is None else word)
    words = words_at(path)
    kinds = types_at(path)
    if words and error["type"] in ("enum", "literal_error", "model_type"):
        near = difflib.get_close_matches(str(value), words, n=1)
        guess = f"did you mean {near[0]}? " if near and near[0] != str(value) else ""
        also = " or the fields " + ", ".join(keys_at(path)) if keys_at(path) else ""
        quoted = "; without quotes" if str(value) in words else ""
        return Problem(path, text, "not one of the allowed values", f"{guess}allowed: {', '.join(words)}{also}{quoted}")
    if IPv4Network in kinds or IPv4Address in kinds:
        return _wrong_address(path, text, value, network=IPv4Network in kinds)
    if error["type"] == "string_pattern_mismatch" and context["pattern"] in _PATTERNS:
        return Problem(path, text, *_PATTERNS[context["pattern"]])
    if len(kinds) > 2:
        return Problem(path, text, "not a single value", "give a number, a text, true or false")
    if word is not None and isinstance(value, bool):
        return Problem(path, text, f"YAML reads this word as {shown(value)}", f'write "{word}" in quotes')
    message, hint = _MESSAGES.get(error["type"], (error["msg"].lower(), "see the README's hosts.yml reference"))
    if value is None:
        message, hint = "nothing is given", "give a value, or remove the line"
    return Problem(path, text, message.format(**context), hint.format(**context))


def _wrong_address(path: FieldPath, text: str, value: object, *, network: bool) -> Problem:
    if network:
        fixed = _without_host_bits(value)
        if fixed:
            return Problem(path, text, "an address with host bits, not a network", f"write {fixed}")
        return Problem(path, text, "not a network", "write it as 10.0.0.0/24 or fd00:1::/64")
    if isinstance(value, str) and "/" in value:
        return Problem(path, text, "an address, without a length, is wanted", f"write {value.split('/')[0]}")
    if isinstance(value, str) and re.search(r"[a-z]", value, re.I) and ":" not in value:
        return Problem(path, text, "a name, not an IP address", "write its address: names are not looked up")
    return Problem(path, text, "not an IP address", "write it as 10.0.0.21 or fd00:1::21")


def _without_host_bits(value: object) -> str | None:
    try:
        return str(ip_network(str(value), strict=False)) if isinstance(value, str) else None
    except ValueError:
        return None
