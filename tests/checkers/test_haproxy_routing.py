"""HAProxy itself decides where connections go: nodes that answer as Patroni does, over TLS, on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rooms import Net, Room
from test_checkers import address, addresses, of_role

from pgha_orch.identity import Identity
from pgha_orch.inventory.model import Role

# One node: a REST API that says what its arguments say, and a "database" that says its name and hangs up.
NODE = """
import contextlib, http.server, json, socket, ssl, sys, threading
host, name, pem, primary, replica, role = sys.argv[1:]
family = socket.AF_INET6 if ":" in host else socket.AF_INET
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"state": "running", "role": role}
        if role == "replica":
            body["replication_state"] = "streaming"
        data = json.dumps(body).encode()
        self.send_response(int(primary if self.path == "/primary" else replica))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = family
rest = Server((host, 8008), Handler)
tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
tls.load_cert_chain(pem)
rest.socket = tls.wrap_socket(rest.socket, server_side=True, do_handshake_on_connect=False)
threading.Thread(target=rest.serve_forever, daemon=True).start()
database = socket.create_server((host, 5432), family=family)
print("up", flush=True)
while True:
    with database.accept()[0] as connection, contextlib.suppress(OSError):  # who came may be gone already
        connection.sendall(name.encode())
"""

# The names that answered, one connection after the other, for some seconds.
ASK = """
import json, socket, sys, time
names, end = [], time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    try:
        with socket.create_connection((sys.argv[1], int(sys.argv[2])), 1) as connection:
            names.append(connection.recv(64).decode())
    except OSError:
        names.append("")
    time.sleep(0.02)
print(json.dumps(names))
"""


@contextmanager
def node(net: Net, tmp: Path, identity: Identity, certificate: Identity, *answers: str) -> Iterator[None]:
    pem = tmp / f"{identity.host}.pem"
    pem.write_bytes(b"".join(certificate.member(f"patroni/rest.{kind}").content for kind in ("crt", "key")))
    argv = net.inside(sys.executable, "-c", NODE, address(identity), identity.host, str(pem), *answers)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield
        finally:
            process.kill()


def names(net: Net, host: str, port: int, seconds: float) -> set[str]:
    argv = net.inside(sys.executable, "-c", ASK, host, str(port), str(seconds))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout)) - {""}


def eventually(net: Net, host: str, port: int, wanted: set[str], timeout_s: float = 20) -> None:
    """Connections reach `wanted` and no other, for half a second, before the deadline."""
    deadline = time.monotonic() + timeout_s
    while (found := names(net, host, port, 0.5)) != wanted:
        assert time.monotonic() < deadline, f"{found}, not {wanted}"


START = "cp /run/pgha/haproxy/start.state /run/haproxy/state; exec haproxy -W -f /run/pgha/haproxy/haproxy.cfg"


def test_writes_go_to_the_node_that_holds_the_key_and_is_out_of_recovery(
    identities: dict[str, Identity], room: Callable[[Identity], Room], net: Net, tmp_path: Path
) -> None:
    proxy, (first, second) = of_role(identities, Role.HAPROXY)[0], of_role(identities, Role.POSTGRES)[:2]
    net.add(*addresses(identities))
    with room(proxy).running("sh", "-c", START, user="haproxy") as haproxy:
        # The key is the second's, which still is a replica: from the first moment on no write goes anywhere.
        with (
            node(net, tmp_path, first, first, "503", "200", "replica"),
            node(net, tmp_path, second, second, "200", "503", "replica"),
        ):
            assert names(net, address(proxy), 5000, 3) == set()
            eventually(net, address(proxy), 5001, {first.host})
            assert names(net, address(proxy), 5000, 0.5) == set()
        # Now it is promoted.
        with (
            node(net, tmp_path, first, first, "503", "200", "replica"),
            node(net, tmp_path, second, second, "200", "503", "primary"),
        ):
            eventually(net, address(proxy), 5000, {second.host})
            eventually(net, address(proxy), 5001, {first.host})
        # Without a healthy replica the primary takes the reads.
        with node(net, tmp_path, second, second, "200", "503", "primary"):
            eventually(net, address(proxy), 5000, {second.host})
            eventually(net, address(proxy), 5001, {second.host})
        assert haproxy.poll() is None


def test_a_node_with_another_ones_certificate_gets_nothing(
    identities: dict[str, Identity], room: Callable[[Identity], Room], net: Net, tmp_path: Path
) -> None:
    proxy, (first, second) = of_role(identities, Role.HAPROXY)[0], of_role(identities, Role.POSTGRES)[:2]
    net.add(*addresses(identities))
    with (
        node(net, tmp_path, first, second, "200", "503", "primary"),
        room(proxy).running("sh", "-c", START, user="haproxy"),
    ):
        assert names(net, address(proxy), 5000, 4) == set()
