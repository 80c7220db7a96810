"""A generated copy of CIFAR-100's binary format, read as the real one is."""

import numpy as np
import pytest

from moenas.data.cache import cached_images
from moenas.data.sources.cifar100 import FILES, is_cifar100, make_cifar100
from moenas.errors import DataError
from moenas.workflows.data import make_manifest, open_manifest

COARSE = ["fish", "flowers", "people", "trees"]
FINE = [f"{name}-{i}" for name in COARSE for i in range(5)]


def images(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def records(pictures):
    """Labels in turn; planes of red, green and blue, as in the published files."""
    fine = np.arange(len(pictures)) % len(FINE)
    planes = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)
    return np.hstack([(fine // 5)[:, None], fine[:, None], planes]).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    records(images(400, 1)).tofile(folder / "train.bin")
    records(images(160, 2)).tofile(folder / "test.bin")
    (folder / "coarse_label_names.txt").write_text("\n".join(COARSE) + "\n")
    (folder / "fine_label_names.txt").write_text("\n".join(FINE) + "\n\n")
    return folder


def test_people_against_the_rest(folder, tmp_path):
    assert is_cifar100(folder)
    assert not is_cifar100(tmp_path)
    frame = make_cifar100(folder, tmp_path / "out").frame
    counts = frame.groupby(["split", "label"]).size().to_dict()
    assert counts == {
        ("train", 1): 90, ("train", 0): 90, ("val", 1): 10, ("val", 0): 10,
        ("search", 1): 13, ("search", 0): 27, ("report", 1): 27, ("report", 0): 53,
    }  # fmt: skip
    assert ((frame["fine"].str.startswith("people")) == (frame["label"] == 1)).all()
    assert frame["group"].isna().all()
    poor = frame["lighting"].isin(["dimly_lit", "underexposed"])
    assert 0.2 < poor[frame["split"] == "report"].mean() < 0.45


def test_pixels_are_those_of_the_file(folder, tmp_path):
    manifest = make_cifar100(folder, tmp_path / "out")
    stored = cached_images(manifest, 32, tmp_path / "cache", progress=False)
    given = {picture.tobytes() for picture in (*images(400, 1), *images(160, 2))}
    pictures = np.asarray(stored.images)
    if pictures.shape[1] == 3:
        pictures = pictures.transpose(0, 2, 3, 1)
    well = manifest.frame["lighting"] == "well_lit"
    same = np.array([np.ascontiguousarray(p).tobytes() in given for p in pictures])
    assert same[well].all()
    assert not same[~well].any()


def test_the_same_seed_gives_the_same_images_and_another_others(folder, tmp_path):
    one, same, other = (make_cifar100(folder, tmp_path / f"o{i}", i // 2) for i in (0, 1, 2))
    assert one.frame.equals(same.frame)
    for path in set(one.frame["path"]):
        assert one.file(path).read_bytes() == same.file(path).read_bytes()
    assert not one.frame["fine"].equals(other.frame["fine"])


def test_the_command_finds_out_what_the_folder_is(folder, tmp_path):
    path = make_manifest(str(folder), tmp_path / "data")
    assert path == tmp_path / "data" / "manifest.parquet"
    assert path.exists()


def test_test_images_that_are_in_training_are_left_out(folder, tmp_path):
    pictures = images(160, 2)
    pictures[10:15] = images(400, 1)[10:15]  # people
    records(pictures).tofile(folder / "test.bin")
    frame = make_cifar100(folder, tmp_path / "out").frame
    assert (frame["label"][frame["split"].isin(["search", "report"])] == 1).sum() == 35


def test_equal_images_of_one_file_are_taken_once(folder, tmp_path):
    pictures = images(400, 1)
    pictures[30:35] = pictures[10:15]  # people: fine labels 10 to 14 of 20
    records(pictures).tofile(folder / "train.bin")
    frame = make_cifar100(folder, tmp_path / "out").frame
    assert (frame["label"][frame["split"].isin(["train", "val"])] == 1).sum() == 95


def test_a_file_without_people_is_refused(folder, tmp_path):
    records(images(400, 1)[:10]).tofile(folder / "train.bin")  # fish and flowers
    with pytest.raises(DataError, match=r"train\.bin' has no image of people"):
        make_cifar100(folder, tmp_path / "out")


def test_runs_take_it_as_it_is_and_refuse_a_part(folder, tmp_path):
    assert len(open_manifest(str(folder), 32, tmp_path / "out")) == 320
    with pytest.raises(DataError, match=r"is a part of CIFAR-100: give the whole folder"):
        open_manifest(str(folder / "train.bin"), 32)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder, tmp_path, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"has no {name}: give the folder cifar-100-binary"):
        make_cifar100(folder, tmp_path / "out")


def test_a_file_that_is_cut_short_is_refused(folder, tmp_path):
    whole = (folder / "test.bin").read_bytes()
    (folder / "test.bin").write_bytes(whole[:-7])
    with pytest.raises(DataError, match="it is not whole"):
        make_cifar100(folder, tmp_path / "out")
    (folder / "test.bin").write_bytes(b"")
    with pytest.raises(DataError, match="0 bytes"):
        make_cifar100(folder, tmp_path / "out")


def test_a_label_without_a_name_is_refused(folder, tmp_path):
    (folder / "fine_label_names.txt").write_text("\n".join(FINE[:12]))
    with pytest.raises(DataError, match=r"record 12: label 12, but there are 12 names"):
        make_cifar100(folder, tmp_path / "out")
    (folder / "coarse_label_names.txt").write_text("fish\nflowers\n")
    with pytest.raises(DataError, match="no class 'people'"):
        make_cifar100(folder, tmp_path / "out")


def test_sheets_that_are_there_stay_as_they_are(folder, tmp_path):
    manifest = make_cifar100(folder, tmp_path / "out")
    paths = sorted({manifest.file(path) for path in manifest.frame["path"]})
    before = [path.stat().st_mtime_ns for path in paths]
    make_cifar100(folder, tmp_path / "out")
    assert [path.stat().st_mtime_ns for path in paths] == before
