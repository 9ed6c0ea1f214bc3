"""Every rendered file is accepted by its own program: the image's, run from the image's root."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import yaml
from rooms import Net, Room

from pgha_orch.identity import Identity
from pgha_orch.inventory.model import Role

MakeRoom = Callable[[Identity], Room]
Identities = dict[str, Identity]

# Accept connections on each ADDRESS:PORT, and say nothing: what `patroni --validate-config` wants of etcd.
LISTEN = """
import socket, sys, time
sockets = []
for where in sys.argv[1:]:
    host, port = where.rsplit(":", 1)
    sockets.append(socket.create_server((host.strip("[]"), int(port)), family=
        socket.AF_INET6 if ":" in host else socket.AF_INET))
print("up", flush=True)
time.sleep(600)
"""


def of_role(identities: Identities, role: Role) -> list[Identity]:
    return [identity for identity in identities.values() if identity.role is role]


def addresses(identities: Identities) -> list[str]:
    """Every host's own address, as its network file has it, without the prefix length."""
    return [address(identity) for identity in identities.values()]


def address(identity: Identity) -> str:
    lines = identity.member("network/70-pgha.network").content.decode().splitlines()
    return next(line.removeprefix("Address=").split("/")[0] for line in lines if line.startswith("Address="))


@contextmanager
def listening(net: Net, *where: str) -> Iterator[None]:
    argv = net.inside(sys.executable, "-c", LISTEN, *where)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            yield
        finally:
            process.kill()


def test_nftables_takes_every_rule_set(identities: Identities, room: MakeRoom) -> None:
    for identity in identities.values():
        room(identity).accept("nft", "-c", "-f", "/run/pgha/nftables.conf")


def test_a_loaded_rule_set_drops_what_it_does_not_name(identities: Identities, room: MakeRoom, net: Net) -> None:
    room(next(iter(identities.values()))).accept("nft", "-f", "/run/pgha/nftables.conf")
    shown = subprocess.run(net.inside("nft", "list", "ruleset"), capture_output=True, text=True, timeout=10, check=True)
    assert "hook input priority filter; policy drop;" in shown.stdout
    assert "hook forward priority filter; policy drop;" in shown.stdout


def test_chronyd_takes_every_configuration(identities: Identities, room: MakeRoom) -> None:
    for identity in identities.values():
        room(identity).accept("chronyd", "-p", "-f", "/run/pgha/chrony/chrony.conf")


def test_sshd_takes_every_host_key(identities: Identities, room: MakeRoom) -> None:
    for identity in identities.values():
        made = room(identity)
        made.accept("sh", "-c", "mkdir -p /run/sshd; exec /usr/sbin/sshd -t -f /etc/ssh/sshd_config")
        public = made.accept("ssh-keygen", "-y", "-f", "/run/pgha/ssh/ssh_host_ed25519_key").split()[:2]
        assert public == identity.member("ssh/ssh_host_ed25519_key.pub").content.decode().split()[:2]
        made.accept("ssh-keygen", "-l", "-f", "/run/pgha/ssh/authorized_keys")


def test_sha256sum_finds_every_member_whole(identities: Identities, room: MakeRoom) -> None:
    for identity in identities.values():
        room(identity).accept("sh", "-c", "cd /run/pgha && sha256sum --check --strict --quiet SHA256SUMS")


def test_names_resolve(identities: Identities, room: MakeRoom) -> None:
    made = room(identities["pg-1"])
    for name, identity in identities.items():
        assert made.accept("getent", "hosts", name).split() == [address(identity), name]


def test_systemd_takes_the_schedules(identities: Identities, room: MakeRoom) -> None:
    for identity in identities.values():
        for member in identity.members:
            if member.path.startswith("systemd/"):
                calendar = member.content.decode().splitlines()[-1].removeprefix("OnCalendar=")
                room(identity).accept("systemd-analyze", "calendar", calendar)


def test_haproxy_takes_its_configuration_without_a_warning(identities: Identities, room: MakeRoom) -> None:
    for identity in of_role(identities, Role.HAPROXY):
        check = (
            "cp /run/pgha/haproxy/start.state /run/haproxy/state; exec haproxy -c -V -f /run/pgha/haproxy/haproxy.cfg"
        )
        shown = room(identity).accept("sh", "-c", check, user="haproxy")
        # That every server starts down is said as a warning; nothing else may be.
        odd = [line for line in shown.splitlines() if "[WARNING]" in line or "[ALERT]" in line]
        assert not [line for line in odd if " is DOWN" not in line]


def test_patroni_takes_its_configuration(identities: Identities, room: MakeRoom, net: Net) -> None:
    net.add(*addresses(identities))
    nodes = of_role(identities, Role.POSTGRES)
    etcd = yaml.safe_load(nodes[0].member("patroni/patroni.yml").content)["etcd3"]["hosts"]
    with listening(net, *etcd):
        for identity in nodes:
            made = room(identity)
            bin_dir = next((made.root / "usr/lib/postgresql").glob("*/bin"))
            made.accept(
                "env",
                f"PATRONI_POSTGRESQL_BIN_DIR=/{bin_dir.relative_to(made.root)}",
                "patroni",
                "--validate-config",
                "/run/pgha/patroni/patroni.yml",
                user="postgres",
            )


def test_postgresql_takes_the_initdb_options_the_parameters_and_the_hba(identities: Identities, room: MakeRoom) -> None:
    for identity in of_role(identities, Role.POSTGRES):
        made = room(identity)
        bin_dir = f"/{next((made.root / 'usr/lib/postgresql').glob('*/bin')).relative_to(made.root)}"
        patroni = yaml.safe_load(identity.member("patroni/patroni.yml").content)
        options = [
            f"--{option}" if isinstance(option, str) else "--{}={}".format(*next(iter(option.items())))
            for option in patroni["bootstrap"]["initdb"]
        ]
        postgresql = patroni["postgresql"]
        parameters = {**patroni["bootstrap"]["dcs"]["postgresql"]["parameters"], **postgresql["parameters"]}
        conf = "".join(f"{name} = '{value}'\n" for name, value in parameters.items())
        script = f"""
        set -e
        cd /tmp
        {bin_dir}/initdb -D data --username=postgres --no-sync {shlex.join(options)}
        printf %s {shlex.quote(conf)} >> data/postgresql.conf
        printf '%s\\n' {shlex.join(postgresql["pg_hba"])} > data/pg_hba.conf
        printf '%s\\n' {shlex.join(postgresql["pg_ident"])} > data/pg_ident.conf
        {bin_dir}/pg_ctl -D data -w -s -l log start || {{ cat log; exit 1; }}
        psql() {{ {bin_dir}/psql -XAtq -h /run/postgresql -U postgres -v ON_ERROR_STOP=1 "$@"; }}
        psql -c "select 'hba', count(*) from pg_hba_file_rules"
        psql -c "select 'bad', file_name, line_number, error from pg_hba_file_rules where error is not null"
        psql -c "select 'bad', map_name, error from pg_ident_file_mappings where error is not null"
        psql -c "select 'bad', name, error from pg_file_settings where error is not null"
        psql -c "select datlocprovider, datlocale, pg_encoding_to_char(encoding) from pg_database limit 1"
        psql -c "show data_checksums" -c "show ssl"
        {bin_dir}/pg_ctl -D data -s -m immediate stop
        """
        lines = made.accept("bash", "-c", script, user="postgres").splitlines()
        assert f"hba|{len(postgresql['pg_hba'])}" in lines
        assert not [line for line in lines if line.startswith("bad")]
        assert lines[-3:] == ["b|C.UTF-8|UTF8", "on", "on"]


def test_pgbackrest_serves_tls_and_shows_no_backup_yet(identities: Identities, room: MakeRoom, net: Net) -> None:
    net.add(*addresses(identities))
    conf = "--config=/run/pgha/pgbackrest/pgbackrest.conf"
    for identity in (*of_role(identities, Role.POSTGRES), *of_role(identities, Role.BACKUP)):
        made = room(identity)
        user = "postgres" if identity.role is Role.POSTGRES else "pgbackrest"
        with made.running("pgbackrest", "server", conf, user=user):
            ping = ["pgbackrest", "server-ping", address(identity), conf]
            deadline = time.monotonic() + 20
            while (done := made.run(*ping, user=user)).returncode and time.monotonic() < deadline:
                time.sleep(0.1)
            assert done.returncode == 0, done.stdout + done.stderr


def test_a_node_reaches_the_repository_host_over_mutual_tls(identities: Identities, room: MakeRoom, net: Net) -> None:
    backup = of_role(identities, Role.BACKUP)[0]
    node = identities["pg-1"]
    if b"repo1-host=" not in node.member("pgbackrest/pgbackrest.conf").content:
        return  # S3: nothing to reach here
    net.add(*addresses(identities))
    config = "--config=/run/pgha/pgbackrest/pgbackrest.conf"
    with room(backup).running("pgbackrest", "server", config, user="pgbackrest"):
        wait_for(net, address(backup), 8432)
        # As postgres only: pgBackRest takes a key of root's from root only when nobody else may read it.
        info = "set -a; . /run/pgha/environment; exec pgbackrest info"
        assert "missing stanza path" in room(node).accept("sh", "-c", info, user="postgres")


def test_etcd_starts_and_etcdctl_needs_no_option(identities: Identities, room: MakeRoom, net: Net) -> None:
    """A cluster of the first member alone: a peer's address must be one of its certificate's, which on one
    loopback no member's is to another."""
    net.add(*addresses(identities))
    identity = of_role(identities, Role.ETCD)[0]
    alone = "sed -E 's#^(initial-cluster: \"[^,]*),.*#\\1\"#' /run/pgha/etcd/etcd.yml > /tmp/etcd.yml"
    with room(identity).running("sh", "-c", f"{alone}; exec etcd --config-file /tmp/etcd.yml", user="etcd"):
        wait_for(net, address(identity), 2379)
        # The environment names all members; --cluster asks them for the list, and one answers.
        health = "set -a; . /run/pgha/environment; exec etcdctl endpoint health --cluster"
        shown = room(identity).accept("sh", "-c", health)
        assert f"https://{bracketed(address(identity))}:2379 is healthy" in shown
        # Patroni's way in: etcd's gateway connects to its own server, with the server's certificate.
        assert asks(room(identities["pg-1"]), identity, "with") == f"member {identity.host}"
        refused = asks(room(identities["pg-1"]), identity, "without")
        assert refused
        assert "member" not in refused


# Patroni's Python, with Patroni's certificate: the names of etcd's members.
GATEWAY = """
import json, ssl, sys, urllib.request
context = ssl.create_default_context(cafile="/run/pgha/tls/ca.crt")
if sys.argv[2] == "with":
    context.load_cert_chain("/run/pgha/patroni/etcd-client.crt", "/run/pgha/patroni/etcd-client.key")
try:
    reply = urllib.request.urlopen(sys.argv[1] + "/v3/cluster/member/list", b"{}", 10, context=context)
    print("member", *[member["name"] for member in json.load(reply)["members"]])
except OSError as exc:
    print(exc)
"""


def asks(node: Room, identity: Identity, certificate: str) -> str:
    url = f"https://{bracketed(address(identity))}:2379"
    return node.accept("python3", "-c", GATEWAY, url, certificate, user="postgres").strip()


def bracketed(where: str) -> str:
    return f"[{where}]" if ":" in where else where


def wait_for(net: Net, host: str, port: int, timeout_s: float = 20) -> None:
    code = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)"
    deadline = time.monotonic() + timeout_s
    argv = net.inside(sys.executable, "-c", code, host, str(port))
    while subprocess.run(argv, capture_output=True, timeout=10, check=False).returncode:
        assert time.monotonic() < deadline, f"{host}:{port} does not answer"
        time.sleep(0.1)
