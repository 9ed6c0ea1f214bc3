"""The JSON Schema that editors use says the same as the loader, and explains every field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from pgha_orch.inventory.schema import json_schema

EXAMPLES = Path(__file__).parents[2] / "examples"


def _fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
    for name, definition in schema.get("$defs", {}).items():
        yield from _fields(definition, name)


def test_it_is_a_valid_schema_of_the_2020_12_draft() -> None:
    schema = json_schema()

    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_field_is_described_in_a_sentence() -> None:
    fields = list(_fields(json_schema()))

    assert len(fields) > 60
    undescribed = [path for path, field in fields if not field.get("description", "").endswith((".", '"'))]
    assert undescribed == []


def test_durations_and_sizes_are_described_with_their_units() -> None:
    described = dict(_fields(json_schema()))

    assert "Seconds" in described["Timings.ttl"]["description"]
    assert "Milliseconds" in described["HealthCheck.inter_ms"]["description"]
    assert "MiB" in described["Host.memory_mib"]["description"]


@pytest.mark.parametrize("name", ["lab.yml", "guide.yml"])
def test_the_examples_fit_it(name: str) -> None:
    Draft202012Validator(json_schema()).validate(yaml.safe_load((EXAMPLES / name).read_text()))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("netwrok", "10.0.0.0/24"),
        ("machines", "docker"),
        ("version", 2),
        ("hosts", {"PG_1": {}}),
        ("failover", "quick"),
    ],
)
def test_an_editor_marks_what_the_loader_refuses(field: str, value: object) -> None:
    inventory = yaml.safe_load((EXAMPLES / "lab.yml").read_text())

    assert not Draft202012Validator(json_schema()).is_valid({**inventory, field: value})
