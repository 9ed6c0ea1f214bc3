"""Reading hosts.yml: what cannot be read, YAML's readings of words and numbers, all problems at once."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from inventories import GOOD, changed, load_text

from pgha_orch.inventory.load import InventoryError, load
from pgha_orch.inventory.model import Role
from pgha_orch.inventory.timings import PRESETS, Preset

EXAMPLES = Path(__file__).parents[2] / "examples"


def _refusal(path: Path) -> str:
    with pytest.raises(InventoryError) as caught:
        load(path)
    return str(caught.value)


@pytest.mark.parametrize("name", ["lab.yml", "guide.yml"])
def test_the_examples_load(name: str) -> None:
    loaded = load(EXAMPLES / name)

    assert loaded.path == EXAMPLES / name
    assert len(loaded.inventory.of_role(Role.ETCD)) == 3


def test_the_guide_example_has_the_guides_seven_hosts_and_addresses() -> None:
    hosts = load(EXAMPLES / "guide.yml").inventory.hosts

    assert {name: str(host.address) for name, host in hosts.items()} == {
        **{f"etcd-{i}": f"10.0.0.1{i}" for i in (1, 2, 3)},
        **{f"pg-{i}": f"10.0.0.2{i}" for i in (1, 2, 3)},
        "haproxy": "10.0.0.30",
    }


def test_values_arrive_typed(tmp_path: Path) -> None:
    inventory = load_text(tmp_path, GOOD).inventory

    assert inventory.hosts["pg-2"].address == IPv4Address("10.9.0.22")
    assert next(iter(inventory.hosts)) == "etcd-1"
    assert inventory.timings == PRESETS[Preset.FAST]


def test_an_ipv6_cluster_loads(tmp_path: Path) -> None:
    text = GOOD.replace("10.9.0.0/24", "'fd00:9::/64'").replace("10.9.0.", "fd00:9::")

    inventory = load_text(tmp_path, text).inventory

    assert inventory.hosts["pg-1"].address == IPv6Address("fd00:9::21")


def test_no_file_names_the_yaml_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "hosts.yaml").write_text(GOOD)

    assert _refusal(tmp_path / "hosts.yml") == f"{tmp_path}/hosts.yml: no such file; there is hosts.yaml"


def test_no_file_in_no_directory_points_at_the_example(tmp_path: Path) -> None:
    assert "no such file; start from examples/lab.yml" in _refusal(tmp_path / "x" / "hosts.yml")


def test_a_directory_is_refused_with_the_file_in_it(tmp_path: Path) -> None:
    assert f"a directory, not a file; give the file in it, such as {tmp_path}/hosts.yml" in _refusal(tmp_path)


def test_a_file_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(GOOD)

    assert "cannot be read" in _refusal(tmp_path / "hosts.yml" / "x")


def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "hosts.yml"
    path.write_text(GOOD)
    path.chmod(0)
    user = os.geteuid()
    if user == 0:  # root reads everything: be nobody for a moment
        tmp_path.chmod(0o755)
        for parent in tmp_path.parents[:2]:
            parent.chmod(0o755)
        os.seteuid(65534)
    try:
        refusal = _refusal(path)
    finally:
        os.seteuid(user)

    assert "not permitted to read it; chmod u+r" in refusal


def test_a_file_without_end_is_refused() -> None:
    assert "larger than 1024 KiB" in _refusal(Path("/dev/zero"))


def test_a_byte_order_mark_is_no_problem(tmp_path: Path) -> None:
    assert load_text(tmp_path, b"\xef\xbb\xbf" + GOOD.encode()).inventory.cluster == "shop"


def test_utf_16_is_refused_with_the_line(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"hosts.yml:1: byte 0xff is not UTF-8 text; save it as UTF-8"):
        load_text(tmp_path, GOOD.encode("utf-16"))


def test_windows_line_ends_are_no_problem(tmp_path: Path) -> None:
    assert load_text(tmp_path, GOOD.replace("\n", "\r\n")).inventory.cluster == "shop"


def test_a_refusal_lists_every_problem_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = changed(
        ("version: 1", "version: 3"),
        ("10.9.0.12}", "10.9.0}"),
        ("backup: {}", "bakcup: {}"),
        ("  pg-3: {role: postgres", "  pg-2: {role: postgres"),
    )

    with pytest.raises(InventoryError) as caught:
        load_text(tmp_path, text)

    places = [(finding.line, finding.field) for finding in caught.value.findings]
    assert places == [(1, "version"), (8, "bakcup"), (11, "hosts.etcd-2.address"), (15, "hosts.pg-2")]


def test_a_finding_reads_file_line_field_value_message_and_hint(tmp_path: Path) -> None:
    with pytest.raises(InventoryError) as caught:
        load_text(tmp_path, changed(("version: 1", "version: 1\nmachines: docker")))

    assert str(caught.value) == (
        f"{tmp_path}/hosts.yml:2: machines: docker: not one of the allowed values; allowed: nspawn, qemu, ssh"
    )


def test_a_long_line_of_a_block_is_placed_at_its_own_line(tmp_path: Path) -> None:
    block = "  pg-2:\n    role: postgres\n    address: 10.8.0.22\n    zone: a"

    with pytest.raises(InventoryError) as caught:
        load_text(tmp_path, changed(("  pg-2: {role: postgres, address: 10.9.0.22}", block)))

    assert [(f.line, f.field) for f in caught.value.findings] == [(16, "hosts.pg-2.address")]


@pytest.mark.parametrize("word", ["off", "'off'", "auto"])
def test_a_word_that_yaml_reads_as_false_is_taken_where_it_is_a_choice(tmp_path: Path, word: str) -> None:
    text = changed(("postgresql:\n", f"postgresql:\n  watchdog: {word}\n"))

    assert load_text(tmp_path, text).inventory.postgresql.watchdog == word.strip("'")


@pytest.mark.parametrize(("word", "value"), [("on", True), ("no", False), ("0.5", 0.5), ("1GB", "1GB"), ("4", 4)])
def test_a_parameter_keeps_its_type(tmp_path: Path, word: str, value: object) -> None:
    text = changed(("postgresql:\n", f"postgresql:\n  parameters: {{pg.x: {word}}}\n"))

    kept = load_text(tmp_path, text).inventory.postgresql.parameters["pg.x"]

    assert kept == value
    assert type(kept) is type(value)


def test_a_date_stays_text(tmp_path: Path) -> None:
    text = changed(("postgresql:\n", "postgresql:\n  parameters: {app.since: 2026-01-31}\n"))

    assert load_text(tmp_path, text).inventory.postgresql.parameters["app.since"] == "2026-01-31"


@pytest.mark.parametrize("word", ["true", "'5'", "5.0", "~"])
def test_a_number_is_not_guessed_from_other_types(tmp_path: Path, word: str) -> None:
    with pytest.raises(InventoryError, match=r"haproxy\.port_rw"):
        load_text(tmp_path, changed(("backup: {}", f"backup: {{}}\nhaproxy: {{port_rw: {word}}}")))


def test_a_secret_is_never_shown_even_where_a_host_is_named_like_one(tmp_path: Path) -> None:
    text = changed(("postgresql:\n", "postgresql:\n  token: [hunter2]\n  password: {a: hunter2}\n"))

    with pytest.raises(InventoryError) as caught:
        load_text(tmp_path, text)

    assert "hunter2" not in str(caught.value)
    assert str(caught.value).count("a secret does not belong in an inventory") == 2


# --- Whatever the file holds, the answer is an inventory or a refusal.

_fuzz = settings(
    max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
_scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["10.9.0.5", "::1/0"])
)
_trees = st.recursive(
    _scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
_lines = GOOD.splitlines()


@_fuzz
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@example(b"\x00")
@example(b"? [a]\n: b\n")
@example(b"a: !!int x\n")
@example(b"a: !!float '_'\n")
@example(b"a: !!bool maybe\n")
@example(b"a: &x [*x]\n")
@example(b"%YAML 9.9\n---\na: 1\n")
@example(b'a: "\\ud800"\n')
@example(b"a: 0x" + b"f" * 9000)
@example(b"a: " + b"9" * 9000)
@example(b"a: 1e400\n")
def test_any_bytes_load_or_are_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(InventoryError) as caught:
        load_text(tmp_path, data)

    assert caught.value.findings


@_fuzz
@given(st.integers(0, len(_lines) - 1), st.text(max_size=12), st.integers(0, 40), st.integers(0, 12))
def test_a_good_file_with_a_slip_of_the_hand_loads_or_is_refused(
    tmp_path: Path, line: int, slip: str, at: int, gone: int
) -> None:
    lines = list(_lines)
    lines[line] = lines[line][:at] + slip + lines[line][at + gone :]
    _load_or_refuse(tmp_path, "\n".join(lines))


@_fuzz
@given(st.sampled_from(["failover", "image", "ntp", "haproxy", "gateway", "operators", "drills", "nonsense"]), _trees)
def test_any_value_in_any_field_loads_or_is_refused(tmp_path: Path, field: str, value: object) -> None:
    _load_or_refuse(tmp_path, GOOD + yaml.safe_dump({field: value}, allow_unicode=True))


def _load_or_refuse(directory: Path, text: str) -> None:
    try:
        loaded = load_text(directory, text.encode("utf-8", "surrogatepass"))
    except InventoryError as exc:
        assert exc.findings
        assert all(finding.message for finding in exc.findings)
    else:
        assert loaded.inventory.hosts
