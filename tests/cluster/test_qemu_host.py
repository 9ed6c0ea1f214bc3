"""A host that cannot run VMs says so in one line, before anything is made. Boots nothing."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from lab import ORCH, Lab, spec

ROLES = {"etcd": ["etcd-1"], "postgres": ["pg-1", "pg-2"], "haproxy": ["haproxy"]}


@pytest.fixture
def lab(root: None, tmp_path: Path) -> Lab:
    return Lab(tmp_path / "site", spec("no-vms", "10.89.1", ROLES, machines="qemu", backup=None))


def programs(directory: Path, *names: str) -> str:
    """A PATH on which these programs are; they are only looked for here."""
    directory.mkdir()
    for name in names:
        (directory / name).write_text("#!/bin/sh\nexit 1\n")
        (directory / name).chmod(0o755)
    return str(directory)


def test_without_qemu_it_names_the_package(lab: Lab, tmp_path: Path) -> None:
    refused = deploy(lab, [], PATH=programs(tmp_path / "bin", "ip"))
    assert refused.returncode == 2
    assert "qemu-system-x86_64 is not installed" in refused.stderr and "apt-get install" in refused.stderr
    assert not (lab.state / "machines").exists()


def test_without_taps_it_says_what_is_missing(lab: Lab, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "qemu-system-x86_64", "qemu-img") + ":" + os.environ["PATH"]
    hidden = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh"]
    refused = deploy(lab, hidden, PATH=path)
    assert refused.returncode == 2
    assert "/dev/net/tun: no such file or directory: no taps" in refused.stderr and "modprobe tun" in refused.stderr
    assert not (lab.state / "machines").exists()
    assert not Path("/sys/class/net", lab.bridge).exists()


def test_another_user_than_root_is_told_so(workspace: Path) -> None:
    lab = Lab(workspace / "not-root", spec("no-vms", "10.89.1", ROLES, machines="qemu", backup=None))
    lab.directory.chmod(0o777)
    refused = deploy(lab, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"])
    assert refused.returncode == 2 and "only root can make their bridge and taps" in refused.stderr


def deploy(lab: Lab, prefix: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, ORCH, "deploy", str(lab.inventory)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **env},
        cwd="/",
        check=False,
    )
