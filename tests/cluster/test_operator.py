"""What an operator finds in the machines, by `exec` and by real SSH with the operator's key only."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from lab import Done, Lab

pytestmark = pytest.mark.timeout(300)
HOW = pytest.mark.parametrize("how", ["exec", "ssh"])


def inside(lab: Lab, how: str, host: str, *command: str) -> Done:
    """A command as an operator types it, with no option of ours."""
    return lab.run(how, host, *command)


@HOW
def test_patronictl_list_works_with_no_option(shared: Lab, how: str) -> None:
    for host in ["pg-1", "pg-3"]:
        said = inside(shared, how, host, "patronictl", "list").out

        assert "Cluster: shared" in said
        assert {name for name in shared.of_role("postgres") if f" {name} " in said} == set(shared.of_role("postgres"))
        assert said.count("streaming") == 2


@HOW
def test_etcdctl_endpoint_health_works_with_no_option(shared: Lab, how: str) -> None:
    for host in ["etcd-1", "etcd-3"]:
        done = inside(shared, how, host, "etcdctl", "endpoint", "health", "--cluster")

        assert (done.out + done.err).count("is healthy") == 3


@HOW
def test_pgbackrest_info_works_with_no_option(shared: Lab, how: str) -> None:
    for host in ["backup", shared.leader()]:
        said = inside(shared, how, host, "pgbackrest", "info").out

        assert "stanza: shared" in said
        assert "status: ok" in said
        assert "full backup: " in said


@HOW
def test_chronyc_tracking_works_with_no_option(shared: Lab, how: str) -> None:
    for host in ["etcd-1", "pg-2", "haproxy", "backup"]:
        said = inside(shared, how, host, "chronyc", "tracking").out

        assert "Leap status" in said


def test_ssh_passes_the_exit_code_and_standard_input_on(shared: Lab) -> None:
    assert shared.run("ssh", "pg-1", "exit 5", code=None).code == 5
    assert shared.run("ssh", "pg-1", "cat", input="hello\n").out == "hello\n"


def log_in(lab: Lab, host: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Plain ssh, which knows the host keys and nothing else of ours."""
    known = f"UserKnownHostsFile={lab.state}/known_hosts"
    # The first value of an option counts.
    argv = ["ssh", "-F", "none", *options, "-o", known, "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes"]
    return subprocess.run(
        [*argv, f"root@{lab.hosts[host]['address']}", "true"], capture_output=True, text=True, timeout=30
    )


def test_password_login_is_refused_and_so_is_an_unknown_key(shared: Lab, tmp_path: Path) -> None:
    shared.run("ssh", "etcd-1", "true")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    key = next(p for p in (shared.state / "ssh").rglob("*") if p.is_file() and "operator" in p.name and not p.suffix)
    for host in ["etcd-1", "pg-2", "haproxy", "backup"]:
        assert log_in(shared, host, "-i", str(key), "-o", "IdentitiesOnly=yes").returncode == 0
        methods = "PreferredAuthentications=password,keyboard-interactive,hostbased"
        for options in (["-o", methods], ["-i", str(tmp_path / "key"), "-o", "IdentitiesOnly=yes"]):
            refused = log_in(shared, host, *options)
            assert refused.returncode == 255
            assert "Permission denied (publickey)." in refused.stderr


def test_a_machine_that_is_not_the_one_named_is_not_logged_in_to(shared: Lab) -> None:
    known = shared.state / "known_hosts"
    shared.run("ssh", "etcd-1", "true")
    keys = {line.split()[0].split(",")[0]: line.split(maxsplit=1)[1] for line in known.read_text().splitlines()}
    # As if etcd-2 answered under etcd-1's address.
    forged = f"{shared.hosts['etcd-1']['address']} {keys['etcd-2']}\n"
    other = shared.directory / "forged"
    other.write_text(forged)

    refused = log_in(shared, "etcd-1", "-o", f"UserKnownHostsFile={other}")

    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr
