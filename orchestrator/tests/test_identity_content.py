"""What must hold of the rendered files, whatever else changes in them."""

from __future__ import annotations

import re

import pytest
import yaml
from identities import BARE, LAB, WIDE, inventory, rendered, text_of

from pgha_orch.identity import Identity, dynamic_config
from pgha_orch.identity.haproxy import RESERVED_CONNECTIONS, limits
from pgha_orch.inventory.model import Role

LAB_HOSTS = rendered(LAB)
WIDE_HOSTS = rendered(WIDE)

# Which secret may be on which role.
ALLOWED = {
    Role.ETCD: set(),
    Role.POSTGRES: {"superuser", "replicator", "rewind"},
    Role.HAPROXY: {"stats"},
    Role.BACKUP: set(),
}
WITH_S3 = {"s3-access", "s3-secret", "cipher"}


@pytest.mark.parametrize(("hosts", "repository"), [(LAB_HOSTS, set()), (WIDE_HOSTS, WITH_S3)])
def test_a_host_holds_only_its_own_secrets(hosts: dict[str, Identity], repository: set[str]) -> None:
    for host, identity in hosts.items():
        everything = b"\n".join(m.content for m in identity.all_members()).decode()
        found = set(re.findall(r"test-password-of-([\w-]+)", everything))
        wanted = ALLOWED[identity.role] | (repository if identity.role in (Role.POSTGRES, Role.BACKUP) else set())
        assert found == wanted, host
        keys = set(re.findall(r"(?:private SSH key|key) of ([\w-]+)", everything))
        assert keys == {host}, host
        # Only the file that its one reader owns holds a secret.
        for member in identity.all_members():
            if b"test-password" in member.content or re.search(rb"(^|\n)(private SSH )?key of", member.content):
                assert member.mode & 0o007 == 0, member.path


def test_the_cipher_key_of_a_repository_host_stays_there() -> None:
    hosts = rendered(LAB.replace("backup: {}", "backup: {repository: {cipher: aes-256-cbc}}"))
    assert "test-password-of-cipher" in text_of(hosts["backup"], "pgbackrest/pgbackrest.conf")
    assert "cipher" not in text_of(hosts["pg-1"], "pgbackrest/pgbackrest.conf")


@pytest.mark.parametrize(
    ("durability", "mode", "strict"),
    [("strict", True, True), ("sync", True, False), ("async", False, False), ("quorum", "quorum", False)],
)
def test_durability_becomes_patronis_modes(durability: str, mode: object, strict: bool) -> None:
    config = dynamic_config(inventory(LAB.replace("durability: strict", f"durability: {durability}")))
    assert config.settings["synchronous_mode"] == mode
    assert config.settings["synchronous_mode_strict"] == strict


def test_bootstrap_and_patch_say_the_same() -> None:
    for text, hosts in ((LAB, LAB_HOSTS), (WIDE, WIDE_HOSTS)):
        patroni = yaml.safe_load(text_of(hosts["pg-1"], "patroni/patroni.yml"))
        assert patroni["bootstrap"]["dcs"] == dynamic_config(inventory(text)).as_json()


def test_hba_is_tls_only_and_shuts_out_the_clusters_own_users() -> None:
    for hosts in (LAB_HOSTS, WIDE_HOSTS):
        hba = yaml.safe_load(text_of(hosts["pg-1"], "patroni/patroni.yml"))["postgresql"]["pg_hba"]
        assert hba[0] == "local all all peer map=pgha"
        for line in hba[1:]:
            assert line.startswith("hostssl ") or line.endswith(" reject"), line
            assert line.endswith((" scram-sha-256", " reject")), line
        rejects = [i for i, line in enumerate(hba) if line.endswith(" reject")]
        assert all("all all" not in line for line in hba[1 : rejects[-1]]), "nothing general before the rejects"


def test_the_inventorys_hba_lines_come_before_the_projects_but_cannot_lock_patroni_out() -> None:
    hba = yaml.safe_load(text_of(WIDE_HOSTS["pg-1"], "patroni/patroni.yml"))["postgresql"]["pg_hba"]
    extra = hba.index("hostssl app app fd00:88::/64 scram-sha-256")
    assert hba.index("hostssl replication replicator fd00:77::22/128 scram-sha-256") < extra
    assert extra < hba.index("host all postgres,replicator,rewind all reject")


@pytest.mark.parametrize(
    ("driver", "setting", "mode"),
    [
        ("nspawn", "auto", "off"),
        ("qemu", "auto", "required"),
        ("nspawn", "required", "required"),
        ("qemu", "off", "off"),
    ],
)
def test_the_watchdog_is_required_where_a_machine_has_one(driver: str, setting: str, mode: str) -> None:
    text = LAB.replace("machines: nspawn", f"machines: {driver}")
    text = text.replace("postgresql:\n", f"postgresql:\n  watchdog: '{setting}'\n")
    patroni = yaml.safe_load(text_of(rendered(text)["pg-1"], "patroni/patroni.yml"))
    assert patroni["watchdog"]["mode"] == mode


def test_without_backups_nothing_is_archived() -> None:
    patroni = yaml.safe_load(text_of(rendered(BARE)["pg-1"], "patroni/patroni.yml"))
    parameters = patroni["bootstrap"]["dcs"]["postgresql"]["parameters"]
    assert parameters["archive_mode"] == "off"
    assert "recovery_conf" not in patroni["postgresql"]
    assert patroni["postgresql"]["create_replica_methods"] == ["basebackup"]


@pytest.mark.parametrize("text", [LAB, WIDE])
def test_haproxys_connections_fit_into_max_connections(text: str) -> None:
    inv = inventory(text)
    cap, proxies = limits(inv), len(inv.of_role(Role.HAPROXY))
    room = inv.postgresql.max_connections - RESERVED_CONNECTIONS
    assert proxies * (cap.rw + cap.ro_on_primary) <= room
    assert proxies * cap.ro <= room


def test_every_health_check_verifies_the_servers_name() -> None:
    config = text_of(LAB_HOSTS["haproxy"], "haproxy/haproxy.cfg")
    servers = [line.split() for line in config.splitlines() if line.strip().startswith("server pg")]
    assert len(servers) == 9
    for words in servers:
        assert ("track" in words) or words[words.index("verifyhost") + 1] == words[1]
    assert "verify none" not in config


def test_a_start_knows_no_healthy_server() -> None:
    state = text_of(WIDE_HOSTS["proxy-1"], "haproxy/start.state").splitlines()
    assert state[0] == "1"
    assert [row.split()[1:6] for row in state[2:4]] == [
        ["postgres_rw", "1", "pg-1", "fd00:77::21", "0"],
        ["postgres_rw", "2", "pg-2", "fd00:77::22", "0"],
    ]


def test_timers_follow_the_schedule() -> None:
    assert text_of(LAB_HOSTS["backup"], "units") == "pgha-backup@full.timer\npgha-backup@diff.timer\n"
    assert text_of(WIDE_HOSTS["backup"], "units") == "pgha-backup@full.timer\npgha-backup@incr.timer\n"
    drop_in = text_of(WIDE_HOSTS["backup"], "systemd/pgha-backup@incr.timer.d/schedule.conf")
    assert drop_in == "[Timer]\nOnCalendar=\nOnCalendar=*-*-* 04:00:00\n"
    assert text_of(LAB_HOSTS["pg-1"], "units") == ""


def test_time_comes_from_the_named_servers_or_from_the_etcd_hosts() -> None:
    wide = text_of(WIDE_HOSTS["etcd-1"], "chrony/chrony.conf")
    assert "server fd00:99::123 iburst\nserver time.example.org iburst\n" in wide
    assert "\nallow " not in wide
    first = text_of(LAB_HOSTS["etcd-1"], "chrony/chrony.conf")
    assert "server 10.77.0.11" not in first
    assert "local stratum 10 orphan" in first
    assert "allow 10.77.0.40\n" in first
    assert "port 0" in text_of(LAB_HOSTS["pg-1"], "chrony/chrony.conf")


def test_the_default_route_is_only_there_when_asked_for() -> None:
    assert "Gateway" not in text_of(LAB_HOSTS["pg-1"], "network/70-pgha.network")
    assert "Gateway=fd00:77::1\n" in text_of(WIDE_HOSTS["pg-1"], "network/70-pgha.network")
    assert "Address=fd00:77::21/64\n" in text_of(WIDE_HOSTS["pg-1"], "network/70-pgha.network")
