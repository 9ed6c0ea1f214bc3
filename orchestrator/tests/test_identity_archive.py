"""The archive: deterministic, with the contract's owners and modes, and checkable by its own SHA256SUMS."""

from __future__ import annotations

import hashlib
import io
import re
import stat
import tarfile
from pathlib import Path

import pytest
from identities import BARE, LAB, WIDE, rendered

EVERY_HOST = [(text, host) for text in (LAB, WIDE, BARE) for host in rendered(text)]
every_host = pytest.mark.parametrize(("text", "host"), EVERY_HOST, ids=lambda v: str(v)[-8:].strip())

ROLE_OWNER = {
    "etcd/": ("etcd", "etcd", 0o600),
    "patroni/": ("postgres", "postgres", 0o600),
    "postgresql/": ("postgres", "postgres", 0o600),
    "haproxy/": ("root", "haproxy", 0o640),
}
ABSOLUTE = re.compile(r"(?<![\w.:*\]/-])/(?:usr|bin|sbin|etc|opt|nix|lib|var|run|dev|tmp|home)[\w./-]*")
SECRET_ROOT = {"nftables.conf", "ssh/ssh_host_ed25519_key"}


@every_host
def test_two_renders_are_the_same_bytes(text: str, host: str) -> None:
    first, second = rendered(text)[host], rendered(text)[host]
    assert first.archive() == second.archive()
    assert first.revision == second.revision


@every_host
def test_owners_and_modes_are_the_contracts(text: str, host: str) -> None:
    identity = rendered(text)[host]
    user = "pgbackrest" if identity.role == "backup" else "postgres"
    for member in identity.all_members():
        wanted = ("root", "root", 0o600 if member.path in SECRET_ROOT else 0o644)
        for prefix, owner in {**ROLE_OWNER, "pgbackrest/": ("root", user, 0o640)}.items():
            if member.path.startswith(prefix):
                wanted = owner
        assert (member.owner, member.group, member.mode) == wanted, member.path


@every_host
def test_members_name_no_path_of_a_distribution(text: str, host: str) -> None:
    allowed = re.compile(r"/(run|dev|var/lib/pgha)(/|$)")
    for member in rendered(text)[host].members:
        if member.path.endswith((".crt", ".key", ".pem", ".pub", "authorized_keys")):
            continue
        lines = [line for line in member.content.decode().splitlines() if not line.lstrip().startswith("#")]
        for path in ABSOLUTE.findall("\n".join(lines)):
            assert allowed.match(path), f"{member.path}: {path}"


def test_the_tar_holds_names_ids_and_modes() -> None:
    identity = rendered(LAB)["pg-1"]
    with tarfile.open(fileobj=io.BytesIO(identity.archive())) as tar:
        infos = {info.name: info for info in tar}
        sums = tar.extractfile("SHA256SUMS")
        assert sums is not None
        listed = dict(line.split("  ", 1)[::-1] for line in sums.read().decode().splitlines())
        for name in listed:
            content = tar.extractfile(name)
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == listed[name]
    assert list(infos) == sorted(infos)
    assert set(infos) == {*listed, "SHA256SUMS"}
    conf = infos["patroni/patroni.yml"]
    assert (conf.uname, conf.gname, conf.uid, conf.gid, conf.mode) == ("postgres", "postgres", 960, 960, 0o600)
    assert all(info.mtime == 0 and info.isreg() for info in infos.values())


def test_the_revision_is_the_sha256_of_sha256sums() -> None:
    identity = rendered(LAB)["pg-1"]
    assert identity.revision == hashlib.sha256(identity.sums).hexdigest()
    assert identity.revision != rendered(LAB)["pg-2"].revision


def test_write_tree_keeps_modes(tmp_path: Path) -> None:
    identity = rendered(LAB)["pg-1"]
    identity.write_tree(tmp_path / "pg-1")
    for member in identity.all_members():
        path = tmp_path / "pg-1" / member.path
        assert path.read_bytes() == member.content
        assert stat.S_IMODE(path.stat().st_mode) == member.mode


def test_repr_shows_no_content() -> None:
    shown = repr(rendered(LAB)["pg-1"])
    assert "test-password" not in shown
    assert "key of" not in shown
