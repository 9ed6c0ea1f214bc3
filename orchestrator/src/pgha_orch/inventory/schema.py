"""The JSON Schema of hosts.yml, for editors."""

from __future__ import annotations

from typing import Any

from pgha_orch.inventory.model import Inventory

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of hosts.yml, with a description for every field.

    With the Red Hat YAML extension, VS Code uses it from the first line of a file:
    `# yaml-language-server: $schema=hosts.schema.json`
    """
    schema = Inventory.model_json_schema(mode="validation")
    schema["properties"]["hosts"]["additionalProperties"] = False  # no other names than the pattern's
    return {
        "$schema": DIALECT,
        "$id": "https://pgha.invalid/hosts.schema.json",
        **schema,
        "title": "pgha hosts.yml",
    }
