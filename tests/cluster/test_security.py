"""What a stranger, a plaintext client, a wrong certificate and a curious reader get: nothing."""

from __future__ import annotations

import base64
import re
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psycopg
import pytest
from lab import Lab
from stranger import Stranger, stranger

pytestmark = pytest.mark.timeout(300)
CLIENT, NOBODY = "10.83.0.99", "10.83.0.200"  # in the inventory's client network, and in no network of it
PORTS = {"etcd": [2379, 2380], "postgres": [5432, 8008, 8432], "haproxy": [5000, 5001, 7000], "backup": [8432]}


@pytest.fixture(scope="module")
def client(shared: Lab):  # type: ignore[no-untyped-def]
    with stranger(shared.bridge, CLIENT) as found:
        yield found


@pytest.fixture(scope="module")
def nobody(shared: Lab):  # type: ignore[no-untyped-def]
    with stranger(shared.bridge, NOBODY) as found:
        yield found


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Certificate and key, of a CA that nobody here knows, with the names and rights of an operator's."""
    directory = tmp_path_factory.mktemp("foreign")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=operator", "-addext", "extendedKeyUsage=serverAuth,clientAuth"]
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *subject, "-keyout", directory / "key.pem", "-out", directory / "crt.pem"],
        check=True,
        capture_output=True,
    )
    return directory / "crt.pem", directory / "key.pem"


def listening(lab: Lab) -> set[tuple[str, int]]:
    """Address and port of everything that listens for the network in any machine, asked in the machine itself."""
    found = set()
    for host, about in lab.hosts.items():
        for line in lab.exec(host, "ss", "-tlnH").out.splitlines():
            local, port = line.split()[3].rsplit(":", 1)
            if not local.startswith(("127.", "[::1]")):
                found.add((str(about["address"]), int(port)))
    return found


def test_the_ports_that_machines_serve_are_those_of_their_roles(shared: Lab) -> None:
    wanted = {(str(h["address"]), p) for h in shared.hosts.values() for p in [22, *PORTS[str(h["role"])]]}

    assert listening(shared) == wanted


def test_a_client_that_is_no_machine_of_the_cluster_reaches_haproxy_only(shared: Lab, client: Stranger) -> None:
    proxy = shared.of_role("haproxy")["haproxy"]

    assert client.open_ports(listening(shared)) == {(proxy, 5000), (proxy, 5001)}


def test_who_is_in_no_network_of_the_inventory_reaches_nothing(shared: Lab, nobody: Stranger) -> None:
    assert nobody.open_ports(listening(shared)) == set()


def test_a_client_network_machine_gets_through_5000_with_verify_full(shared: Lab, client: Stranger) -> None:
    link = " ".join(f"{k}={v}" for k, v in shared.link().items() if k != "password")
    done = client.run(["env", f"PGPASSWORD={shared.secrets['user app']}", "psql", "-XAtqc", "SELECT 41 + 1", link])

    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr


def context(lab: Lab, pair: tuple[Path, Path] | None) -> ssl.SSLContext:
    found = ssl.create_default_context(cafile=str(lab.ca))
    if pair is not None:
        found.load_cert_chain(*pair)
    return found


def operator(lab: Lab) -> tuple[Path, Path]:
    pki = lab.state / "pki"
    return next(pki.rglob("operator*.crt")), next(pki.rglob("operator*.key"))


def ask(
    lab: Lab, url: str, *, pair: tuple[Path, Path] | None = None, method: str = "GET", data: bytes | None = None
) -> int:
    """HTTP status; raises ssl.SSLError or ConnectionError when there was no such connection."""
    request = urllib.request.Request(url, method=method, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context(lab, pair))
        ).open(request, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except urllib.error.URLError as exc:
        assert isinstance(exc.reason, OSError)
        raise exc.reason from None


def plaintext(address: str, port: int) -> bytes:
    """What a service says to an HTTP request without TLS."""
    with socket.create_connection((address, port), timeout=5) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        try:
            return connection.recv(4096)
        except ConnectionError:
            return b""


REFUSED = (ssl.SSLError, ConnectionError, OSError)


def test_etcd_takes_no_client_without_tls_or_with_another_ca_or_without_a_certificate(
    shared: Lab, foreign: tuple[Path, Path]
) -> None:
    for address in shared.of_role("etcd").values():
        health = f"https://{address}:2379/health"
        assert ask(shared, health, pair=operator(shared)) == 200
        for pair in (None, foreign):
            with pytest.raises(REFUSED, match=r"certificate|handshake|alert|reset|closed|EOF"):
                ask(shared, health, pair=pair)
        assert b"200 OK" not in plaintext(address, 2379)


# Runs in the network of an etcd machine, whose packets the firewall of the other members lets in.
PEER = """
import socket, ssl, sys
address, ca, crt, key = sys.argv[1:]
def said(pair, tls=True):
    raw = socket.create_connection((address, 2380), timeout=5)
    try:
        if tls:
            context = ssl.create_default_context(cafile=ca)
            if pair: context.load_cert_chain(*pair)
            raw = context.wrap_socket(raw, server_hostname=address)
        raw.sendall(b"GET /version HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n")
        return raw.recv(100).split(b"\\r\\n")[0].decode() or "closed"
    except OSError as exc:
        return type(exc).__name__
print(said(None, tls=False), said(None), said((crt, key)), sep="|")
"""


def test_etcd_peers_take_no_peer_without_tls_or_with_another_ca_or_without_a_certificate(
    shared: Lab, foreign: tuple[Path, Path]
) -> None:
    where = shared.of_role("etcd")["etcd-2"]
    inside = ["nsenter", f"--net=/proc/{shared.pids()['etcd-1']}/ns/net", sys.executable, "-c", PEER, where]

    def three(pair: tuple[Path, Path]) -> list[str]:
        done = subprocess.run([*inside, str(shared.ca), *map(str, pair)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().split("|")

    plain, without, other_ca = three(foreign)
    assert "200" not in plain
    assert {without, other_ca} <= {"SSLError", "SSLEOFError", "ConnectionResetError", "closed"}
    # The same way in with a member's own certificate: what refused the others was the certificate.
    own = [next((shared.state / "pki").rglob(f"etcd-1/peer.{end}")) for end in ("crt", "key")]
    assert "200" in three((own[0], own[1]))[2]


def test_patroni_s_rest_api_is_read_by_anyone_and_written_by_certificates_only(
    shared: Lab, foreign: tuple[Path, Path]
) -> None:
    leader = shared.leader()
    base = f"https://{shared.of_role('postgres')[leader]}:8008"
    evil = b'{"postgresql": {"parameters": {"archive_command": "touch /tmp/evil"}}}'

    assert ask(shared, f"{base}/patroni") == 200
    assert ask(shared, f"{base}/config", method="PATCH", data=evil) == 403
    for path in ("restart", "reload", "switchover", "reinitialize", "failover"):
        assert ask(shared, f"{base}/{path}", method="POST", data=b"{}") == 403, path
    with pytest.raises(REFUSED, match=r"certificate|handshake|alert|reset|closed|unknown ca|EOF"):
        ask(shared, f"{base}/config", pair=foreign, method="PATCH", data=evil)
    assert b"200" not in plaintext(base.removeprefix("https://").partition(":")[0], 8008)
    assert "evil" not in shared.exec(leader, "patronictl", "show-config").out
    # And with a certificate it is done: what refused the others was not the request.
    assert ask(shared, f"{base}/config", pair=operator(shared), method="PATCH", data=b'{"check_timeline": true}') == 200


@pytest.mark.parametrize("port", [5000, 5001])
def test_verify_full_works_through_both_ports(shared: Lab, port: int) -> None:
    with shared.connect(port=port) as connection:
        row = connection.execute("SELECT ssl, pg_is_in_recovery() FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        assert row.fetchone() == (True, port == 5001)


@pytest.mark.parametrize("port", [5000, 5001])
def test_postgresql_takes_no_plaintext_and_no_forged_server_passes_verify_full(
    shared: Lab, foreign: tuple[Path, Path], port: int
) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry.*no encryption"):
        shared.connect(port=port, sslmode="disable")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        shared.connect(port=port, sslrootcert=str(foreign[0]))
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        shared.connect(port=port, password="wrong" * 6)


def test_postgresql_takes_no_plaintext_directly_either(shared: Lab) -> None:
    for address in shared.of_role("postgres").values():
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba.conf entry.*no encryption"):
            shared.connect(host=address, port=5432, sslmode="disable")


@pytest.mark.parametrize("port", [5000, 5001])
@pytest.mark.parametrize(
    ("user", "secret"), [("postgres", "superuser"), ("replicator", "replicator"), ("rewind", "rewind")]
)
def test_the_cluster_s_own_users_cannot_log_in_through_haproxy(shared: Lab, port: int, user: str, secret: str) -> None:
    password = shared.secrets[secret]
    for dbname in ("postgres", "app"):
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects connection"):
            shared.connect(port=port, user=user, password=password, dbname=dbname)
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba.conf rejects"):
        shared.connect(port=port, user=user, password=password, replication="true")


@pytest.mark.parametrize("path", ["/", "/;csv", "/metrics"])
def test_the_stats_page_wants_its_password(shared: Lab, path: str) -> None:
    url = f"https://{shared.of_role('haproxy')['haproxy']}:7000{path}"

    def status(password: str | None) -> tuple[int, str]:
        request = urllib.request.Request(url)
        if password is not None:
            token = base64.b64encode(f"operator:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context(shared, None))
            ).open(request, timeout=5) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as exc:
            return exc.code, ""

    assert status(None)[0] == 401
    assert status("wrong")[0] == 401
    code, body = status(shared.secrets["stats"])
    assert code == 200
    assert ("haproxy_server_status" if path == "/metrics" else "postgres_rw") in body


# Runs at the stranger's: the status of one page, asked with the Authorization that standard input has.
FETCH = """
import ssl, sys, urllib.error, urllib.request
context = ssl.create_default_context(cafile=sys.argv[1])
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
request = urllib.request.Request(sys.argv[2], headers={"Authorization": "Basic " + sys.stdin.read()})
try:
    print(opener.open(request, timeout=5).status)
except urllib.error.HTTPError as exc:
    print(exc.code)
"""


def test_the_stats_page_answers_operators_only_even_where_the_firewall_lets_others_in(
    shared: Lab, client: Stranger
) -> None:
    proxy = shared.of_role("haproxy")["haproxy"]
    rule = f"ip saddr {CLIENT} tcp dport 7000 accept"
    shared.exec("haproxy", "nft", "insert", "rule", "inet", "pgha", "input", *rule.split())
    try:
        assert client.open_ports([(proxy, 7000)]) == {(proxy, 7000)}
        token = base64.b64encode(f"operator:{shared.secrets['stats']}".encode()).decode()
        for path in ("/", "/metrics"):
            argv = [sys.executable, "-c", FETCH, str(shared.ca), f"https://{proxy}:7000{path}"]
            done = client.run(argv, input=token)
            assert done.stdout == "403\n", done.stderr
    finally:
        shared.exec("haproxy", "systemctl", "reload", "pgha-firewall.service")
    assert client.open_ports([(proxy, 7000)]) == set()


def found_in(secrets: dict[str, str], text: bytes) -> list[str]:
    return [what for what, value in secrets.items() if value.encode() in text]


def test_no_secret_was_in_a_command_line_while_the_cluster_was_deployed(
    first_deploy: tuple[Lab, set[bytes]],
) -> None:
    lab, seen = first_deploy
    assert any(b"postgres" in line for line in seen) and any(b"stanza-create" in line for line in seen)

    assert [(found_in(lab.secrets, line), line[:60]) for line in seen if found_in(lab.secrets, line)] == []


def test_no_secret_is_in_journals_consoles_or_logs(shared: Lab) -> None:
    assert len(shared.secrets) >= 7
    for machine in (shared.state / "machines").iterdir():
        journal = subprocess.run(
            ["journalctl", "-D", machine / "data/log/journal", "-o", "export", "--all"], capture_output=True, timeout=60
        ).stdout
        assert b"pgha-identity.service" in journal, f"{machine.name}: the journal is empty, nothing was searched"
        assert found_in(shared.secrets, journal) == [], machine.name
        assert found_in(shared.secrets, (machine / "console.log").read_bytes()) == [], machine.name
        for path in (machine / "data").rglob("*.log"):
            assert found_in(shared.secrets, path.read_bytes()) == [], path


def test_no_secret_is_in_what_pgha_orch_says(shared: Lab) -> None:
    for command in ("status", "plan"):
        shared.run(command, "--json")
    shared.run("deploy", timeout_s=120)
    with shared.changed(network="10.83.0.0/255"):
        shared.run("plan", code=2)
    shared.run("exec", "pg-1", "nothing-like-it", code=None)
    secrets = shared.state / "secrets.json"
    whole = secrets.read_bytes()
    secrets.write_bytes(whole.replace(b'"stats": "', b'"stats": 1, "x": "'))
    try:
        damaged = shared.run("status", code=2)
    finally:
        secrets.write_bytes(whole)
    assert f"{secrets}: damaged or incomplete" in damaged.err

    said = "\n".join(shared.said).encode()
    assert b"healthy" in said
    assert found_in(shared.secrets, said) == []
    assert b"PRIVATE KEY" not in said


def test_no_secret_and_no_private_key_is_in_an_image(shared: Lab) -> None:
    roots = {(shared.state / "machines" / h / "machine.json").read_text() for h in shared.hosts}
    paths = {Path(re.search(r'"image":"([^"]+)"', text).group(1)) for text in roots}  # type: ignore[union-attr]
    assert {path.parents[1].name for path in paths} == {"etcd", "postgres", "haproxy", "backup"}
    patterns = "\n".join([*shared.secrets.values(), "BEGIN OPENSSH PRIVATE KEY"]) + "\n"
    for path in paths:
        done = subprocess.run(
            ["grep", "-rlFf", "-", path, "--include=*", "--devices=skip"],
            input=patterns,
            capture_output=True,
            text=True,
        )
        hits = [
            p
            for p in done.stdout.splitlines()
            if not p.startswith((f"{path}/usr/bin/", f"{path}/usr/lib/", f"{path}/usr/sbin/"))
        ]
        assert hits == [], "a secret or a key is in an image"
        assert not any(v in done.stdout for v in shared.secrets.values())


def test_the_state_directory_is_its_owner_s_alone(shared: Lab) -> None:
    for path in [shared.state, *shared.state.rglob("*")]:
        relative = path.relative_to(shared.state)
        if relative.parts[:1] == ("machines",):
            continue  # the machines' own disks, with modes of their own, below the root that nobody else can enter
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), f"{relative}: {mode:o}"
    secret = shared.state / "secrets.json"
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", str(secret)]
    assert subprocess.run(argv, capture_output=True).returncode != 0
    for identity in (shared.state / "machines").glob("*/identity.tar"):
        assert stat.S_IMODE(identity.stat().st_mode) == 0o600
        assert identity.stat().st_uid == 0
