"""The state directory: private, atomic, locked, with an error a user can act on for everything in its way."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.state import StateDir, default_root

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: changes owners and mounts")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_default_is_beside_the_inventory(tmp_path: Path) -> None:
    assert default_root(tmp_path / "hosts.yml", "lab") == tmp_path / ".pgha" / "lab"


def test_everything_in_it_is_the_owners_alone(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        state = StateDir.open(tmp_path / ".pgha" / "lab")
        path = state.write("pki/pg-1/server.key", b"x")
    finally:
        os.umask(old)
    assert mode(path) == 0o600
    assert {mode(p) for p in (state.root, state.root / "pki", state.root / "pki/pg-1")} == {0o700}


def test_what_is_written_is_read_and_leaves_no_other_file(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "s")
    state.write("a/b", b"one")
    state.write("a/b", b"two")
    assert state.read("a/b") == b"two"
    assert [p.name for p in (state.root / "a").iterdir()] == ["b"]
    assert state.read("a/c") is None
    state.delete("a/b")
    state.delete("a/b")
    assert state.read("a/b") is None


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = StateDir.open(tmp_path / "s")
    state.write("f", b"old")

    def no_space(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(UsageError, match="no space left"):
        state.write("f", b"new")
    assert state.read("f") == b"old"
    assert [p.name for p in state.root.iterdir()] == ["f"]


def test_modes_that_let_others_in_are_tightened_and_it_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "s"
    root.mkdir(mode=0o755)
    root.chmod(0o755)
    state = StateDir.open(root)
    state.write("f", b"x").chmod(0o644)
    assert state.read("f") == b"x"
    assert (mode(root), mode(root / "f")) == (0o700, 0o600)
    assert [r.getMessage() for r in caplog.records] == [
        f"{root} was open to others (mode 755); it is 700 now",
        f"{root}/f was open to others (mode 644); it is 600 now",
    ]


def test_a_file_in_its_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("")
    with pytest.raises(UsageError, match=r"s: a file, where the state directory should be") as caught:
        StateDir.open(tmp_path / "s")
    assert "--state-dir" in (caught.value.hint or "")
    with pytest.raises(UsageError, match="a file, where a directory should be"):
        StateDir.open(tmp_path / "s" / "below")


def test_a_directory_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "s")
    (state.root / "f").mkdir()
    with pytest.raises(UsageError, match="a directory, where a file should be"):
        state.write("f", b"")
    with pytest.raises(UsageError, match="not a file"):
        state.read("f")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "s")
    (state.root / "f").symlink_to("/etc/hostname")
    with pytest.raises(UsageError, match="symbolic link"):
        state.read("f")


@needs_root
def test_someone_elses_directory_is_refused(tmp_path: Path) -> None:
    root = StateDir.open(tmp_path / "s").root
    os.chown(root, 65534, 65534)
    with pytest.raises(UsageError, match="belongs to user id 65534"):
        StateDir.open(root)


@needs_root
def test_a_read_only_file_system_is_named(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "s")
    state.write("f", b"x")
    code = (
        "import sys; from pathlib import Path; from pgha_orch.state import StateDir\n"
        "from pgha_orch.errors import UsageError\n"
        "for act in (lambda: StateDir.open(Path(sys.argv[1])), lambda: StateDir(Path(sys.argv[1])).write('f', b''),\n"
        "            lambda: StateDir.open(Path(sys.argv[1]) / 'x')):\n"
        "    try: act()\n"
        "    except UsageError as exc: print(exc)\n"
    )
    script = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", str(state.root), sys.executable, code],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == f"{state.root}: not writable"
    assert [line.split(": ", 1)[1] for line in lines[1:]] == ["the file system is read-only"] * 2


def test_the_cluster_id_is_made_once(tmp_path: Path) -> None:
    state = StateDir.open(tmp_path / "s")
    first = state.cluster_id()
    assert len(first) == 8
    assert int(first, 16) >= 0
    assert StateDir.open(tmp_path / "s").cluster_id() == first
    assert StateDir.open(tmp_path / "t").cluster_id() != first
    state.write("cluster-id", b"../../x\n")
    with pytest.raises(UsageError, match="is not 8 hex digits"):
        state.cluster_id()


_HOLD = """
import sys
from pathlib import Path
from pgha_orch.state import StateDir
with StateDir.open(Path(sys.argv[1])).lock("deploy"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    root = tmp_path / "s"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "held\n"
        state = StateDir.open(root)
        with pytest.raises(OperationError, match=f"held by process {first.pid}"), state.lock("deploy"):
            pass
        with state.lock("another"):
            pass
        # A holder that is killed holds nothing.
        first.kill()
        first.wait(30)
        with state.lock("deploy", wait_s=5):
            pass
