"""Proofs of restores, as pgha-prove.service records them, and how the scheduled backups ended (image contract)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, ValidationError

from pgha_orch.machines import Machine

RECORDS = "/var/lib/pgha/pgbackrest/proofs.jsonl"
LAST_RUN = "/var/lib/pgha/pgbackrest/last-{kind}"


class Proof(BaseModel):
    """A line of proofs.jsonl. `started` is in epoch seconds; `recovered_to` is the last transaction's commit time."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    started: int
    seconds: int
    ok: bool
    options: str = ""
    error: str = ""
    label: str = ""
    recovered_to: str = ""
    bytes: int = 0
    restore_seconds: int = 0
    recovery_seconds: int = 0
    amcheck_seconds: int = 0
    checksums_seconds: int = 0
    rows: dict[str, int] = {}

    @property
    def at(self) -> datetime:
        return datetime.fromtimestamp(self.started, UTC)


@dataclass(frozen=True)
class LastRun:
    """How the last scheduled run of a kind of backup ended. `result` is systemd's: "success", "exit-code", ..."""

    kind: str
    ended: datetime
    result: str
    exit_status: str

    @property
    def ok(self) -> bool:
        return self.result == "success"


def proofs(machine: Machine) -> list[Proof]:
    """All proofs that this machine has recorded, oldest first. A line that a power-off cut short is left out."""
    found = []
    for line in (machine.read(RECORDS) or b"").splitlines():
        try:
            found.append(Proof.model_validate_json(line))
        except ValidationError:
            continue
    return found


def last_runs(machine: Machine) -> list[LastRun]:
    """The scheduled backups that have run on this machine."""
    found = []
    for kind in ("full", "diff", "incr"):
        fields = (machine.read(LAST_RUN.format(kind=kind)) or b"").decode(errors="replace").split()
        if len(fields) >= 2 and fields[0].isdigit():
            ended = datetime.fromtimestamp(int(fields[0]), UTC)
            found.append(LastRun(kind, ended, fields[1], fields[2] if len(fields) > 2 else ""))
    return found
