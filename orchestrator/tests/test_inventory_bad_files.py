"""Every file in bad_inventories is refused at the line and field, and with the words, that its header names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgha_orch.errors import UsageError
from pgha_orch.inventory.load import InventoryError, load

BAD = sorted((Path(__file__).parent / "bad_inventories").glob("*.yml"))


def _expected(path: Path) -> dict[str, str]:
    head = path.read_bytes().decode("latin-1").splitlines()[:4]
    return {m[1]: m[2] for line in head if (m := re.fullmatch(r"# (\w+): ?(.*)", line))}


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_a_bad_inventory_is_refused_with_line_field_and_hint(path: Path) -> None:
    expected = _expected(path)

    with pytest.raises(InventoryError) as caught:
        load(path)

    assert isinstance(caught.value, UsageError)
    assert caught.value.exit_code == 2
    found = [
        finding
        for finding in caught.value.findings
        if str(finding.line) == expected["line"]
        and finding.field == expected["field"]
        and expected["says"] in finding.message
        and expected["hint"] in finding.hint
    ]
    assert len(found) == 1, str(caught.value)
    assert f"{path}:{expected['line']}: " in str(caught.value)
    assert "hunter2" not in str(caught.value)


# One mistake, one message: what follows from it must not drown it. Where the network is wrong, so is every
# address in it, and a VIP without a HAProxy means that HAProxy is missing too.
SEVERAL = {path.stem for path in BAD if path.stem.startswith("network_")} | {"vip_without_haproxy"}


@pytest.mark.parametrize("path", [p for p in BAD if p.stem not in SEVERAL], ids=lambda p: p.stem)
def test_one_mistake_gives_one_message(path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load(path)

    assert len(caught.value.findings) == 1, str(caught.value)


def test_there_are_many_different_bad_inventories() -> None:
    assert len(BAD) >= 40
