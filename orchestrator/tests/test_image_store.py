"""image.json, the build id and the image store."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgha_orch.errors import OperationError
from pgha_orch.image import Image, Manifest, list_images, manifest, newest, prune, store

DIGEST = "ab" * 32


def described(role: str = "etcd", build_id: str = DIGEST) -> Manifest:
    return Manifest(
        contract=1, role=role, builder="debian", build_id=build_id, system="x86_64-linux", components={"etcd": "3"}
    )


def put(image_dir: Path, *, role: str = "etcd", build_id: str = DIGEST, key: str = "0" * 64) -> Image:
    with store.locked(image_dir), store.staging(image_dir, role) as staged:
        (staged / "root").mkdir()
        return store.publish(staged, image_dir, described(role, build_id), key)


def test_a_manifest_survives_being_written_and_read(tmp_path: Path) -> None:
    path = tmp_path / "image.json"
    path.write_text(described().to_json())
    assert manifest.read(path) == described()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"contract": 1', '"contract": 2', "contract"),
        ('"role": "etcd"', '"role": "mail"', "role"),
        ('"builder"', '"bilder"', "builder"),
        ("{", "", "file"),
    ],
)
def test_a_manifest_that_breaks_the_contract_is_refused_with_file_and_field(
    tmp_path: Path, old: str, new: str, said: str
) -> None:
    path = tmp_path / "image.json"
    path.write_text(described().to_json().replace(old, new, 1))
    with pytest.raises(OperationError, match=rf"image\.json: {said}") as caught:
        manifest.read(path)
    assert caught.value.hint


def test_the_build_id_sees_content_mode_and_links_but_not_times(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc/file"
    file.write_text("one")
    (tmp_path / "link").symlink_to("etc/file")
    seen = {manifest.build_id(manifest.tree_lines(tmp_path))}

    file.touch()
    assert manifest.build_id(manifest.tree_lines(tmp_path)) in seen

    def is_new() -> bool:
        now = manifest.build_id(manifest.tree_lines(tmp_path))
        fresh = now not in seen
        seen.add(now)
        return fresh

    file.write_text("two")
    assert is_new()
    file.chmod(0o600)
    assert is_new()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("etc")
    assert is_new()


def test_image_json_is_not_part_of_the_hash_that_it_carries(tmp_path: Path) -> None:
    (tmp_path / "etc/pgha").mkdir(parents=True)
    before = manifest.build_id(manifest.tree_lines(tmp_path))
    (tmp_path / "etc/pgha/image.json").write_text("{}")
    assert manifest.build_id(manifest.tree_lines(tmp_path)) == before


def test_an_empty_store_says_how_to_get_an_image(tmp_path: Path) -> None:
    assert list_images(tmp_path / "nowhere") == []
    with pytest.raises(OperationError, match="no image of role haproxy") as caught:
        newest(tmp_path, "haproxy", "debian")
    assert caught.value.hint == "pgha-orch image build haproxy"


def test_the_newest_image_is_the_one_published_last(tmp_path: Path) -> None:
    first = put(tmp_path, build_id="11" * 32)
    second = put(tmp_path, build_id="22" * 32)
    assert newest(tmp_path, "etcd", "debian") == second
    assert put(tmp_path, build_id="11" * 32) == first, "the same content is the same image"
    assert newest(tmp_path, "etcd", "debian") == first
    assert {image.root for image in list_images(tmp_path)} == {first.root, second.root}


def test_a_broken_off_build_leaves_no_image(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), store.staging(tmp_path, "etcd") as staged:
        (staged / "root").mkdir()
        raise RuntimeError
    assert list_images(tmp_path) == []
    assert list((tmp_path / "etcd").iterdir()) == []


def test_what_a_killed_build_left_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / "etcd/.new-killed/root"
    left.mkdir(parents=True)
    assert list_images(tmp_path) == []
    store.sweep(tmp_path)
    assert not left.exists()


def test_prune_keeps_the_newest_and_what_machines_run_on(tmp_path: Path) -> None:
    gone = put(tmp_path, build_id="11" * 32)
    used = put(tmp_path, build_id="22" * 32)
    last = put(tmp_path, build_id="33" * 32)
    other = put(tmp_path, role="backup")
    assert prune(tmp_path, keep={used.directory}) == [gone.directory]
    assert {image.root for image in list_images(tmp_path)} == {used.root, last.root, other.root}
