"""How an nspawn machine's process is started where systemd is PID 1 of the host."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from pgha_orch.machines import cgroup


def test_under_systemd_the_pid_file_holds_the_pid_of_the_very_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroup, "systemd_is_pid1", lambda: True)
    pid_file = tmp_path / "pid"

    arguments = cgroup.launcher("demo", pid_file)
    command = [word.replace("$$", "$") for word in arguments[arguments.index("sh") :]]  # as the manager hands it on

    with subprocess.Popen([*command, "sleep", "30"]) as process:
        try:
            for _ in range(100):
                if pid_file.exists():
                    break
                time.sleep(0.05)
            assert int(pid_file.read_text()) == process.pid
        finally:
            process.kill()
