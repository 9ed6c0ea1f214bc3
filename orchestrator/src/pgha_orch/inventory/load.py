"""hosts.yml -> a checked inventory, or all that is wrong with it, each with file, line, field and value."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pgha_orch.inventory import checks, critic, translate
from pgha_orch.inventory import source as yaml_source
from pgha_orch.inventory.findings import FieldPath, Finding, InventoryError
from pgha_orch.inventory.model import Inventory
from pgha_orch.inventory.source import Plain, Source

__all__ = ["Finding", "InventoryError", "LoadedInventory", "load"]


@dataclass(frozen=True)
class LoadedInventory:
    """A usable inventory. `warnings` say what will hurt; none of them keeps a deploy from working."""

    inventory: Inventory
    path: Path
    warnings: tuple[Finding, ...]


def load(path: Path) -> LoadedInventory:
    """Read, type and check an inventory.

    Raises InventoryError (exit code 2) with every problem found: those of the text, of fields' names and of
    their values; when there are none, those between fields.
    """
    source = yaml_source.read(path)
    if not isinstance(source.values, dict):
        raise InventoryError(source.findings)
    _take_words(source, source.values, ())
    findings = list(source.findings)
    try:
        # JSON mode: strict about numbers and text, yet it takes lists for tuples and text for addresses.
        inventory = Inventory.model_validate_json(json.dumps(source.values), strict=True)
    except ValidationError as exc:
        placed = [source.place(p) for p in translate.problems(exc.errors(include_url=False), source)]
        findings += [finding for finding in placed if not _follows(finding, source.findings)]
        raise InventoryError(findings) from None
    findings += [source.place(problem) for problem in checks.check(inventory)]
    if findings:
        raise InventoryError(findings)
    warnings = sorted((source.place(p) for p in critic.criticise(inventory)), key=lambda f: f.line)
    return LoadedInventory(inventory, path, tuple(warnings))


def _take_words(source: Source, values: Plain, path: FieldPath) -> None:
    """Where a field takes the word `off`, YAML 1.1's reading of it as false is undone."""
    if isinstance(values, dict):
        for key, value in values.items():
            values[key] = _word(source, value, (*path, key))
    elif isinstance(values, list):
        values[:] = [_word(source, value, (*path, i)) for i, value in enumerate(values)]


def _word(source: Source, value: Plain, path: FieldPath) -> Plain:
    word = source.surprises.get(path)
    if word is not None and isinstance(value, bool) and word in translate.words_at(path):
        return word
    _take_words(source, value, path)
    return value


def _follows(finding: Finding, earlier: list[Finding]) -> bool:
    """Whether a finding only follows from one that the text gave: the same field, or one missing in it."""
    return any(
        finding.field == other.field
        or (other.field and finding.message == "missing" and finding.field.startswith(f"{other.field}."))
        for other in earlier
    )
