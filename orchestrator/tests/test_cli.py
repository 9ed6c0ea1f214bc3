"""The command line as a new user meets it: help, exit codes, one clear error. Boots nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from inventories import GOOD

from pgha_orch import __version__
from pgha_orch.cli import cli

ORCH = str(Path(sys.executable).with_name("pgha-orch"))
BAD = Path(__file__).with_name("bad_inventories")
# Commands that read an inventory first, with what else they cannot do without.
READERS = {
    "check": [],
    "deploy": [],
    "destroy": ["--yes"],
    "exec": ["pg-1", "true"],
    "logs": ["pg-1"],
    "plan": [],
    "psql": [],
    "render": ["--out", "out"],
    "ssh": ["pg-1", "true"],
    "status": [],
}


def orch(*arguments: str | Path, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PGHA_")}
    return subprocess.run(
        [ORCH, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
        cwd=cwd,
        env=clean | {"COLUMNS": "200"} | env,
    )


@pytest.fixture
def hosts(tmp_path: Path) -> Path:
    path = tmp_path / "hosts.yml"
    path.write_text(GOOD)
    return path


def commands(group: click.Group, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*above, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))


ALL = dict(commands(cli))


@pytest.mark.parametrize("path", list(ALL), ids=" ".join)
def test_every_command_explains_itself_and_every_option_of_it(path: tuple[str, ...]) -> None:
    command = ALL[path]
    with click.Context(command, info_name=" ".join(path)) as context:
        said = command.get_help(context)

    assert said.startswith(f"Usage: {' '.join(path)}")
    assert command.help and command.help.split("\n")[0].rstrip().endswith((".", ";", ",", ":"))
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts[-1]} has no help"


def test_help_and_version_end_well() -> None:
    for arguments in (["--help"], ["-h"], ["deploy", "--help"], ["image", "build", "-h"]):
        done = orch(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("Usage: pgha-orch")
    assert orch("--version").stdout == f"pgha-orch, version {__version__}\n"
    assert "0 done, 1 an operation failed or a cluster is unhealthy, 2 bad usage" in " ".join(
        orch("--help").stdout.split()
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["deplyo"], "No such command 'deplyo'"),
        (["deploy"], "Missing argument 'HOSTS_YML'"),
        (["status"], "missing argument HOSTS_YML"),
        (["deploy", "hosts.yml", "--fast"], "--fast"),
        (["status", "hosts.yml", "--interval", "0"], "'--interval'"),
        (["logs", "hosts.yml", "pg-1", "-n", "0"], "'-n' / '--lines'"),
        (["exec", "hosts.yml", "pg-1"], "Missing argument 'COMMAND...'"),
        (["image", "build", "mysql"], "'mysql' is not one of"),
        (["render", "hosts.yml"], "Missing option '--out'"),
    ],
)
def test_bad_usage_is_exit_code_2_and_one_error(hosts: Path, arguments: list[str], says: str) -> None:
    done = orch(*arguments, cwd=hosts.parent)

    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""
    assert not (hosts.parent / ".pgha").exists(), "it changed something"


@pytest.mark.parametrize("command", list(READERS))
def test_a_missing_file_is_exit_code_2_and_names_it(tmp_path: Path, command: str) -> None:
    done = orch(command, "nowhere.yml", *READERS[command], cwd=tmp_path)

    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith("error: nowhere.yml: no such file")
    assert len(done.stderr.splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", list(READERS))
def test_a_bad_inventory_is_exit_code_2_with_line_field_and_hint_and_changes_nothing(
    tmp_path: Path, command: str
) -> None:
    bad = tmp_path / "hosts.yml"
    bad.write_bytes((BAD / "duplicate_address.yml").read_bytes())

    done = orch(command, bad, *READERS[command], cwd=tmp_path)

    assert done.returncode == 2
    assert f"{bad}:" in done.stderr
    assert "address" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [p.name for p in tmp_path.iterdir()] == ["hosts.yml"]


@pytest.mark.parametrize("path", sorted(BAD.glob("*.yml")), ids=lambda p: p.stem)
def test_check_says_what_is_wrong_and_where(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    # In this process: 138 starts of Python would take minutes. What main() adds is shown above.
    from pgha_orch.errors import UsageError

    with pytest.raises(UsageError) as caught:
        cli.main(["check", str(path)], standalone_mode=False)

    assert caught.value.exit_code == 2
    assert str(path) in caught.value.message
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("command", ["exec", "logs", "ssh"])
@pytest.mark.parametrize(("host", "hint"), [("pg-11", "did you mean pg-1?"), ("xyz", "hosts: etcd-1, etcd-2")])
def test_an_unknown_host_is_exit_code_2_with_the_nearest(hosts: Path, command: str, host: str, hint: str) -> None:
    done = orch(command, hosts, host, *(["true"] if command != "logs" else []))

    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == f"error: {host}: no such host in {hosts}"
    assert done.stderr.splitlines()[1].startswith(f"  next: {hint}")


def test_status_of_a_cluster_that_was_never_deployed_refuses_to_send_anything(hosts: Path) -> None:
    done = orch("status", hosts)

    assert done.returncode == 1
    assert "error: the cluster's bridge pgha-" in done.stderr
    assert "is not up, so nothing is sent to 10.9.0.11" in done.stderr
    assert "next: pgha-orch deploy" in done.stderr


def test_exec_on_a_machine_that_does_not_run_says_so(hosts: Path) -> None:
    done = orch("exec", hosts, "pg-1", "true")

    assert (done.returncode, done.stderr) == (1, "error: pg-1: it does not run\n  next: pgha-orch deploy starts it\n")


def test_a_user_who_is_not_in_the_inventory_gets_the_names(hosts: Path) -> None:
    done = orch("psql", "-U", "nobody", hosts)

    # Whether the bridge is asked first is no matter: nothing is connected to either way.
    assert done.returncode in (1, 2)
    assert "error: " in done.stderr


def test_check_counts_the_hosts_and_its_warnings(hosts: Path) -> None:
    done = orch("check", hosts)

    assert done.returncode == 0
    assert "cluster shop: 3 etcd, 3 postgres, 2 haproxy, 1 backup; " in done.stdout


def test_schemas_are_json_schemas(tmp_path: Path) -> None:
    for arguments in (["schema"], ["status", "--json-schema"]):
        document = json.loads(orch(*arguments, cwd=tmp_path).stdout)
        assert document["type"] == "object"
        assert document["additionalProperties"] is False


def test_render_writes_a_tree_and_an_archive_per_host_for_its_owner_only(hosts: Path, tmp_path: Path) -> None:
    done = orch("render", hosts, "--out", tmp_path / "out")

    assert done.returncode == 0, done.stderr
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert {"pg-1", "pg-1.tar", "etcd-3", "haproxy-2.tar", "backup"} <= names
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    secrets = json.loads((tmp_path / ".pgha/shop/secrets.json").read_text())
    assert secrets["superuser"] not in done.stdout + done.stderr


def test_the_state_directory_can_be_elsewhere(hosts: Path, tmp_path: Path) -> None:
    there = tmp_path / "state"
    for arguments, env in ((["--state-dir", str(there / "a")], {}), ([], {"PGHA_STATE_DIR": str(there / "b")})):
        assert orch("render", hosts, "--out", tmp_path / f"out{len(env)}", *arguments, **env).returncode == 0

    assert {p.name for p in there.iterdir()} == {"a", "b"}
    assert not (tmp_path / ".pgha").exists()


def test_ctrl_c_is_130_and_no_traceback(hosts: Path) -> None:
    # `destroy` waits at its question for as long as nobody answers.
    process = subprocess.Popen(
        [ORCH, "destroy", str(hosts)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stderr is not None
    said = b""
    if os.geteuid() != 0:
        pytest.skip("needs root: destroy refuses before it asks")
    while b"Type the cluster's name, shop" not in said:
        chunk = process.stderr.read(1)
        assert chunk, said
        said += chunk
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=20)

    assert process.returncode == 130
    assert b"interrupted" in rest
    assert b"Traceback" not in rest


def test_debug_shows_the_traceback_that_is_hidden_otherwise(hosts: Path) -> None:
    assert "Traceback" not in orch("exec", hosts, "pg-1", "true").stderr
    assert "Traceback" in orch("--debug", "exec", hosts, "pg-1", "true").stderr
