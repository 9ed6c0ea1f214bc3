"""archive_command, run by a real shell: what no recovery needs must not block the archive; all else must."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pgha_orch.identity.dynamic import ARCHIVE_PUSH

# A cluster on timeline 3: 1 was left within segment 5 of log 0, 2 within segment 255 of log 1 (PostgreSQL, timeline.c).
HISTORY = "1\t0/5000110\tno recovery target specified\n\n2\t1/FF000028\tno recovery target specified\n"
REFUSED = 45  # pgBackRest's exit code for a segment that stands in the archive with another checksum


def archive(directory: Path, segment: str, code: int, shell: str) -> int:
    """The exit code of archive_command for `segment`, with a pgbackrest that exits with `code`."""
    (directory / "bin").mkdir(exist_ok=True)
    (directory / "bin/pgbackrest").write_text(f"#!/bin/sh\nexit {code}\n")
    (directory / "bin/pgbackrest").chmod(0o755)
    command = ARCHIVE_PUSH.format(conf="/pgbackrest.conf", stanza="demo")
    command = command.replace("%p", f"pg_wal/{segment}").replace("%f", segment)
    assert "%" not in command, "PostgreSQL reads every other percent sign too"
    path = f"{directory}/bin:/usr/bin:/bin"
    return subprocess.run(
        [shell, "-c", command], cwd=directory, env={"PATH": path}, capture_output=True, timeout=20
    ).returncode


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "pg_wal").mkdir()
    (tmp_path / "pg_wal/00000002.history").write_text(HISTORY.splitlines()[0] + "\n")
    (tmp_path / "pg_wal/00000003.history").write_text(HISTORY)
    return tmp_path


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize(
    ("segment", "code"),
    [
        ("000000010000000000000004", REFUSED),  # whole before timeline 1 was left: recovery needs it
        ("000000010000000000000005", 0),  # within it timeline 1 was left: timeline 2's copy has its records
        ("000000010000000000000006", 0),
        ("0000000200000001000000FE", REFUSED),
        ("0000000200000001000000FF", 0),
        ("000000020000000200000000", 0),
        ("000000030000000200000000", REFUSED),  # the timeline that is now
        ("00000004.history", REFUSED),
        ("000000010000000000000005.partial", REFUSED),
    ],
)
def test_only_what_no_recovery_needs_passes_when_the_repository_refuses_it(
    data: Path, shell: str, segment: str, code: int
) -> None:
    assert archive(data, segment, REFUSED, shell) == code
    assert archive(data, segment, 0, shell) == 0


def test_on_the_first_timeline_every_refusal_stands(data: Path) -> None:
    for file in (data / "pg_wal").iterdir():
        file.unlink()
    assert archive(data, "000000010000000000000005", REFUSED, "sh") == REFUSED
