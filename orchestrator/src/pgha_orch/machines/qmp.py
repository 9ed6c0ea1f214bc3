"""QEMU's machine protocol: one command at a time over a VM's socket (QEMU, docs/interop/qmp-spec)."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from pgha_orch.errors import OperationError

TIMEOUT_S = 10.0


def command(path: Path, name: str) -> None:
    """Have the VM behind the socket carry out a command without arguments. OperationError when it does not."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT_S)
            connection.connect(str(path))
            with connection.makefile("rw", encoding="utf-8") as lines:
                json.loads(lines.readline())  # the greeting
                for execute in ("qmp_capabilities", name):
                    lines.write(json.dumps({"execute": execute}) + "\n")
                    lines.flush()
                    # Events may come before the answer.
                    while not {"return", "error"} & (answer := json.loads(lines.readline())).keys():
                        pass
                    if "error" in answer:
                        raise OperationError(f"{path}: {execute}: {answer['error'].get('desc', answer['error'])}")
    except (OSError, ValueError) as exc:
        raise OperationError(f"{path}: {name}: QEMU does not answer: {exc}") from exc
