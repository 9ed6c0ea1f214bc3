"""Faults that any driver's machine can be given from inside it; what only a driver can do is in `Machine`.

A cut is tables of its own in the machine's nftables, before all other hooks, so it neither touches the
identity's rules nor outlives a reboot. The host of pgha-orch is never cut off: drills go on watching, and their
direct writers go on trying, which is how a stale primary would be caught.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from pgha_orch.inventory.fields import IPAddress
from pgha_orch.machines.base import Machine

CUT_TABLE = "inet pgha_drill"
CUT_ARP_TABLE = "arp pgha_drill"
TIMEOUT_S = 15.0
CAP_SYS_TIME = 25  # capability.h


class Direction(StrEnum):
    """Which packets a cut drops, as the machine sees them."""

    BOTH = "both"
    IN = "in"
    OUT = "out"


def cut(
    machine: Machine,
    peers: Sequence[IPAddress],
    *,
    direction: Direction = Direction.BOTH,
    port: int | None = None,
) -> None:
    """Drop packets between the machine and `peers`; with `port`, only those to this TCP port of the machine.

    A cut both ways without a port drops ARP as well, as a pulled cable or a dead switch port does; the others are
    what a firewall does. A second cut replaces the first.
    """
    rules, arp = [], []
    for peer in peers:
        family = "ip6" if peer.version == 6 else "ip"
        if direction is not Direction.OUT:
            rules.append(("in", f"{family} saddr {peer}" + (f" tcp dport {port}" if port else "") + " drop"))
        if direction is not Direction.IN:
            rules.append(("out", f"{family} daddr {peer}" + (f" tcp sport {port}" if port else "") + " drop"))
        if direction is Direction.BOTH and port is None and peer.version == 4:
            arp += [("in", f"arp saddr ip {peer} drop"), ("out", f"arp daddr ip {peer} drop")]
    script = _table(CUT_TABLE, rules) + _table(CUT_ARP_TABLE, arp)
    machine.exec(["nft", "-f", "-"], input="".join(script), timeout_s=TIMEOUT_S)


def _table(table: str, rules: Sequence[tuple[str, str]]) -> list[str]:
    """nft's lines for a table with these rules, whatever was in it before."""
    return [
        f"table {table}\ndelete table {table}\ntable {table} {{\n",
        "  chain in { type filter hook input priority -400; policy accept; }\n",
        "  chain out { type filter hook output priority -400; policy accept; }\n}\n",
        *(f"add rule {table} {chain} {rule}\n" for chain, rule in rules),
    ]


def mend(machine: Machine) -> None:
    """Remove the machine's cut; none is fine."""
    script = "".join(f"table {table}\ndelete table {table}\n" for table in (CUT_TABLE, CUT_ARP_TABLE))
    machine.exec(["nft", "-f", "-"], input=script, timeout_s=TIMEOUT_S, check=False)


def has_watchdog(machine: Machine) -> bool:
    """Whether the machine has a watchdog device, so that a reset of it can be drilled."""
    return machine.exec(["test", "-c", "/dev/watchdog"], timeout_s=TIMEOUT_S, check=False).returncode == 0


def owns_clock(machine: Machine) -> bool:
    """Whether the machine's clock is its own: a container shares its host's."""
    status = machine.read("/proc/1/status") or b""
    for line in status.decode().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_TIME & 1)
    return False
