from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from moenas.data.cache import cached_images
from moenas.data.images import crop_and_resize, read_image
from moenas.data.manifest import Manifest
from moenas.data.parallel import parallel_map
from moenas.errors import DataError


def _expected(manifest: Manifest, size: int) -> np.ndarray:
    files = [manifest.root / path for path in manifest.frame["path"]]
    boxes = manifest.boxes()
    return np.stack(
        [crop_and_resize(read_image(f), box, size) for f, box in zip(files, boxes, strict=True)]
    )


def _only_file(folder: Path) -> Path:
    (path,) = folder.glob("*.bin")
    return path


def test_rows_are_the_manifests_rows(manifest, tmp_path):
    order = [3, 0, 11, 5, 5, 2]
    part = manifest.take(order)
    part.frame.loc[1, ["x", "y", "width", "height"]] = [2.0, 1.0, 8.0, 8.0]
    store = cached_images(part, 8, tmp_path, progress=False)
    np.testing.assert_array_equal(store.images, _expected(part, 8))
    assert store.images.dtype == np.uint8
    assert store.readable.all()
    assert store.size == 8
    assert not store.images.flags.writeable


def test_second_call_reads_the_same_file(manifest, tmp_path):
    cached_images(manifest, 8, tmp_path, progress=False)
    before = _only_file(tmp_path).stat()
    cached_images(manifest, 8, tmp_path, progress=False)
    after = _only_file(tmp_path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_key_follows_content_rows_crops_and_size(manifest, tmp_path):
    def files() -> int:
        return len(list(tmp_path.glob("*.bin")))

    cached_images(manifest, 8, tmp_path, progress=False)
    cached_images(manifest, 9, tmp_path, progress=False)
    assert files() == 2
    manifest.frame.loc[0, ["x", "y", "width", "height"]] = [0.0, 0.0, 4.0, 4.0]
    cached_images(manifest, 8, tmp_path, progress=False)
    assert files() == 3
    cached_images(manifest.take([1, 0]), 8, tmp_path, progress=False)
    assert files() == 4
    status = (manifest.root / "03.png").stat()
    Image.new("RGB", (20, 10), (9, 9, 9)).save(manifest.root / "03.png")
    os.utime(manifest.root / "03.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    store = cached_images(manifest, 8, tmp_path, progress=False)
    assert files() == 5
    assert (store.images[3] == 9).all()


@pytest.mark.parametrize("damage", ["truncate", "flip", "foreign", "empty", "tail"])
def test_damaged_cache_is_made_anew(manifest, tmp_path, damage):
    cached_images(manifest, 8, tmp_path, progress=False)
    path = _only_file(tmp_path)
    data = bytearray(path.read_bytes())
    if damage == "truncate":
        data = data[: len(data) // 2]
    elif damage == "flip":
        data[4096 + 100] ^= 255
    elif damage == "foreign":
        data[:8] = b"PK\3\4zip!"
    elif damage == "tail":
        data[-3:] = b"???"
    else:
        data = bytearray()
    path.write_bytes(bytes(data))
    store = cached_images(manifest, 8, tmp_path, progress=False)
    np.testing.assert_array_equal(store.images, _expected(manifest, 8))
    assert sorted(p.suffix for p in tmp_path.iterdir() if p.is_file()) == [".bin", ".lock"]


def test_unreadable_images_are_reported_with_their_group(manifest, tmp_path, caplog):
    for row in (1, 2):
        (manifest.root / f"{row:02d}.png").write_bytes(b"\x89PNG nothing")
    with caplog.at_level(logging.WARNING, logger="moenas"):
        store = cached_images(manifest, 8, tmp_path, progress=False)
    assert "2 of 12 images cannot be read" in caplog.text
    assert "train/person/group 2: 1" in caplog.text
    assert "train/none/group none: 1" in caplog.text
    assert np.flatnonzero(~store.readable).tolist() == [1, 2]
    assert not store.images[1].any()
    skipped = store.skipped(manifest)
    assert skipped["path"].tolist() == ["01.png", "02.png"]
    assert skipped["error"].str.contains("cannot be read").all()
    again = cached_images(manifest, 8, tmp_path, progress=False)
    assert again.errors == store.errors


def test_nothing_readable_is_an_error(manifest, tmp_path):
    for file in manifest.root.iterdir():
        file.write_bytes(b"no")
    with pytest.raises(DataError, match="12 of 12 images cannot be read"):
        cached_images(manifest, 8, tmp_path, progress=False)


def test_empty_manifest_and_bad_size(manifest, tmp_path):
    with pytest.raises(DataError, match="empty"):
        cached_images(manifest.take([]), 8, tmp_path, progress=False)
    with pytest.raises(DataError, match="0 pixels"):
        cached_images(manifest, 0, tmp_path, progress=False)


class _Ask:
    def __init__(self, manifest: Manifest, folder: Path) -> None:
        self.manifest, self.folder = manifest, folder

    def __call__(self, _: int) -> tuple[int, int]:
        store = cached_images(self.manifest, 8, self.folder, progress=False)
        return _only_file(self.folder).stat().st_ino, int(store.images.astype(np.int64).sum())


def test_processes_that_ask_at_once_share_one_file(manifest, tmp_path):
    answers = list(parallel_map(_Ask(manifest, tmp_path), range(4), workers=2))
    assert len(set(answers)) == 1
    assert answers[0][1] == _expected(manifest, 8).astype(np.int64).sum()
