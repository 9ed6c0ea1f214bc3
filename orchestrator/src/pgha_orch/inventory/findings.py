"""What is wrong, or unwise, in an inventory: where, which value, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pgha_orch.errors import UsageError

# Keys and list indices from the top of the file: ("hosts", "pg-1", "address"), ("clients", 0).
FieldPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """A finding before it has a place: rules know fields, only the file knows lines."""

    path: FieldPath
    value: str
    message: str
    hint: str


@dataclass(frozen=True)
class Finding:
    """A problem at its place. `line` counts from 1; `field` is dotted: `hosts.pg-1.address`, `clients[0]`."""

    file: Path
    line: int
    field: str
    value: str
    message: str
    hint: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else f"{self.file}"
        parts = [where, *(part for part in (self.field, self.value) if part), self.message]
        return ": ".join(parts) + (f"; {self.hint}" if self.hint else "")


class InventoryError(UsageError):
    """An inventory that cannot be used: all its problems at once, in the order of the file."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self.findings = tuple(sorted(findings, key=lambda f: (f.line, f.field)))
        super().__init__("\n".join(map(str, self.findings)))


def dotted(path: FieldPath) -> str:
    """Show a path as a person writes it."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


_YAML_WORDS = {None: "null", True: "true", False: "false"}


def shown(value: object, limit: int = 60) -> str:
    """A value as the file has it, short; collections only by kind, so nothing hidden in them is shown."""
    if isinstance(value, dict):
        return "a mapping" if value else "{}"
    if isinstance(value, list | tuple):
        return "a list" if value else "[]"
    text = str(value) if value is not None and not isinstance(value, bool) else _YAML_WORDS[value]
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"
