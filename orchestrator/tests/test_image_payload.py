"""images/node: the installer, the scripts, and the identity loader itself, run in namespaces of its own."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pgha_orch.identity.archive import Identity, Member
from pgha_orch.image import ROLES, debian
from pgha_orch.inventory.model import Role

NODE = debian.images_source() / "node"
DEBIAN = debian.images_source() / "debian"
VALUES = [line for line in (DEBIAN / "values").read_text().splitlines() if "=" in line and line[0] != "#"]
SCRIPTS = sorted([*NODE.glob("*/lib/pgha/*"), NODE / "install", DEBIAN / "finish", DEBIAN / "users-hook"])
SHELL = [path for path in SCRIPTS if path.read_bytes().startswith(b"#!")]


def install(role: str, prefix: Path, *values: str) -> subprocess.CompletedProcess[str]:
    command = [NODE / "install", role, prefix, *values]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("role", ROLES)
def test_every_role_installs_with_no_placeholder_left(role: str, tmp_path: Path) -> None:
    done = install(role, tmp_path, *VALUES)
    assert (done.returncode, done.stderr) == (0, "")
    units = tmp_path / "lib/systemd/system"
    wanted = (units / "pgha.target.d/role.conf").read_text().split("Wants=")[1].split()
    assert wanted
    assert all((units / unit).is_file() for unit in wanted)
    assert os.access(tmp_path / "lib/pgha/identity-load", os.X_OK)


def test_a_placeholder_without_a_value_is_named_with_file_and_line(tmp_path: Path) -> None:
    done = install("etcd", tmp_path, *(value for value in VALUES if not value.startswith("etcd=")))
    assert done.returncode == 1
    assert "etcd.service: no value for" in done.stderr
    assert "@etcd@" in done.stderr


@pytest.mark.parametrize("role", ["all", "mail", ".."])
def test_only_a_role_can_be_installed(role: str, tmp_path: Path) -> None:
    done = install(role, tmp_path, *VALUES)
    assert (done.returncode, done.stderr) == (2, f"install: no such role: {role}\n")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="needs shellcheck")
@pytest.mark.parametrize("script", SHELL, ids=lambda path: path.name)
def test_scripts_are_shellcheck_clean(script: Path) -> None:
    shell = "sh" if script.read_text().startswith("#!/bin/sh") else "bash"
    done = subprocess.run(["shellcheck", "-s", shell, script], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""


def test_scripts_that_run_in_machines_stay_under_40_lines() -> None:
    for script in NODE.glob("*/lib/pgha/*"):
        if script in SHELL:
            assert len(script.read_text().splitlines()) <= 41, script  # one of them is for shellcheck


# The loader, in mount and UTS namespaces of its own with an empty /run: nothing boots, nothing here changes.

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces")


def identity(**changes: object) -> Identity:
    env = b"PGHA_CONTRACT=1\nPGHA_CLUSTER=lab\nPGHA_HOST=pg-1\nPGHA_ROLE=postgres\n"
    members = (
        Member("hosts", b"127.0.0.1 localhost\n"),
        Member("identity.env", env),
        Member("network/70-pgha.network", b"[Match]\nType=ether\n"),
        Member("patroni/patroni.yml", b"scope: lab\n", owner="postgres", group="postgres", mode=0o600),
        Member("systemd/pgha-backup@full.timer.d/schedule.conf", b"[Timer]\nOnCalendar=daily\n"),
        Member("units", b"pgha-backup@full.timer\n"),
    )
    return replace(Identity("pg-1", Role.POSTGRES, members), **changes)  # type: ignore[arg-type]


Load = Callable[[bytes | None, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Runs the loader on these bytes, then a script that looks at what it did."""
    fakes = tmp_path / "fakes"
    fakes.mkdir()
    for name in ("systemctl", "networkctl"):
        (fakes / name).write_text(f'#!/bin/sh\necho "{name} $*"\n')
        (fakes / name).chmod(0o755)
    values = [value for value in VALUES if not value.startswith("path=")]
    done = install("postgres", tmp_path / "usr", *values, f"path={fakes}:/usr/sbin:/usr/bin")
    assert done.returncode == 0, done.stderr
    for name in ("etc", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "etc/pgha").mkdir()
    (tmp_path / "etc/pgha/role").write_text("postgres\n")
    loader = tmp_path / "usr/lib/pgha/identity-load"

    def run(archive: bytes | None, then: str = "true") -> subprocess.CompletedProcess[str]:
        given = tmp_path / "given.tar"
        given.unlink(missing_ok=True)
        if archive is not None:
            given.write_bytes(archive)
        script = f"""
            set -e
            mount -t overlay -o lowerdir={tmp_path}/etc:/etc none /etc
            mkdir {tmp_path}/var && mount -t tmpfs none /var/lib && mkdir /var/lib/pgha
            mount -t tmpfs none /run
            {loader} {given}
            {then}
        """
        return subprocess.run(
            ["unshare", "--mount", "--uts", "bash", "-c", script], capture_output=True, text=True, timeout=30
        )

    return run


@needs_root
def test_a_good_identity_is_put_in_place(load: Load) -> None:
    wanted = identity()
    try:  # by name where there is one, else by the contract's id
        owner = pwd.getpwnam("postgres").pw_uid
    except KeyError:
        owner = 960
    then = """
        hostname; readlink /run/pgha; stat -c '%u %a' /run/pgha/patroni/patroni.yml /run/pgha/patroni
        cat /run/systemd/network/70-pgha.network /run/systemd/system/pgha-backup@full.timer.d/schedule.conf
        stat -c '%n %a' /var/lib/pgha/identity.tar; ls -A /run/pgha.d
    """
    done = load(wanted.archive(), then)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "systemctl daemon-reload",
        "systemctl start --no-block pgha-backup@full.timer",
        "networkctl reload",
        f"identity pg-1 of cluster lab, revision {wanted.revision[:12]}",
        "pg-1",
        f"pgha.d/{wanted.revision}",
        f"{owner} 600",
        "0 755",
        *"[Match]\nType=ether\n[Timer]\nOnCalendar=daily".splitlines(),
        "/var/lib/pgha/identity.tar 600",
        wanted.revision,
    ]


def _with_env(old: bytes, new: bytes) -> bytes:
    good = identity()
    changed = tuple(
        replace(m, content=m.content.replace(old, new)) if m.path == "identity.env" else m for m in good.members
    )
    return identity(members=changed).archive()


GOOD = identity().archive()
BAD: dict[str, tuple[bytes | None, str]] = {
    "missing": (None, "identity missing: no credential pgha.identity, no drive PGHA-IDENT, no file "),
    "empty": (b"", "identity broken: not"),
    "garbage": (b"\xff" * 4096, "identity broken: not a whole tar archive: "),
    "truncated": (GOOD[:2000], "identity broken: not a whole tar archive: "),
    "truncated between members": (GOOD[:1024], "identity broken: no"),
    "tampered": (GOOD.replace(b"scope: lab", b"scope: mal"), "identity broken: wrong checksum: patroni/patroni.yml"),
    "foreign role": (
        _with_env(b"ROLE=postgres", b"ROLE=etcd"),
        "identity is foreign: role etcd, this image is postgres",
    ),
    "other contract": (
        _with_env(b"CONTRACT=1", b"CONTRACT=2"),
        "identity is of another contract: PGHA_CONTRACT=2, this image knows 1",
    ),
}


@needs_root
@pytest.mark.parametrize("kind", BAD)
def test_a_bad_identity_changes_nothing_and_says_why_in_one_line(kind: str, load: Load) -> None:
    archive, said = BAD[kind]
    done = load(archive, "true")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


@needs_root
def test_a_member_that_the_sums_do_not_list_is_refused(load: Load) -> None:
    listed = identity()

    class Smuggler(Identity):
        @property
        def sums(self) -> bytes:  # type: ignore[override]
            return listed.sums

    more = Smuggler(listed.host, listed.role, (*listed.members, Member("nftables.conf", b"flush ruleset\n")))
    done = load(more.archive(), "true")
    assert done.stderr == "identity broken: not both archived and listed in SHA256SUMS: nftables.conf\n"


@needs_root
def test_a_new_identity_replaces_the_old_one_and_a_bad_one_does_not(load: Load, tmp_path: Path) -> None:
    first = identity()
    second = identity(members=tuple(m for m in first.members if not m.path.startswith(("systemd/", "units"))))
    for name, content in (("second", second.archive()), ("bad", GOOD[:2000])):
        (tmp_path / f"{name}.tar").write_bytes(content)
    loader = tmp_path / "usr/lib/pgha/identity-load"
    then = f"""
        {loader} {tmp_path}/second.tar > /dev/null; readlink /run/pgha; ls -A /run/pgha.d
        find /run/systemd/system -type f
        ! {loader} {tmp_path}/bad.tar 2> /dev/null; readlink /run/pgha; ls -A /run/pgha.d
        cmp /var/lib/pgha/identity.tar {tmp_path}/second.tar && echo kept
    """
    done = load(first.archive(), then)
    placed = [f"pgha.d/{second.revision}", second.revision]
    assert done.stdout.splitlines()[4:] == [*placed, *placed, "kept"], done.stderr
