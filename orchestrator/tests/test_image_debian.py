"""The Debian builder's inputs: what makes it build again, what it refuses before it starts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.image import ROLES, build, debian, store
from pgha_orch.image.manifest import Manifest

IMAGES = debian.images_source()


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    copy = tmp_path / "images"
    for name in ("node", "debian"):
        shutil.copytree(IMAGES / name, copy / name, symlinks=True)
    monkeypatch.setenv("PGHA_IMAGES_SOURCE", str(copy))
    return copy


@pytest.mark.parametrize(
    ("changed", "roles"),
    [
        ("node/all/lib/pgha/identity-load", set(ROLES)),
        ("node/install", set(ROLES)),
        ("debian/finish", set(ROLES)),
        ("node/haproxy/lib/systemd/system/haproxy.service", {"haproxy"}),
        ("node/postgres/lib/systemd/system/pgbackrest.service", {"postgres", "backup"}),
        ("node/README.md", set()),
    ],
)
def test_a_changed_file_makes_exactly_the_images_with_it_be_built_again(
    images: Path, changed: str, roles: set[str]
) -> None:
    before = {role: debian.input_hash(role) for role in ROLES}
    with (images / changed).open("a") as file:
        file.write("\n# changed\n")
    assert {role for role in ROLES if debian.input_hash(role) != before[role]} == roles


def test_a_file_that_becomes_executable_counts_as_changed(images: Path) -> None:
    before = debian.input_hash("etcd")
    (images / "debian/finish").chmod(0o644)
    assert debian.input_hash("etcd") != before


def test_an_unknown_role_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such role: mail"):
        build(["etcd", "mail"], image_dir=tmp_path)


def test_without_root_a_build_ends_with_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="needs root"):
        build(["etcd"], image_dir=tmp_path)


def test_what_is_built_already_needs_no_root_and_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.staging(tmp_path, "etcd") as staged:
        (staged / "root").mkdir()
        described = Manifest(
            contract=1, role="etcd", builder="debian", build_id="0" * 64, system="x86_64-linux", components={}
        )
        there = store.publish(staged, tmp_path, described, debian.input_hash("etcd"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/nowhere")
    assert build(["etcd"], image_dir=tmp_path) == [there]


def test_a_source_folder_without_images_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHA_IMAGES_SOURCE", str(tmp_path))
    with pytest.raises(OperationError, match="is no images folder") as caught:
        debian.images_source()
    assert "PGHA_IMAGES_SOURCE" in str(caught.value.hint)


def test_patroni_is_pinned_by_hash_and_new_enough() -> None:
    """reliability.md: earlier than 4.1.4 takes etcd's leader loss for an unknown error and demotes."""
    pins = [line for line in (IMAGES / "debian/patroni.txt").read_text().splitlines() if not line.startswith("#")]
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)
    version = next(pin for pin in pins if pin.startswith("patroni==")).split()[0].partition("==")[2]
    assert tuple(int(part) for part in version.split(".")) >= (4, 1, 4)


def test_no_package_is_listed_twice_for_a_role() -> None:
    def listed(name: str) -> list[str]:
        lines = (IMAGES / "debian/packages" / name).read_text().split("\n")
        return [line for line in lines if line and not line.startswith("#")]

    for role in ROLES:
        packages = listed("common") + listed(role)
        assert len(packages) == len(set(packages))
