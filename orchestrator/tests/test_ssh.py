"""The door to SSH, against a server that speaks the real protocol."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from sshd import Sshd, serving

from pgha_orch.errors import ProcessError
from pgha_orch.ssh import (
    Connection,
    Endpoint,
    HostKeyRefused,
    LoginRefused,
    Unreachable,
    ask_host_key,
    fingerprint,
    is_pinned,
)
from pgha_orch.ssh.endpoint import presented


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Private key files: the host's, ours, a stranger's."""
    directory = tmp_path_factory.mktemp("keys")
    for name in ("host", "ours", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", directory / name], check=True)
    return {path.name: path for path in directory.iterdir() if not path.suffix}


@pytest.fixture
def sshd(keys: dict[str, Path]) -> Iterator[Sshd]:
    ours = paramiko.PKey.from_path(keys["ours"])
    with serving(Sshd(paramiko.PKey.from_path(keys["host"]), "root", ours.get_base64())) as found:
        yield found


def connect(
    sshd: Sshd, keys: dict[str, Path], *, key: str = "ours", pin: str = "host", user: str = "root"
) -> Connection:
    public = keys[pin].with_suffix(".pub").read_text()
    return Connection("pg-1", Endpoint("127.0.0.1", sshd.port, user), pins=[public], keys=[keys[key]])


def test_fingerprints_are_those_of_ssh_keygen(keys: dict[str, Path]) -> None:
    shown = subprocess.run(["ssh-keygen", "-lf", keys["host"]], capture_output=True, text=True, check=True).stdout
    public = keys["host"].with_suffix(".pub").read_text()
    assert fingerprint(public) == shown.split()[1]
    assert is_pinned(public, [shown.split()[1]]) and is_pinned(public, [public + " a comment"])
    assert not is_pinned(public, []) and not is_pinned(public, [keys["stranger"].with_suffix(".pub").read_text()])


def test_output_input_and_exit_code_come_through(sshd: Sshd, keys: dict[str, Path]) -> None:
    machine = connect(sshd, keys)
    done = machine.run(
        ["sh", "-c", "cat; echo 'it''s' >&2; exit 7"], timeout_s=20, input=b"\xc3\xa4" * 200_000, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "ä" * 200_000, "its\n")
    with pytest.raises(ProcessError, match=r"pg-1: sh -c .*exit code 3: no such thing"):
        machine.run(["sh", "-c", "echo no such thing >&2; exit 3"], timeout_s=20)
    assert sshd.logins == 1, "each command logged in anew"


def test_arguments_are_not_read_by_a_shell(sshd: Sshd, keys: dict[str, Path]) -> None:
    nasty = "a b'c\"$HOME;`id`\n*"
    assert connect(sshd, keys).run(["printf", "%s", nasty], timeout_s=20).stdout == nasty


def test_a_command_that_does_not_end_is_given_up_and_ended_there_too(sshd: Sshd, keys: dict[str, Path]) -> None:
    begun = time.monotonic()
    with pytest.raises(ProcessError, match=r"pg-1: sleep 60: no end within 1 s"):
        connect(sshd, keys).run(["sleep", "60"], timeout_s=1)
    assert time.monotonic() - begun < 10
    assert sshd.commands[-1].startswith("timeout --kill-after=2 2 ")


def test_another_host_key_gets_nothing_not_even_a_login(sshd: Sshd, keys: dict[str, Path]) -> None:
    with pytest.raises(HostKeyRefused, match=r"answers with host key SHA256:.*, known is SHA256:") as raised:
        connect(sshd, keys, pin="stranger").run(["true"], timeout_s=20)
    assert raised.value.presented == ask_host_key(Endpoint("127.0.0.1", sshd.port))
    assert sshd.logins == 0 and not sshd.commands


def test_a_refused_key_is_named(sshd: Sshd, keys: dict[str, Path]) -> None:
    with pytest.raises(LoginRefused, match=r"lets root in with none of our keys: .*stranger \(SHA256:") as raised:
        connect(sshd, keys, key="stranger").run(["true"], timeout_s=20)
    assert "bootstrap" in (raised.value.hint or "")


def test_another_user_than_root_goes_through_sudo(sshd: Sshd, keys: dict[str, Path]) -> None:
    sshd.user = "admin"
    assert connect(sshd, keys, user="admin").run(["echo", "hello"], timeout_s=20).stdout == "hello\n"
    assert sshd.commands[-1].startswith("sudo -n -- ")


def test_connections_that_sshd_drops_early_are_tried_again(sshd: Sshd, keys: dict[str, Path]) -> None:
    sshd.drop_first = 2
    assert connect(sshd, keys).run(["echo", "here"], timeout_s=20).stdout == "here\n"
    sshd.drop_first = 100
    with pytest.raises(Unreachable, match=r"pg-1: 127\.0\.0\.1:.*does not speak SSH"):
        connect(sshd, keys).run(["true"], timeout_s=20)


def test_after_the_machine_hung_up_the_next_command_connects_anew(sshd: Sshd, keys: dict[str, Path]) -> None:
    machine = connect(sshd, keys)
    machine.run(["true"], timeout_s=20)
    sshd.hang_up()
    time.sleep(0.3)
    assert machine.run(["echo", "back"], timeout_s=20).stdout == "back\n"
    assert sshd.logins == 2


def test_a_connection_that_breaks_in_the_middle_is_not_tried_again(sshd: Sshd, keys: dict[str, Path]) -> None:
    machine = connect(sshd, keys)
    machine.run(["true"], timeout_s=20)
    sshd.commands.clear()
    with pytest.raises(Unreachable, match="the connection broke"):
        _run_and_hang_up(machine, sshd)
    assert len(sshd.commands) == 1, "a command that was sent was sent twice"


def test_nobody_there_is_said_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    machine = Connection("pg-1", Endpoint("127.0.0.1", port), pins=[], keys=[])
    with pytest.raises(Unreachable, match=f"pg-1: 127.0.0.1:{port}: Connection refused") as raised:
        machine.run(["true"], timeout_s=5)
    assert "switched on" in (raised.value.hint or "")


def _run_and_hang_up(machine: Connection, sshd: Sshd) -> None:
    threading.Timer(1.0, sshd.hang_up).start()
    machine.run(["sleep", "8"], timeout_s=20)


def test_a_server_that_hangs_up_right_after_the_key_exchange_is_unreachable(sshd: Sshd, keys: dict[str, Path]) -> None:
    """Seen with machines that run by TCG on a busy host: the session is gone before its host key is read."""
    machine = connect(sshd, keys)
    transport = machine.open()
    transport.close()
    with pytest.raises(Unreachable, match="before its host key could be read"):
        presented(transport)
