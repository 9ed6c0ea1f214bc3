"""The PKI: made once, re-issued when names change or the end is near, and accepted by a real TLS stack."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from identities import LAB, WIDE, inventory

from pgha_orch import pki
from pgha_orch.errors import UsageError
from pgha_orch.pki import Pki
from pgha_orch.state import StateDir

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.open(tmp_path / "s")


def names(pem: bytes) -> set[str]:
    san = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return {str(name.value) for name in san.value}


def test_a_second_run_gives_the_same_and_writes_nothing(state: StateDir) -> None:
    first = pki.ensure(state, inventory(LAB), now=NOW)
    before = {p: p.stat().st_mtime_ns for p in state.root.rglob("*") if p.is_file() and p.suffix != ".lock"}
    assert pki.ensure(state, inventory(LAB), now=NOW + dt.timedelta(days=100)) == first
    after = {p: p.stat().st_mtime_ns for p in state.root.rglob("*") if p.is_file() and p.suffix != ".lock"}
    assert after == before


def test_postgresql_is_named_as_clients_reach_it_through_haproxy(state: StateDir) -> None:
    made = pki.ensure(state, inventory(WIDE), now=NOW)
    assert names(made.leaf("pg-1", "server").certificate) == {
        "pg-1", "proxy-1", "proxy-2", "localhost",
        "fd00:77::21", "fd00:77::31", "fd00:77::32", "fd00:77::30", "127.0.0.1", "::1",
    }  # fmt: skip
    assert names(made.leaf("pg-1", "rest").certificate) == {"pg-1", "localhost", "fd00:77::21", "127.0.0.1", "::1"}
    assert names(made.leaf("etcd-1", "peer").certificate) == {"etcd-1", "fd00:77::11"}


def test_only_who_connects_as_a_client_has_a_client_certificate(state: StateDir) -> None:
    made = pki.ensure(state, inventory(LAB), now=NOW)
    clients = set()
    for (host, service), pair in made.leaves.items():
        certificate = x509.load_pem_x509_certificate(pair.certificate)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        if ExtendedKeyUsageOID.CLIENT_AUTH in usage:
            clients.add((host.split("-")[0], service))
    assert clients == {
        ("etcd", "server"), ("etcd", "peer"), ("etcd", "client"),
        ("pg", "rest"), ("pg", "etcd-client"), ("pg", "pgbackrest"), ("backup", "pgbackrest"),
    }  # fmt: skip


def test_a_changed_address_renews_that_hosts_leaves_and_what_names_it(state: StateDir) -> None:
    old = pki.ensure(state, inventory(LAB), now=NOW)
    new = pki.ensure(state, inventory(LAB.replace("10.77.0.30", "10.77.0.31")), now=NOW)
    changed = {key for key in old.leaves if old.leaves[key] != new.leaves[key]}
    assert changed == {("haproxy", "stats"), ("pg-1", "server"), ("pg-2", "server"), ("pg-3", "server")}
    assert new.ca == old.ca
    assert new.ssh_hosts == old.ssh_hosts


def test_a_leaf_is_renewed_thirty_days_before_its_end(state: StateDir) -> None:
    first = pki.ensure(state, inventory(LAB), now=NOW)
    assert pki.ensure(state, inventory(LAB), now=NOW + dt.timedelta(days=825 - 31)) == first
    later = pki.ensure(state, inventory(LAB), now=NOW + dt.timedelta(days=825 - 29))
    assert later.ca == first.ca
    assert later.operator != first.operator
    assert all(later.leaves[key] != first.leaves[key] for key in first.leaves)


def test_a_run_killed_between_key_and_certificate_is_mended(state: StateDir) -> None:
    first = pki.ensure(state, inventory(LAB), now=NOW)
    state.write("pki/pg-1/rest.key", first.leaf("pg-2", "rest").key)
    state.delete("pki/pg-2/rest.crt")
    second = pki.ensure(state, inventory(LAB), now=NOW)
    changed = {key for key in first.leaves if first.leaves[key] != second.leaves[key]}
    assert changed == {("pg-1", "rest"), ("pg-2", "rest")}


def test_a_leaf_of_another_ca_is_replaced(state: StateDir, tmp_path: Path) -> None:
    first = pki.ensure(state, inventory(LAB), now=NOW)
    other = pki.ensure(StateDir.open(tmp_path / "o"), inventory(LAB), now=NOW)
    state.write("pki/pg-1/rest.key", other.leaf("pg-1", "rest").key)
    state.write("pki/pg-1/rest.crt", other.leaf("pg-1", "rest").certificate)
    second = pki.ensure(state, inventory(LAB), now=NOW)
    assert second.leaf("pg-1", "rest") not in (first.leaf("pg-1", "rest"), other.leaf("pg-1", "rest"))


@pytest.mark.parametrize("name", ["pki/ca.pem", "pki/pg-1/rest.key", "pki/pg-1/rest.crt", "ssh/operator"])
def test_a_damaged_file_is_named_without_its_content(state: StateDir, name: str) -> None:
    pki.ensure(state, inventory(LAB), now=NOW)
    state.write(name, b"-----BEGIN PRIVATE KEY-----\nTk9UQUtFWQ==\n")
    with pytest.raises(UsageError) as caught:
        pki.ensure(state, inventory(LAB), now=NOW)
    assert f"{state.path(name)}: damaged" in str(caught.value)
    assert "Tk9U" not in str(caught.value)


def test_a_ca_that_ended_is_said(state: StateDir) -> None:
    pki.ensure(state, inventory(LAB), now=NOW)
    with pytest.raises(UsageError, match=r"ca\.pem: ended on 2035-12-30"):
        pki.ensure(state, inventory(LAB), now=NOW + dt.timedelta(days=3651))


def test_repr_shows_no_key(state: StateDir) -> None:
    made = pki.ensure(state, inventory(LAB), now=NOW)
    assert "PRIVATE" not in repr(made)


def _handshake(made: Pki, tmp: Path, server: tuple[str, str], name: str, client: bool = True) -> str:
    """Shake hands over loopback: the server's name for itself is `name`; the client's certificate's CN."""
    pair = made.leaf(*server)
    (tmp / "s.pem").write_bytes(pair.certificate + pair.key)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(made.ca_path))
    serving.load_cert_chain(tmp / "s.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=str(made.ca_path))
    if client:
        asking.load_cert_chain(made.operator_certificate_path, made.operator_key_path)
    seen: list[str] = []

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as raw:
            try:
                with serving.wrap_socket(raw, server_side=True) as tls:
                    subject = dict(pairs[0] for pairs in tls.getpeercert()["subject"])  # type: ignore[index, union-attr]
                    seen.append(subject["commonName"])
                    tls.sendall(b"x")
            except ssl.SSLError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        try:
            with (
                socket.create_connection(listener.getsockname()) as raw,
                asking.wrap_socket(raw, server_hostname=name) as tls,
            ):
                assert tls.recv(1) == b"x"
        finally:
            thread.join(10)
    return seen[0]


def test_openssl_takes_names_addresses_and_the_operators_certificate(state: StateDir, tmp_path: Path) -> None:
    made = pki.ensure(state, inventory(LAB))
    for name in ("pg-1", "haproxy", "localhost", "10.77.0.21", "10.77.0.30", "127.0.0.1", "::1"):
        assert _handshake(made, tmp_path, ("pg-1", "server"), name) == "operator"


def test_openssl_refuses_another_name_another_ca_and_no_certificate(state: StateDir, tmp_path: Path) -> None:
    made = pki.ensure(state, inventory(LAB))
    with pytest.raises(ssl.SSLError, match="verify failed"):
        _handshake(made, tmp_path, ("pg-1", "rest"), "pg-2")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        _handshake(made, tmp_path, ("pg-1", "rest"), "pg-1", client=False)
    other = pki.ensure(StateDir.open(tmp_path / "o"), inventory(LAB))
    mixed = Pki(**{**vars(made), "leaves": other.leaves})
    with pytest.raises(ssl.SSLError, match="verify failed"):
        _handshake(mixed, tmp_path, ("pg-1", "rest"), "pg-1")
