"""Rules between fields: where each begins and ends. What a broken one says is in bad_inventories."""

from __future__ import annotations

from pathlib import Path

import pytest
from inventories import GOOD, changed, fields_refused, load_text

from pgha_orch.inventory import hba, parameters, schedule
from pgha_orch.inventory.checks import check
from pgha_orch.inventory.load import InventoryError
from pgha_orch.inventory.model import Inventory
from pgha_orch.inventory.timings import PRESETS


def test_a_good_inventory_has_no_problems(tmp_path: Path) -> None:
    assert check(load_text(tmp_path, GOOD).inventory) == []


@pytest.mark.parametrize("preset", list(PRESETS))
def test_every_preset_keeps_the_timing_rules(tmp_path: Path, preset: str) -> None:
    t = PRESETS[preset]  # type: ignore[index]
    waits = f"loop_wait: {t.loop_wait}, retry_timeout: {t.retry_timeout}"
    explicit = f"{{ttl: {t.ttl}, {waits}, safety_margin: {t.safety_margin}}}"

    assert fields_refused(tmp_path, changed(("version: 1", f"version: 1\nfailover: {explicit}"))) == []


@pytest.mark.parametrize(
    ("loop_wait", "retry_timeout", "safety_margin", "smallest"),
    [(10, 10, 5, 35), (5, 3, 5, 20), (8, 3, 5, 21), (10, 6, -1, 44), (20, 30, 15, 95), (20, 3, 0, 28)],
)
def test_the_smallest_ttl_that_is_named_is_the_smallest_that_works(
    tmp_path: Path, loop_wait: int, retry_timeout: int, safety_margin: int, smallest: int
) -> None:
    def refused(ttl: int) -> str:
        text = f"{{ttl: {ttl}, loop_wait: {loop_wait}, retry_timeout: {retry_timeout}, safety_margin: {safety_margin}}}"
        try:
            load_text(tmp_path, changed(("version: 1", f"version: 1\nfailover: {text}")))
        except InventoryError as exc:
            return str(exc)
        return ""

    assert refused(smallest) == ""
    if smallest > 20:
        assert f"the smallest ttl that works with the others is {smallest}" in refused(smallest - 1)


@pytest.mark.parametrize(
    ("members", "refused"), [(1, []), (2, ["hosts.e2"]), (3, []), (4, ["hosts.e4"]), (5, []), (7, [])]
)
def test_an_odd_number_of_etcd_members_up_to_seven_is_accepted(
    tmp_path: Path, members: int, refused: list[str]
) -> None:
    hosts = "".join(f"  e{i}: {{role: etcd, address: 10.9.0.{100 + i}}}\n" for i in range(1, members + 1))
    text = changed(*[(f"  etcd-{i}: {{role: etcd, address: 10.9.0.1{i}}}\n", "") for i in (1, 2, 3)]) + hosts

    assert fields_refused(tmp_path, text) == refused


@pytest.mark.parametrize("role", ["etcd", "postgres", "haproxy"])
def test_each_role_is_needed(tmp_path: Path, role: str) -> None:
    text = "".join(line for line in GOOD.splitlines(True) if f"role: {role}" not in line)

    assert "hosts" in fields_refused(tmp_path, text)


@pytest.mark.parametrize(("prefix", "fits"), [(27, False), (26, True)])
def test_the_network_holds_its_hosts_and_the_bridge(tmp_path: Path, prefix: int, fits: bool) -> None:
    addresses = [11, 12, 13, 21, 22, 23, 30, 31, 40]
    text = GOOD.replace("10.9.0.0/24", f"10.9.0.0/{prefix}")
    for new, old in enumerate(addresses, start=1):
        text = text.replace(f"address: 10.9.0.{old}}}", f"address: 10.9.0.{new}}}")
    text += "".join(f"  h{i}: {{role: haproxy, address: 10.9.0.{i}}}\n" for i in range(10, 16))
    text += "".join(f"  p{i}: {{role: postgres, address: 10.9.0.{i}}}\n" for i in range(16, 29))
    text += "".join(f"  f{i}: {{role: etcd, address: 10.9.0.{i}}}\n" for i in range(29, 31))

    assert fields_refused(tmp_path, text) == ([] if fits else ["network"])


def test_a_virtual_address_of_its_own_is_accepted(tmp_path: Path) -> None:
    assert fields_refused(tmp_path, changed(("backup: {}", "backup: {}\nhaproxy: {vip: 10.9.0.33}"))) == []


@pytest.mark.parametrize(
    ("durability", "value", "refused"),
    [
        ("strict", "off", True),
        ("strict", "local", True),
        ("sync", "remote_write", True),
        ("strict", "remote_apply", False),
        ("strict", "'on'", False),
        ("async", "off", False),
    ],
)
def test_synchronous_commit_may_not_undo_the_durability(
    tmp_path: Path, durability: str, value: str, refused: bool
) -> None:
    text = changed(
        ("version: 1", f"version: 1\ndurability: {durability}"),
        ("postgresql:\n", f"postgresql:\n  parameters: {{synchronous_commit: {value}}}\n"),
    )

    assert fields_refused(tmp_path, text) == (["postgresql.parameters.synchronous_commit"] if refused else [])


@pytest.mark.parametrize(
    ("machines", "watchdog", "ok"), [("qemu", "auto", True), ("qemu", "off", False), ("nspawn", "auto", False)]
)
def test_quorum_needs_a_watchdog(tmp_path: Path, machines: str, watchdog: str, ok: bool) -> None:
    text = changed(
        ("version: 1", f"version: 1\nmachines: {machines}\ndurability: quorum"),
        ("postgresql:\n", f"postgresql:\n  watchdog: {watchdog}\n"),
    )

    assert fields_refused(tmp_path, text) == ([] if ok else ["durability"])


# Patroni 4.1.5 takes no value for these from the configuration, or overwrites it.
@pytest.mark.parametrize(
    "name",
    [
        "listen_addresses",
        "port",
        "cluster_name",
        "hot_standby",
        "primary_conninfo",
        "recovery_target_time",
        "ssl",
        "ssl_ca_file",
        "archive_mode",
        "data_directory",
        "hba_file",
        "password_encryption",
        "max_connections",
    ],
)
def test_parameters_that_others_set_are_owned(name: str) -> None:
    assert parameters.owner(name) is not None


@pytest.mark.parametrize(
    "name", ["shared_buffers", "work_mem", "wal_sender_timeout", "max_wal_senders", "archive_timeout"]
)
def test_parameters_that_are_for_tuning_are_free_and_known(name: str) -> None:
    assert parameters.owner(name) is None
    assert name in parameters.KNOWN


@pytest.mark.parametrize(
    "line",
    [
        "hostssl app app 10.1.0.0/16 scram-sha-256",
        "hostssl all all all cert clientcert=verify-full",
        "hostssl app,shop +staff,app 10.1.0.0 255.255.0.0 scram-sha-256",
        'hostssl "My DB" all fd00::/64 cert map=pgha',
        "hostssl all app samenet scram-sha-256",
        "hostssl all app .example.com scram-sha-256",
        "local all all peer",
        "hostssl app old 10.1.0.0/16 reject",
        "hostssl all /^app_.*$ 10.1.2.3/32 scram-sha-256",
    ],
)
def test_a_good_pg_hba_line_is_accepted(line: str) -> None:
    assert hba.complaint(line) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# comment",
        "hostssl",
        "hostssl all all 10.1.0.0/16 md5",
        "hostssl all all 10.1.0.0/16 password",
        "hostssl all all 10.1.0.0/16 peer",
        "local all all cert",
        "hostssl all all 10.1.0.1 scram-sha-256",
        'hostssl "all all 10.1.0.0/16 cert',
        "include other.conf",
        "hostssl all all 10.1.0.0/16 cert # mine",
        "hostssl all all 10.1.0.0/16 cert map",
        "hostgssenc all all 10.1.0.0/16 gss",
    ],
)
def test_a_bad_pg_hba_line_is_refused(line: str) -> None:
    assert hba.complaint(line) is not None


@pytest.mark.parametrize(
    "text",
    [
        "daily",
        "Sun *-*-* 01:00:00",
        "Mon..Sat *-*-* 01:00:00",
        "*:0/15",
        "Mon,Thu 03:30",
        "*-*-01 04:00:00 UTC",
        "weekly",
    ],
)
def test_a_schedule_that_systemd_reads_is_accepted(text: str) -> None:
    assert schedule.unreadable([text]) == []


@pytest.mark.parametrize(
    "text", ["", " ", "every day", "25:00", "*-*-* 12:61", "0 1 * * *", "Sonntag 01:00", "-x", "daily\n"]
)
@pytest.mark.parametrize("program", [True, False])
def test_a_schedule_that_systemd_does_not_read_is_refused_with_and_without_its_program(
    text: str, program: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not program:
        monkeypatch.setenv("PATH", str(tmp_path))

    assert schedule.unreadable(["daily", text, "*:0/15"]) == [text]


def test_a_rule_never_fails_on_an_inventory_of_one_host() -> None:
    inventory = Inventory.model_validate(
        {
            "version": 1,
            "cluster": "one",
            "network": "10.9.0.0/32",
            "clients": ["10.9.0.0/24"],
            "hosts": {"b": {"role": "backup", "address": "10.9.0.0"}},
        }
    )

    assert {problem.path for problem in check(inventory)} >= {("hosts",), ("network",)}
