"""What status says that Patroni does not see: each found, and each silent when all is well."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from inventories import GOOD, load_text

from pgha_orch.certificates import certificate_end
from pgha_orch.health import unseen
from pgha_orch.identity import dynamic_config
from pgha_orch.machines import Machine
from pgha_orch.process import Result, run

NOW = datetime(2026, 6, 1, tzinfo=UTC)
# As `chronyc -c tracking` of chrony 4.6 on a node of the lab printed it.
TRACKING = (
    "0A55000B,10.85.0.11,11,1795461222.634537926,{offset},-0.000000229,0.000002217,"
    "-0.002,-0.000,0.015,0.000023390,0.000025153,32.4,Normal\n"
)


class HereMachine:
    """Runs what it is given on this host, with some programs replaced: enough of a Machine for exec."""

    name = "pg-1"

    def __init__(self, programs: Path) -> None:
        self._path = f"{programs}:{os.environ['PATH']}"

    def exec(
        self, argv: Sequence[str], *, timeout_s: float, input: str | bytes | None = None, check: bool = True
    ) -> Result:
        return run(argv, timeout_s=timeout_s, input=input, check=check, env={"PATH": self._path})


def machine(tmp_path: Path, **programs: str) -> Machine:
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    return cast(Machine, HereMachine(tmp_path))


def test_timings_that_patroni_rewrote_are_named_with_both_values(tmp_path: Path) -> None:
    wanted = dynamic_config(load_text(tmp_path, GOOD).inventory).settings
    assert unseen.rewritten(wanted, dict(wanted), "pg-1") == []
    found = unseen.rewritten(wanted, dict(wanted) | {"loop_wait": 10, "ttl": 30}, "pg-1")
    assert [p.what.split()[0] for p in found] == ["ttl", "loop_wait"]
    assert f"the inventory says {wanted['ttl']}" in found[0].what
    assert "deploy" in found[0].next


def test_a_timing_that_is_gone_counts_as_rewritten(tmp_path: Path) -> None:
    wanted = dynamic_config(load_text(tmp_path, GOOD).inventory).settings
    effective = {k: v for k, v in wanted.items() if k != "retry_timeout"}
    assert "None in effect" in unseen.rewritten(wanted, effective, "pg-1")[0].what


def test_a_certificate_that_ends_within_the_renewal_days_is_named() -> None:
    far, near = NOW + timedelta(days=400), NOW + timedelta(days=12)
    assert unseen.ending("pg-1", [(far, "patroni/rest.crt")], NOW) == []
    (found,) = unseen.ending("pg-1", [(far, "patroni/rest.crt"), (near, "postgresql/server.crt")], NOW)
    assert "postgresql/server.crt ends in 12 days" in found.what and "deploy" in found.next
    (ended,) = unseen.ending("pg-1", [(NOW - timedelta(days=3), "etcd/peer.crt")], NOW)
    assert "ended 3 days ago" in ended.what


def test_the_end_of_the_ca_has_a_next_step_of_its_own() -> None:
    (found,) = unseen.ending("pg-1", [(NOW, "tls/ca.crt")], NOW)
    assert "new CA" in found.next


def test_no_certificate_is_no_problem() -> None:
    assert unseen.ending("haproxy", [], NOW) == []
    assert certificate_end(b"no certificate") is None


@pytest.mark.parametrize(("offset", "wrong"), [("-0.000002256", False), ("0.4", False), ("0.6", True), ("-63.2", True)])
def test_a_clock_that_is_off_is_named(tmp_path: Path, offset: str, wrong: bool) -> None:
    found = unseen.clock(machine(tmp_path, chronyc=f"printf '%s' '{TRACKING.format(offset=offset)}'"))
    assert bool(found) is wrong
    if wrong:
        assert f"{abs(float(offset)):.2f} s off 10.85.0.11" in found[0].what


def test_a_chronyd_that_does_not_answer_is_named(tmp_path: Path) -> None:
    (found,) = unseen.clock(machine(tmp_path, chronyc="echo '506 Cannot talk to daemon'; exit 1"))
    assert "506 Cannot talk to daemon" in found.what and "chronyd.service" in found.next


def test_a_watchdog_that_patroni_does_not_hold_is_named(tmp_path: Path) -> None:
    here = machine(tmp_path, systemctl=f"echo {os.getpid()}")
    (found,) = unseen.watchdog(here)
    assert "would not be fenced" in found.what and found.where == "pg-1"


def test_a_watchdog_that_patroni_holds_is_no_problem(tmp_path: Path) -> None:
    # A link to the device's name, as /proc/PID/fd shows an open one; the device itself is not on this host.
    here = machine(tmp_path, systemctl="echo 1", find="echo /proc/1/fd/9")
    assert unseen.watchdog(here) == []
