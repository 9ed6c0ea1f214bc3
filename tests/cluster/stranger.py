"""A machine on the cluster's bridge that no inventory names: a network namespace with an address of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# Runs inside the namespace: a full TCP connect to each [address, port]; prints those that were accepted.
_SCAN = """
import json, socket, sys, threading
targets, open_ = json.load(sys.stdin), []
def knock(address, port):
    try:
        socket.create_connection((address, port), timeout=2.0).close()
        open_.append([address, port])
    except OSError:
        pass
threads = [threading.Thread(target=knock, args=t) for t in targets]
[t.start() for t in threads]; [t.join() for t in threads]
print(json.dumps(open_))
"""


@dataclass(frozen=True)
class Stranger:
    """Programs that run here have `address` on the cluster's network, and nothing else of this host's network."""

    namespace: str
    address: str

    def run(self, argv: list[str], *, input: str = "", timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--net=/run/netns/{self.namespace}", *argv],
            input=input,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def open_ports(self, targets: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        done = self.run([sys.executable, "-c", _SCAN], input=json.dumps(sorted(targets)), timeout_s=120)
        assert done.returncode == 0, done.stderr
        return {(address, port) for address, port in json.loads(done.stdout)}


@contextmanager
def stranger(bridge: str, address: str) -> Iterator[Stranger]:
    """Such a machine on `bridge`, with `address` (without a length) of the /24."""
    number = address.rpartition(".")[2]
    namespace, outer = f"pgha-t{number}", f"pghat{number}"

    def ip(*arguments: str, check: bool = True) -> None:
        subprocess.run(["ip", *arguments], check=check, capture_output=True)

    ip("netns", "delete", namespace, check=False)
    ip("netns", "add", namespace)
    try:
        ip("link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        ip("link", "set", outer, "master", bridge, "up")
        ip("-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        ip("-n", namespace, "link", "set", "eth0", "up")
        ip("-n", namespace, "link", "set", "lo", "up")
        yield Stranger(namespace, address)
    finally:
        ip("netns", "delete", namespace, check=False)
        ip("link", "delete", outer, check=False)
