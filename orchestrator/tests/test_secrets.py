"""Passwords: made once, added to, never shown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from identities import LAB, WIDE, inventory

from pgha_orch import secrets
from pgha_orch.errors import UsageError
from pgha_orch.state import StateDir

KEYS = {"PGHA_S3_ACCESS_KEY": "AKIA/x+=", "PGHA_S3_SECRET_KEY": "s3cr3t"}


@pytest.fixture
def state(tmp_path: Path) -> StateDir:
    return StateDir.open(tmp_path / "s")


def stored(state: StateDir) -> dict[str, object]:
    raw = state.read(secrets.FILE)
    assert raw is not None
    data: dict[str, object] = json.loads(raw)
    return data


def test_passwords_need_no_quoting_anywhere_and_differ(state: StateDir) -> None:
    made = secrets.ensure(state, inventory(LAB))
    values = [v for v in stored(state).values() if isinstance(v, str)]
    values.append(made.users["app"].get_secret_value())
    assert len(values) == len(set(values)) == 7
    assert all(re.fullmatch(r"[A-Za-z0-9]{32}", value) for value in values)


def test_what_exists_never_changes(state: StateDir) -> None:
    first = secrets.ensure(state, inventory(LAB))
    assert secrets.ensure(state, inventory(LAB)) == first
    more = inventory(LAB.replace("users: [{name: app}]", "users: [{name: report}]"))
    second = secrets.ensure(state, more)
    assert second.superuser == first.superuser
    assert second.users["app"] == first.users["app"]
    assert "report" in second.users


def test_nothing_shows_a_value(state: StateDir) -> None:
    made = secrets.ensure(state, inventory(WIDE), environ=KEYS)
    hidden = [made.superuser.get_secret_value(), made.users["app"].get_secret_value(), "s3cr3t"]
    for shown in (repr(made), str(made), f"{made.users}", repr(made.s3), repr(made.model_dump())):
        assert not any(value in shown for value in hidden)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "file: json_invalid"),
        (b'{"superuser": "abcdefghijklmnopqrstuv', "file: json_invalid"),
        (b"[]", "file: "),
        (b'{"superuser": "x"}', "superuser: too_short"),
        (b'{"superuser": 7, "unknown": "verysecretverysecret"}', "unknown: extra_forbidden"),
        (b"\xff\xfe", "file: "),
    ],
)
def test_a_damaged_file_is_named_without_its_content(state: StateDir, content: bytes, says: str) -> None:
    state.write(secrets.FILE, content)
    with pytest.raises(UsageError) as caught:
        secrets.ensure(state, inventory(LAB))
    message = str(caught.value)
    assert f"{state.path('secrets.json')}: damaged or incomplete" in message
    assert says in message
    assert "verysecret" not in message
    assert "abcdef" not in message
    assert caught.value.__cause__ is None
    assert state.read(secrets.FILE) == content


def test_a_file_that_lacks_one_password_is_not_completed_behind_the_users_back(state: StateDir) -> None:
    secrets.ensure(state, inventory(LAB))
    data = stored(state)
    del data["replicator"]
    state.write(secrets.FILE, json.dumps(data).encode())
    with pytest.raises(UsageError, match="replicator: missing"):
        secrets.ensure(state, inventory(LAB))


def test_s3_keys_come_from_the_environment_once(state: StateDir) -> None:
    with pytest.raises(UsageError, match="no keys for the bucket") as caught:
        secrets.ensure(state, inventory(WIDE), environ={})
    assert "PGHA_S3_ACCESS_KEY" in (caught.value.hint or "")
    secrets.ensure(state, inventory(WIDE), environ=KEYS)
    kept = secrets.ensure(state, inventory(WIDE), environ={})
    assert kept.s3 is not None
    assert kept.s3.access_key.get_secret_value() == "AKIA/x+="


def test_s3_keys_cannot_smuggle_a_line_into_a_config_file(state: StateDir) -> None:
    with pytest.raises(UsageError, match="a blank or a control character"):
        secrets.ensure(state, inventory(WIDE), environ={**KEYS, "PGHA_S3_SECRET_KEY": "x\nrepo1-path=/"})
