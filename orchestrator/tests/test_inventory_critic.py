"""The topology critic: each warning appears where it should, and a sound cluster has none."""

from __future__ import annotations

from pathlib import Path

import pytest
from inventories import GOOD, changed, fields_warned, load_text

from pgha_orch.inventory.load import load

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_a_sound_cluster_gets_no_warning(tmp_path: Path) -> None:
    assert load_text(tmp_path, GOOD).warnings == ()


def test_the_lab_gets_only_the_warning_that_fits_one_machine() -> None:
    warnings = load(EXAMPLES / "lab.yml").warnings

    assert [(w.line, w.field) for w in warnings] == [(24, "hosts.haproxy")]
    assert "the only HAProxy" in warnings[0].message


def test_every_warning_has_a_next_step() -> None:
    warnings = load(EXAMPLES / "guide.yml").warnings

    assert any("no backups" in w.message for w in warnings)
    assert all(w.hint for w in warnings)


def _without(*names: str, text: str = GOOD) -> str:
    return "".join(line for line in text.splitlines(True) if not any(line.startswith(f"  {n}:") for n in names))


def _zoned(zones: dict[str, str]) -> str:
    text = GOOD
    for line in GOOD.splitlines():
        name = line.strip().split(":")[0]
        if "role:" in line and name in zones:
            text = text.replace(line, line[:-1] + f", zone: {zones[name]}}}")
    return text


SPREAD = {"etcd-1": "a", "etcd-2": "b", "etcd-3": "c", "pg-1": "a", "pg-2": "b", "pg-3": "c"}
SPREAD |= {"haproxy-1": "a", "haproxy-2": "b", "backup": "c"}
S3 = "backup: {repository: {cipher: aes-256-cbc, s3: {bucket: bkt, endpoint: s3.example.com, region: eu}}}"
GATEWAY = ("version: 1", "version: 1\ngateway: 10.9.0.1")
NO_HOST = ("  backup: {role: backup, address: 10.9.0.40}\n", "")


def test_hosts_spread_over_three_zones_get_no_warning(tmp_path: Path) -> None:
    assert fields_warned(tmp_path, _zoned(SPREAD)) == {}


@pytest.mark.parametrize(
    ("zones", "field", "says"),
    [
        ({**SPREAD, "pg-2": "a", "pg-3": "a"}, "hosts.pg-1.zone", "every postgres host is in zone a"),
        ({**SPREAD, "haproxy-2": "a"}, "hosts.haproxy-1.zone", "every haproxy host is in zone a"),
        ({**SPREAD, "etcd-2": "a", "etcd-3": "a"}, "hosts.etcd-1.zone", "every etcd host is in zone a"),
        ({**SPREAD, "etcd-3": "a"}, "hosts.etcd-1.zone", "etcd in two zones, 2 of 3 in a"),
    ],
)
def test_a_role_or_a_majority_in_one_zone_is_warned_of(
    tmp_path: Path, zones: dict[str, str], field: str, says: str
) -> None:
    warned = fields_warned(tmp_path, _zoned(zones))

    assert list(warned) == [field]
    assert says in warned[field]


def test_a_host_without_zone_among_zones_is_warned_of(tmp_path: Path) -> None:
    zones = {name: zone for name, zone in SPREAD.items() if name != "backup"}

    assert "no zone" in fields_warned(tmp_path, _zoned(zones))["hosts.backup"]


@pytest.mark.parametrize(
    ("text", "field", "says"),
    [
        (_without("haproxy-2"), "hosts.haproxy-1", "the only HAProxy"),
        (_without("etcd-2", "etcd-3"), "hosts.etcd-1", "the only etcd member"),
        (_without("pg-3"), "durability", "strict with one possible sync standby"),
        (
            changed(("version: 1", "version: 1\ndurability: sync"), text=_without("pg-2", "pg-3")),
            "hosts.pg-1",
            "the only PostgreSQL node",
        ),
        (
            changed(("postgresql:\n", "postgresql:\n  synchronous_node_count: 2\n")),
            "postgresql.synchronous_node_count",
            "every standby has to confirm",
        ),
        (changed(("version: 1", "version: 1\ndurability: async")), "durability", "async with fast failover"),
        (
            changed(("version: 1", "version: 1\ndurability: async\nfailover: norm")),
            "durability",
            "async: a failover loses",
        ),
        (changed(("postgresql:\n", "postgresql:\n  failsafe_mode: false\n")), "postgresql.failsafe_mode", "read-only"),
        (
            changed(("postgresql:\n", "postgresql:\n  parameters: {fsync: off}\n")),
            "postgresql.parameters.fsync",
            "corrupts or loses data",
        ),
        (changed(("[{name: app}]", "[{name: app, options: [superuser]}]")), "postgresql.users[0]", "superuser"),
        (changed(("backup: {}\n", ""), NO_HOST), "", "no backups"),
        (changed(("backup: {}", "backup: {retention: {full: 1}}")), "backup.retention.full", "one full backup kept"),
        (changed(("backup: {}", "backup: {schedule: {full: null}}")), "backup.schedule.full", "no full backups"),
        (
            changed(("backup: {}", S3.replace("cipher: aes-256-cbc, ", "")), NO_HOST, GATEWAY),
            "backup.repository",
            "unencrypted",
        ),
        (changed(("backup: {}", S3), NO_HOST), "backup.repository.s3.endpoint", "no `gateway`"),
        (changed(("[10.9.0.0/24]", "[10.1.0.0/16]")), "clients[0]", "answers find no way back"),
        (changed(("[10.9.0.0/24]", "[0.0.0.0/0]"), GATEWAY), "clients[0]", "everyone"),
        (changed(("version: 1", "version: 1\nmachines: qemu")), "clients", "no client beyond"),
        (changed(("version: 1", "version: 1\nntp: [time.example.com]")), "ntp", "no `gateway` to reach them"),
        (GOOD.replace("10.9.0.", "11.9.0."), "network", "a public network"),
        (changed(("address: 10.9.0.21}", "address: 10.9.0.21, cpus: 4}")), "hosts.pg-1.cpus", "no effect"),
    ],
)
def test_what_will_hurt_is_warned_of_where_it_can_be_changed(tmp_path: Path, text: str, field: str, says: str) -> None:
    warned = fields_warned(tmp_path, text)

    assert list(warned) == [field]
    assert says in warned[field]


def test_machines_over_ssh_without_host_keys_are_warned_of(tmp_path: Path) -> None:
    text = changed(("version: 1", "version: 1\nmachines: ssh\noperators: [10.9.0.0/24]"))

    assert "must be confirmed by hand" in fields_warned(tmp_path, text)["hosts.pg-1"]
