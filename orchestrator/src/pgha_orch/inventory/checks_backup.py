"""Rules about where backups go and when they are made."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pgha_orch.inventory import schedule
from pgha_orch.inventory.findings import Problem
from pgha_orch.inventory.model import Inventory, Role

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_ENDPOINT = re.compile(r"[A-Za-z0-9.-]+(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_PATH = re.compile(r"(/[A-Za-z0-9._-]+)+")


def _repository(inventory: Inventory) -> Iterator[Problem]:
    hosts = list(inventory.of_role(Role.BACKUP))
    backup = inventory.backup
    if backup is None:
        for name in hosts:
            message = "a backup host, but no `backup` section says what it does"
            yield Problem(("hosts", name), "", message, "add `backup: {}`, or remove the host")
        return
    if backup.repository.s3 is not None:
        for name in hosts:
            message = "a backup host, but backups go to S3"
            yield Problem(("hosts", name), "", message, "remove the host, or backup.repository.s3")
    elif not hosts:
        message = "no place to back up to"
        hint = "add a host with `role: backup`, or `backup.repository.s3`"
        yield Problem(("backup",), "", message, hint)
    for name in hosts[1:] if backup.repository.s3 is None else ():
        message = f"a second backup host: {hosts[0]} holds the repository"
        yield Problem(("hosts", name), "", message, "keep one")


def _schedule(inventory: Inventory) -> Iterator[Problem]:
    if inventory.backup is None:
        return
    given = inventory.backup.schedule
    texts = {
        ("schedule", "full"): given.full,
        ("schedule", "differential"): given.differential,
        ("schedule", "incremental"): given.incremental,
        ("prove", "schedule"): inventory.backup.prove.schedule,
    }
    bad = schedule.unreadable(text for text in texts.values() if text is not None)
    for field, text in texts.items():
        if text is not None and text in bad:
            hint = "write it as in systemd.time(7): `daily`, or `Sun *-*-* 01:00:00`; null for never"
            yield Problem(("backup", *field), text, "systemd does not read this as a schedule", hint)


def _s3(inventory: Inventory) -> Iterator[Problem]:
    s3 = inventory.backup.repository.s3 if inventory.backup else None
    if s3 is None:
        return
    rules = (
        ("bucket", s3.bucket, _BUCKET, "not a bucket name", "use a-z, 0-9, dots and hyphens, 3 to 63"),
        (
            "endpoint",
            s3.endpoint,
            _ENDPOINT,
            "not a host name",
            "write s3.eu-central-1.amazonaws.com, no https://",
        ),
        (
            "region",
            s3.region,
            _REGION,
            "not a region",
            "write eu-central-1; any word where the store has none",
        ),
        ("path", s3.path, _PATH, "not an absolute path", "write /pgbackrest"),
    )
    for field, value, form, message, hint in rules:
        if not form.fullmatch(value):
            # A URL may carry a password: only the part after it is shown.
            yield Problem(("backup", "repository", "s3", field), value.rpartition("@")[2], message, hint)


RULES: tuple[Callable[[Inventory], Iterator[Problem]], ...] = (_repository, _schedule, _s3)
