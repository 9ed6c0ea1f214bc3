"""What a restore remembers, so that it can go on where it was broken off, and what past restores took back."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from pgha_orch.errors import OperationError, UsageError
from pgha_orch.state import StateDir

OPEN = "restore.json"
PAST = "restores.json"


class Stage(StrEnum):
    """The steps of a restore, in order. A journal names the last one that is behind it."""

    PLANNED = "planned"
    STOPPED = "stopped"  # no Patroni, no PostgreSQL
    KEPT = "kept"  # old data moved aside on every node
    PROMOTING = "promoting"  # the first node is at the target; from here on a new timeline may be in the archive
    RECOVERED = "recovered"  # the first node is promoted and shut down, the others have the same backup
    FORGOTTEN = "forgotten"  # etcd knows no leader, no member and no sync standby
    LEADING = "leading"  # the first node leads
    JOINED = "joined"  # all others stream


ORDER = tuple(Stage)


class Journal(BaseModel):
    """A restore under way. `id` names the kept directories: UTC, 20261123T184500Z."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    to: str
    target_at: datetime | None
    options: tuple[str, ...]
    label: str
    lsn_stop: str
    timeline: int
    timeline_before: int
    first: str
    began: datetime
    stage: Stage = Stage.PLANNED
    recovered_to: str = ""

    @property
    def kept(self) -> str:
        """Name of the directory that holds a node's old data, beside its data directory."""
        return f"before-{self.id}"

    def past(self, stage: Stage) -> bool:
        return ORDER.index(self.stage) >= ORDER.index(stage)


class Restored(BaseModel):
    """A restore that was completed. Between `target_at` and `began` the cluster was on `timeline_before`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    to: str
    target_at: datetime | None
    began: datetime
    ended: datetime
    label: str
    timeline_before: int


_PAST = TypeAdapter(tuple[Restored, ...])


def load(state: StateDir) -> Journal | None:
    """The restore that is under way; None when none is."""
    raw = state.read(OPEN)
    if raw is None:
        return None
    try:
        return Journal.model_validate_json(raw)
    except ValidationError as exc:
        raise OperationError(
            f"{state.path(OPEN)}: not a journal of a restore: {exc.errors()[0]['msg']}",
            hint="restore the state directory from a copy",
        ) from exc


def save(state: StateDir, journal: Journal) -> None:
    state.write(OPEN, journal.model_dump_json(indent=2).encode() + b"\n")


def past(state: StateDir) -> tuple[Restored, ...]:
    """Completed restores, newest first."""
    raw = state.read(PAST)
    return _PAST.validate_json(raw) if raw else ()


def close(state: StateDir, journal: Journal, ended: datetime) -> None:
    """The restore is complete: remember what it took back, and forget the journal."""
    done = Restored(
        id=journal.id,
        to=journal.to,
        target_at=journal.target_at,
        began=journal.began,
        ended=ended,
        label=journal.label,
        timeline_before=journal.timeline_before,
    )
    others = tuple(r for r in past(state) if r.id != journal.id)
    state.write(PAST, _PAST.dump_json((done, *others), indent=2) + b"\n")
    state.delete(OPEN)


def refuse_if_open(state: StateDir, what: str) -> None:
    """Raise UsageError while a restore is under way."""
    journal = load(state)
    if journal is not None:
        raise UsageError(
            f"{what}: a restore to {journal.to} is under way (step after: {journal.stage})",
            hint="pgha-orch restore --resume goes on with it, --undo takes it back while it can",
        )
