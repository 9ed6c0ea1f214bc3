"""Parts of the machine drivers that need no machine: QEMU's socket, labelled drives, the bootstrap archive."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgha_orch.errors import OperationError
from pgha_orch.identity import bootstrap
from pgha_orch.machines import drive, images_in_use, qmp
from pgha_orch.machines.in_use import images_named


@contextmanager
def qemu(path: Path, answers: dict[str, dict[str, object]]) -> Iterator[list[str]]:
    """QEMU's end of a QMP socket, for one connection; what it was asked to execute."""
    executed: list[str] = []
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        connection, _ = server.accept()
        with connection, connection.makefile("rw") as lines:
            lines.write('{"QMP": {"version": {}, "capabilities": []}}\n')
            lines.flush()
            for line in lines:
                name = json.loads(line)["execute"]
                executed.append(name)
                lines.write('{"event": "STOP", "timestamp": {}}\n')  # events come when they like
                lines.write(json.dumps(answers.get(name, {"return": {}})) + "\n")
                lines.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield executed
    server.close()


def test_a_command_is_carried_out_after_the_greeting_past_events(tmp_path: Path) -> None:
    with qemu(tmp_path / "qmp", {}) as executed:
        qmp.command(tmp_path / "qmp", "system_powerdown")
    assert executed == ["qmp_capabilities", "system_powerdown"]


def test_what_qemu_refuses_and_a_qemu_that_is_not_there_are_errors(tmp_path: Path) -> None:
    refusal: dict[str, object] = {"error": {"class": "CommandNotFound", "desc": "The command nope has not been found"}}
    with qemu(tmp_path / "qmp", {"nope": refusal}), pytest.raises(OperationError, match="nope has not been found"):
        qmp.command(tmp_path / "qmp", "nope")
    with pytest.raises(OperationError, match="QEMU does not answer"):
        qmp.command(tmp_path / "gone", "stop")


def test_a_drive_is_found_by_its_label_and_holds_one_file_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.img"
    drive.write(path, "PGHA-IDENT", "identity.tar", b"first")
    drive.write(path, "PGHA-IDENT", "identity.tar", b"secret" * 1000)
    label = subprocess.run(["blkid", "-o", "value", "-s", "LABEL", path], capture_output=True, text=True, check=True)
    assert label.stdout.strip() == "PGHA-IDENT"
    inside = subprocess.run(["debugfs", "-R", "cat /identity.tar", path], capture_output=True, check=True).stdout
    assert inside == b"secret" * 1000
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(tmp_path.glob(".*")), "a part of a drive was left"


def test_a_bootstrap_for_any_host_holds_no_address_and_no_host_key() -> None:
    with tarfile.open(fileobj=io.BytesIO(bootstrap.archive("ssh-ed25519 AAAA me\n\n"))) as tar:
        assert tar.getnames() == ["authorized_keys"]
        member = tar.extractfile("authorized_keys")
        assert member is not None and member.read() == b"ssh-ed25519 AAAA me\n"


def test_the_images_of_nspawn_and_qemu_machines_are_in_use() -> None:
    store = Path("/var/cache/pgha/images")
    nspawn = ["/usr/bin/systemd-nspawn", "--quiet", f"--directory={store}/etcd/debian-1/root", "--boot"]
    drive_of = f"file={store}/postgres/debian-2/disk-aa.qcow2,format=qcow2,if=virtio,readonly=on"
    qemu_argv = [
        "qemu-system-x86_64",
        "-name",
        "1-pg-1",
        "-drive",
        drive_of,
        "-drive",
        "file=/site/data.img,format=raw",
    ]
    assert set(images_named(nspawn)) == {store / "etcd/debian-1"}
    assert store / "postgres/debian-2" in set(images_named(qemu_argv))
    assert not set(images_named(["cat", f"--directory={store}/etcd/debian-1/root"]))
    assert not set(images_named([""]))


def test_an_image_is_in_use_while_a_process_of_that_name_runs_on_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        ["qemu-system-x86_64", "-c", "echo up; read _", "sh", f"file={tmp_path}/disk.qcow2"],
        executable="/bin/sh",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()  # right after exec the kernel may not show the arguments yet
        assert tmp_path in images_in_use()
        running.communicate(b"\n")
    assert tmp_path not in images_in_use()
