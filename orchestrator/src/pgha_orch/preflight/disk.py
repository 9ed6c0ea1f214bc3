"""How long a durable write takes on a machine's data disk, and how much room there is."""

from __future__ import annotations

from dataclasses import dataclass

from pgha_orch.errors import OperationError
from pgha_orch.inventory.model import Role
from pgha_orch.machines import Machine

STATE = "/var/lib/pgha"
WRITES = 100
TIMEOUT_S = 60.0
# Bytes of one durable write: etcd's WAL entry as in its own hardware guide (fio --bs=2300), and a page of WAL.
BLOCK = {Role.ETCD: 2300, Role.POSTGRES: 8192, Role.BACKUP: 8192, Role.HAPROXY: 8192}
# dd measures each write itself, so starting dd does not count. O_DSYNC is what fdatasync after each write costs.
SCRIPT = """
file=$1/.pgha-preflight
trap 'rm -f "$file"' EXIT
dd if=/dev/zero of="$file" bs=$2 count=$3 conv=fsync status=none || exit 1
i=0
while [ $i -lt "$3" ]; do
  LC_ALL=C dd if=/dev/zero of="$file" bs=$2 count=1 seek=$i conv=notrunc oflag=dsync 2>&1 || exit 1
  i=$((i + 1))
done
"""


@dataclass(frozen=True)
class Disk:
    """Milliseconds of one durable write, of `WRITES`; bytes of room. `mounted`: it is a file system of its own."""

    median_ms: float
    p99_ms: float
    worst_ms: float
    free_bytes: int
    size_bytes: int
    mounted: bool


def measure(machine: Machine, role: Role) -> Disk:
    """Write and remove a small file on the machine's data disk. OperationError when it cannot be written."""
    done = machine.exec(
        ["sh", "-c", SCRIPT, "sh", STATE, str(BLOCK[role]), str(WRITES)], timeout_s=TIMEOUT_S, check=False
    )
    times = sorted(seconds for line in done.stdout.splitlines() if (seconds := _seconds(line)) is not None)
    if done.returncode != 0 or len(times) != WRITES:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise OperationError(
            f"{machine.name}: {STATE}: cannot be written: {said[-1] if said else 'no word why'}",
            hint="look at the machine's data disk: df, mount, dmesg",
        )
    free, size = _room(machine)
    mounted = machine.exec(["mountpoint", "--quiet", STATE], timeout_s=10, check=False).returncode == 0
    return Disk(times[WRITES // 2] * 1e3, times[WRITES * 99 // 100 - 1] * 1e3, times[-1] * 1e3, free, size, mounted)


def _seconds(line: str) -> float | None:
    """Of dd's "2300 bytes (2.3 kB, 2.2 KiB) copied, 0.000923 s, 2.5 MB/s"."""
    _, found, rest = line.partition(" copied, ")
    return float(rest.split()[0]) if found else None


def _room(machine: Machine) -> tuple[int, int]:
    """Free and total bytes."""
    done = machine.exec(["df", "--block-size=1", "--output=avail,size", STATE], timeout_s=10)
    free, size = done.stdout.split()[-2:]
    return int(free), int(size)
