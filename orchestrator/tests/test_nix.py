"""`test` and `image build --builder nix`, with a `nix` program that answers as Nix does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pgha_orch.cli import cli
from pgha_orch.errors import OrchError
from pgha_orch.image import list_images

MANIFEST = {
    "contract": 1,
    "role": "etcd",
    "builder": "nix",
    "build_id": "ab" * 32,
    "system": "x86_64-linux",
    "components": {"etcd": "3.5.31"},
}
# Records its arguments; builds what is named "good", fails as a scenario's assertion fails otherwise.
NIX = """#!/bin/sh
echo "$*" >> {calls}
case "$*" in
  *switchover|*nspawn) echo 'vm-test> all fine' >&2; echo {output}
    while [ $# -gt 1 ]; do [ "$1" = --out-link ] && {{ rm -f "$2"; ln -s {output} "$2"; }}; shift; done;;
  *) echo 'vm-test> AssertionError: 3 rows acknowledged, 2 there' >&2; echo 'error: builder failed' >&2; exit 1;;
esac
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `nix` on PATH, and where it writes what it was called with."""
    output = tmp_path / "store" / "result"
    (output / "etc/pgha").mkdir(parents=True)
    (output / "etc/pgha/image.json").write_text(json.dumps(MANIFEST))
    program = tmp_path / "bin" / "nix"
    program.parent.mkdir()
    program.write_text(NIX.format(calls=tmp_path / "calls", output=output))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return tmp_path / "calls"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def test_the_list_names_every_scenario_and_what_it_shows() -> None:
    done = _run("test", "--list")
    assert done.exit_code == 0
    assert "switchover: A planned switchover" in done.output
    assert "default:" not in done.output


def test_without_nix_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for arguments in (["test", "switchover"], ["image", "build", "etcd", "--builder", "nix"]):
        done = _run(*arguments, *(["--image-dir", str(tmp_path)] if "build" in arguments else []))
        assert isinstance(done.exception, OrchError)
        assert str(done.exception.message) == "nix: not found"
        assert "https://nixos.org/download" in str(done.exception.hint)


def test_a_name_that_is_no_scenario_is_told_the_ones_there_are(calls: Path) -> None:
    done = _run("test", "switchoff")
    assert isinstance(done.exception, OrchError)
    assert "'switchoff' is no scenario" in done.exception.message
    assert "switchover" in str(done.exception.hint)
    assert not calls.exists()


def test_a_failed_scenario_fails_the_command_and_the_others_still_run(calls: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    done = _run("test", "partition", "switchover", "--logs", str(logs))
    assert isinstance(done.exception, OrchError)
    assert done.exception.message == "1 of 2 scenarios failed: partition"
    assert "FAILED" in done.output
    assert "passed" in done.output
    assert "3 rows acknowledged, 2 there" in (logs / "partition.log").read_text()
    assert [line.rpartition("#")[2].split(".")[-1] for line in calls.read_text().splitlines()] == [
        "scenario-partition",
        "scenario-switchover",
    ]


def test_an_image_built_by_nix_is_in_the_store_for_deploy(calls: Path, tmp_path: Path) -> None:
    store = tmp_path / "images"
    done = _run("image", "build", "etcd", "--builder", "nix", "--image-dir", str(store))
    assert done.exit_code == 0, done.exception
    (image,) = list_images(store)
    assert (image.role, image.builder, image.build_id) == ("etcd", "nix", "ab" * 32)
    assert (image.root / "etc/pgha/image.json").is_file()
    assert f"--out-link {image.root}" in calls.read_text()


def test_an_image_that_nix_cannot_build_leaves_its_log_and_no_image(calls: Path, tmp_path: Path) -> None:
    Path(tmp_path / "bin/nix").write_text("#!/bin/sh\necho 'error: attribute missing' >&2; exit 1\n")
    store = tmp_path / "images"
    done = _run("image", "build", "etcd", "--builder", "nix", "--image-dir", str(store))
    assert isinstance(done.exception, OrchError)
    assert "error: attribute missing" in done.exception.message
    assert list_images(store) == []
    assert "attribute missing" in (store / "etcd/build.log").read_text()
