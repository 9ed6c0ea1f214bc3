"""Inventories as text, for the tests: a good one, and changes to it."""

from __future__ import annotations

from pathlib import Path

from pgha_orch.inventory.load import InventoryError, LoadedInventory, load

GOOD = """\
version: 1
cluster: shop
network: 10.9.0.0/24
clients: [10.9.0.0/24]
postgresql:
  users: [{name: app}]
  databases: [{name: app, owner: app}]
backup: {}
hosts:
  etcd-1: {role: etcd, address: 10.9.0.11}
  etcd-2: {role: etcd, address: 10.9.0.12}
  etcd-3: {role: etcd, address: 10.9.0.13}
  pg-1: {role: postgres, address: 10.9.0.21}
  pg-2: {role: postgres, address: 10.9.0.22}
  pg-3: {role: postgres, address: 10.9.0.23}
  haproxy-1: {role: haproxy, address: 10.9.0.30}
  haproxy-2: {role: haproxy, address: 10.9.0.31}
  backup: {role: backup, address: 10.9.0.40}
"""


def changed(*edits: tuple[str, str], text: str = GOOD) -> str:
    """The good inventory with each old text, which must be there once, replaced by the new."""
    for old, new in edits:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def load_text(directory: Path, text: str | bytes) -> LoadedInventory:
    """Write an inventory to a file and load it."""
    path = directory / "hosts.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(path)


def fields_refused(directory: Path, text: str) -> list[str]:
    """The fields that a refusal names, in order; [] for an inventory that loads."""
    try:
        load_text(directory, text)
    except InventoryError as exc:
        return [finding.field for finding in exc.findings]
    return []


def fields_warned(directory: Path, text: str) -> dict[str, str]:
    """Warnings of an inventory that must load: field to message."""
    return {finding.field: finding.message for finding in load_text(directory, text).warnings}
