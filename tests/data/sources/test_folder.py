from __future__ import annotations

import logging
import os
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data.counts import describe
from moenas.data.sources import SOURCES
from moenas.data.sources.folder import read_folder
from moenas.errors import DataError


def _fill(folder: Path, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(count):
        pixels = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels, "RGB").save(folder / f"{number}.png")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    _fill(tmp_path / "set" / "person", 20, 0)
    _fill(tmp_path / "set" / "no_person", 20, 1)
    return tmp_path / "set"


def test_two_subfolders_are_enough(tree):
    manifest = SOURCES["folder"](tree)
    manifest.validate()
    counts = describe(manifest)
    assert sum(c["n"] for c in counts.values()) == 40
    assert all(c["positives"] * 2 == c["n"] for c in counts.values())
    assert manifest.frame["source"].eq("folder").all()
    again = read_folder(tree)
    pd.testing.assert_frame_equal(manifest.frame, again.frame)


def test_splits_above_are_kept(tmp_path):
    for seed, split in enumerate(("train", "val", "search", "report")):
        _fill(tmp_path / split / "person" / "deeper", 2, 2 * seed)
        _fill(tmp_path / split / "no_person", 3, 2 * seed + 1)
    manifest = read_folder(tmp_path)
    manifest.validate()
    assert describe(manifest)["val"]["n"] == 5
    assert "train/person/deeper/0.png" in set(manifest.frame["path"])


def test_copies_stay_in_one_split(tree):
    for number in range(20):
        shutil.copy(tree / "person" / f"{number}.png", tree / "person" / f"copy{number}.png")
    read_folder(tree).validate()


def test_shares_are_the_users(tree):
    manifest = read_folder(tree, {"train": 0.5, "report": 0.5})
    assert {s: c["n"] for s, c in describe(manifest).items()} == {"train": 20, "report": 20}
    with pytest.raises(DataError, match="Unknown split 'test'"):
        read_folder(tree, {"train": 0.5, "test": 0.5})


def test_other_files_are_ignored_aloud(tree, caplog):
    (tree / "person" / "notes.txt").write_text("hello")
    (tree / "person" / ".DS_Store").write_text("hello")
    with caplog.at_level(logging.WARNING, logger="moenas"):
        assert len(read_folder(tree)) == 40
    assert "1 files" in caplog.text
    assert "notes.txt" in caplog.text


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ([], "has no subfolders. It needs the subfolders person/ and no_person/"),
        (["person"], "no subfolder no_person/"),
        (["cats", "dogs"], "has cats/, dogs/. It needs"),
        (["train/person", "train/no_person", "test/person"], "has test/, train/. It needs"),
        (["train/person", "train/no_person", "person"], "has person/, train/. It needs"),
        (["person", "no_person"], "holds no images"),
    ],
)
def test_other_layouts_are_explained(tmp_path, folders, message):
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="There is no folder or CSV file"):
        read_folder(tmp_path / "none")


def _csv(tree: Path, **columns: object) -> Path:
    paths = [f"{name}/{number}.png" for name in ("person", "no_person") for number in range(20)]
    frame = pd.DataFrame({"path": paths, "label": [1] * 20 + [0] * 20}).assign(**columns)
    frame.to_csv(tree / "data.csv", index=False)
    return tree / "data.csv"


def test_csv_with_all_columns(tree):
    groups = [number % 2 + 1 for number in range(20)] + [None] * 20
    split = [("train", "val", "search", "report")[n % 20 // 5] for n in range(40)]
    file = _csv(tree, group=groups, split=split, lighting="well_lit", x=1, y=2, width=5, height=4,
                age="old")  # fmt: skip
    manifest = read_folder(file)
    manifest.validate()
    assert manifest.boxes()[7] == (1, 2, 5, 4)
    assert manifest.frame["age"].eq("old").all()
    assert describe(manifest)["report"]["groups"] == {"1": 2, "2": 3}
    assert manifest.frame["cluster"].nunique() == 40


def test_csv_is_split_by_its_clusters(tree):
    manifest = read_folder(_csv(tree, cluster=[f"film{number // 4}" for number in range(40)]))
    assert manifest.frame.groupby("cluster")["split"].nunique().max() == 1
    assert manifest.frame["split"].nunique() == 4


def test_copies_stay_together_whatever_the_users_clusters(tree):
    for number in range(20):
        shutil.copy(tree / "person" / f"{number}.png", tree / "person" / f"copy{number}.png")
    frame = pd.read_csv(_csv(tree)).assign(cluster=[f"film{number // 2}" for number in range(40)])
    copies = frame[:20].assign(
        path=[f"person/copy{number}.png" for number in range(20)],
        cluster=[f"other{number}" for number in range(20)],
    )
    pd.concat([frame, copies]).to_csv(tree / "data.csv", index=False)
    manifest = read_folder(tree / "data.csv")
    manifest.validate()
    assert manifest.frame["cluster"].nunique() == 20
    assert manifest.frame["split"].nunique() == 4


def test_matched_rows_stay_together(tree):
    manifest = read_folder(_csv(tree, matched_set=[f"scene{number // 4}" for number in range(40)]))
    assert manifest.frame.groupby("matched_set")["split"].nunique().max() == 1
    assert manifest.frame["cluster"].nunique() == 10


def test_linked_folders_are_looked_into(tree, tmp_path):
    _fill(tmp_path / "far", 5, 7)
    (tree / "person" / "more").symlink_to(tmp_path / "far")
    assert len(read_folder(tree)) == 45


def test_a_name_that_is_no_text_is_told(tree):
    name = os.fsdecode(b"gr\xfc\xdfe.png")
    try:
        (tree / "person" / "0.png").rename(tree / "person" / name)
    except OSError:
        pytest.skip("this file system has names of text alone")
    with pytest.raises(DataError, match=r"person/gr.*\.png' in .* is no UTF-8 text.*Rename it"):
        read_folder(tree)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_may_be_spelt_in_either_way(tree, form):
    (tree / "person" / "0.png").rename(tree / "person" / unicodedata.normalize(form, "é.png"))
    other = unicodedata.normalize("NFD" if form == "NFC" else "NFC", "person/é.png")
    frame = pd.read_csv(_csv(tree)).replace({"path": {"person/0.png": other}})
    frame.to_csv(tree / "data.csv", index=False)
    manifest = read_folder(tree / "data.csv")
    manifest.validate(need_splits=())
    assert manifest.file(manifest.frame["path"][0]).exists()


def test_hidden_folders_hold_no_images(tree):
    (tree / "person" / ".thumbnails").mkdir()
    shutil.copy(tree / "person" / "0.png", tree / "person" / ".thumbnails" / "small.png")
    assert len(read_folder(tree)) == 40


def test_crops_of_one_picture_stay_together(tree):
    file = tree / "crops.csv"
    rows = [f"person/{n // 2}.png,{n % 2},{4 * (n % 2)},0,4,8" for n in range(40)]
    file.write_text("path,label,x,y,width,height\n" + "\n".join(rows))
    manifest = read_folder(file)
    manifest.validate()
    assert manifest.frame.groupby("path")["split"].nunique().max() == 1


def test_labels_may_be_words(tree):
    manifest = read_folder(_csv(tree, label=["person"] * 20 + ["No_Person "] * 20))
    assert manifest.frame["label"].tolist() == [1] * 20 + [0] * 20


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,1\n", "no column 'path'; it has 'file', 'label'"),
        ("path\na.png\n", "no column 'label'"),
        ("path,label\n", "no rows"),
        ("", "cannot be read as a CSV"),
        ("path,label\na.png,1\nb.png,maybe\n", "row 1: the label 'maybe' is none of"),
        ("path,label\na.png,1\nb.png,\n", "row 1: the label"),
        ("path,label\na.png,1\n/etc/b.png,1\n", "row 1: the path '/etc/b.png' is absolute"),
        ("path,label\n../b.png,1\na.png,0\n", "'../b.png' leaves the folder"),
        ("path,label\n,1\na.png,0\n", "'path' is empty in row 0"),
        ("path,label,x\na.png,1,left\n", "'x' holds 'left'"),
    ],
)
def test_bad_csv_files_are_explained(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path / "a.csv")
