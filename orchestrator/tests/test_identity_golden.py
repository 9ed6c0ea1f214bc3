"""Rendered files, whole, as tests/golden holds them. `pytest --update-golden` writes them anew."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from identities import BARE, LAB, WIDE, rendered

GOLDEN = Path(__file__).with_name("golden")
CASES = [
    ("lab", LAB, ("etcd-1", "pg-1", "haproxy", "backup")),
    ("wide", WIDE, ("etcd-1", "pg-1", "pg-2", "proxy-1", "backup")),
    ("bare", BARE, ("pg-1",)),
]


@pytest.mark.parametrize(
    ("name", "text", "host"), [(n, t, h) for n, t, hosts in CASES for h in hosts], ids=lambda v: str(v)[:12]
)
def test_identity_is_what_the_golden_tree_holds(name: str, text: str, host: str, update_golden: bool) -> None:
    directory = GOLDEN / name / host
    files = {m.path: m.content for m in rendered(text)[host].members}
    if update_golden:
        shutil.rmtree(directory, ignore_errors=True)
        for path, content in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(content)
    golden = {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}
    assert sorted(files) == sorted(golden)
    for path, content in files.items():
        assert content.decode() == golden[path].decode(), path
