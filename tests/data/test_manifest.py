from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data.counts import describe
from moenas.data.manifest import COLUMNS, Manifest
from moenas.errors import DataError


def test_valid_manifest_passes(manifest):
    manifest.validate()


def test_defaults_and_types(manifest):
    frame = manifest.frame
    assert list(frame.columns) == list(COLUMNS)
    assert frame["label"].dtype == np.int8
    assert str(frame["group"].dtype) == "Int16"
    assert frame["cluster"].tolist() == frame["image_id"].tolist() == frame["path"].tolist()
    assert frame["weight"].eq(1).all()
    assert frame["matched_set"].isna().all()
    assert manifest.boxes() == [None] * 12


def test_crops_of_one_file_get_distinct_ids(image_folder):
    frame = pd.DataFrame(
        {"path": ["00.png", "00.png", "01.png"], "label": 1, "split": "train",
         "x": [0, 5, None], "y": [0, 0, None], "width": [5, 5, None], "height": [9, 9, None]}
    )  # fmt: skip
    manifest = Manifest(frame, image_folder)
    assert manifest.frame["image_id"].tolist() == ["00.png#0", "00.png#1", "01.png"]
    assert manifest.boxes() == [(0, 0, 5, 9), (5, 0, 5, 9), None]


@pytest.mark.parametrize("same_folder", [True, False])
def test_save_and_load_find_the_images_again(manifest, tmp_path, same_folder):
    manifest.frame["hair"] = "grey"
    folder = manifest.root if same_folder else tmp_path / "elsewhere"
    manifest.save(folder / "manifest.parquet")
    again = Manifest.load(folder / "manifest.parquet")
    pd.testing.assert_frame_equal(again.frame, manifest.frame)
    again.validate()


def test_a_folder_with_its_manifest_can_be_moved(manifest, tmp_path):
    manifest.save(manifest.root / "manifest.parquet")
    shutil.move(manifest.root, tmp_path / "moved")
    Manifest.load(tmp_path / "moved" / "manifest.parquet").validate()


def test_csv_loads(image_folder, valid_frame):
    valid_frame["image_id"] = [f"{number:03d}" for number in range(12)]
    valid_frame.to_csv(image_folder / "m.csv", index=False)
    manifest = Manifest.load(image_folder / "m.csv")
    manifest.validate()
    assert manifest.frame["image_id"].iloc[7] == "007"


def test_missing_file_and_damaged_file(tmp_path):
    with pytest.raises(DataError, match="There is no manifest"):
        Manifest.load(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="cannot be read as a manifest"):
        Manifest.load(tmp_path / "bad.parquet")


def test_missing_columns_are_named(valid_frame):
    with pytest.raises(DataError, match=r"no column 'label', 'split'.*may also have"):
        Manifest(valid_frame.drop(columns=["label", "split"]), ".")


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("label", 4, "person", "'label' holds 'person'.*row 4"),
        ("label", 4, 0.5, "'label' holds 0.5.*row 4"),
        ("label", 4, None, "'label' is empty in row 4"),
        ("path", 2, None, "'path' is empty in row 2"),
        ("group", 1, "dark", "'group' holds 'dark'.*row 1"),
        ("weight", 1, None, "'weight' holds nothing.*row 1"),
    ],
)
def test_values_of_a_wrong_type_are_named(valid_frame, column, row, value, message):
    frame = valid_frame.assign(weight=1.0).astype({column: object})
    frame.loc[row, column] = value
    with pytest.raises(DataError, match=message):
        Manifest(frame, ".")


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("label", 4, 2, "'label' is not 0 or 1: row 4"),
        ("split", 4, "test", "Unknown split .test. in row 4. Known: train, val, search, report"),
        ("lighting", 4, "dark", "Unknown lighting .dark. in row 4"),
        ("weight", 4, -1.0, "'weight' is not a positive number: row 4"),
        ("group", 4, -3, "'group' is negative: row 4"),
        ("image_id", 4, "00.png", "'image_id' occurs twice: rows 0, 4"),
        ("path", 4, "../secret.png", "leaves the folder of the manifest: row 4"),
        ("path", 4, "a/../../secret.png", "leaves the folder of the manifest: row 4"),
        ("path", 4, "/etc/secret.png", "leaves the folder of the manifest: row 4"),
        ("path", 4, "C:\\secret.png", "leaves the folder of the manifest: row 4"),
        ("path", 4, "..\\secret.png", "leaves the folder of the manifest: row 4"),
        ("x", 4, 3.0, "Only some of x, y, width, height are given: row 4"),
        ("path", 4, "gone.png", "1 rows have no readable image .row 4.: .*does not exist"),
        ("cluster", 4, "00.png", "Cluster '00.png' is in the splits train, val: a leak .rows 0, 4"),
    ],
)
def test_validate_names_the_rows(manifest, column, row, value, message):
    manifest.frame.loc[row, column] = value
    with pytest.raises(DataError, match=message):
        manifest.validate()


def test_path_that_leaves_the_root_is_never_opened(manifest):
    with pytest.raises(DataError, match="refused"):
        manifest.file("../secret.png")


def test_validate_tells_all_problems_at_once(manifest):
    manifest.frame.loc[4, "split"] = "test"
    manifest.frame.loc[5, "weight"] = 0
    with pytest.raises(DataError, match=r"2 problems:\n- Unknown split.*\n- 'weight'") as error:
        manifest.validate(need_splits=())
    assert "'weight' is not a positive number: row 5." in str(error.value)


def test_empty_manifest(manifest):
    with pytest.raises(DataError, match="The manifest is empty"):
        manifest.take([]).validate()


def test_one_class_only(manifest):
    manifest.frame.loc[3:5, "label"] = 1
    with pytest.raises(DataError, match="Split 'val' has no image without a person"):
        manifest.validate()
    manifest.validate(need_splits=("train", "search", "report"))


def test_a_split_without_images(manifest):
    with pytest.raises(DataError, match="Split 'val' has no images"):
        manifest.take(manifest.frame["split"] != "val").validate()


def test_tone_without_an_image(manifest):
    manifest.frame.loc[7, "group"] = 1
    with pytest.raises(DataError, match="Split 'search' has no image of group 2"):
        manifest.validate()


def test_same_picture_in_two_splits_even_in_another_format(manifest):
    with Image.open(manifest.root / "00.png") as image:
        image.save(manifest.root / "04.png", "BMP")
    with pytest.raises(DataError, match=r"The same image is in the splits train, val.*rows 0, 4"):
        manifest.validate()
    manifest.validate(check_images=False)


def test_unreadable_images_are_counted(manifest):
    for row in (3, 8):
        path = manifest.root / f"{row:02d}.png"
        path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"2 rows have no readable image \(rows 3, 8\)"):
        manifest.validate()


def test_crop_beyond_the_image(manifest):
    manifest.frame.loc[5, ["x", "y", "width", "height"]] = [15.0, 0.0, 10.0, 10.0]
    with pytest.raises(DataError, match="The crop reaches beyond the image: row 5"):
        manifest.validate()


def test_split_renumbers_rows(manifest):
    part = manifest.split("search")
    assert part.frame.index.tolist() == [0, 1, 2]
    assert part.frame["path"].tolist() == ["06.png", "07.png", "08.png"]
    assert part.root == manifest.root


def test_describe(manifest):
    manifest.frame["lighting"] = "well_lit"
    manifest.frame.loc[0, "lighting"] = "dimly_lit"
    counts = describe(manifest)
    assert list(counts) == ["train", "val", "search", "report"]
    assert counts["train"] == {
        "n": 3,
        "positives": 2,
        "groups": {"1": 1, "2": 1},
        "lights": {"dimly_lit": 1, "well_lit": 2},
    }
    assert describe(manifest.split("val")).keys() == {"val"}


def test_root_may_be_a_string(valid_frame, image_folder):
    manifest = Manifest(valid_frame, str(image_folder))
    assert manifest.root == Path(image_folder)


def test_equal_crops_of_different_files_are_a_leak(image_folder, valid_frame):
    """As in a sheet of small images: the files differ, what is cut out of them does not."""
    with Image.open(image_folder / "00.png") as image:
        other = image.convert("RGB")
    other.putpixel((other.width - 1, other.height - 1), (1, 2, 3))
    other.save(image_folder / "04.png")
    box = {"x": 0, "y": 0, "width": 9, "height": 9}
    frame = valid_frame.assign(**{name: pd.array([None] * 12, "Float64") for name in box})
    for row in (0, 4):
        frame.loc[row, list(box)] = list(box.values())
    with pytest.raises(DataError, match=r"The same crop is in the splits train, val.*rows 0, 4"):
        Manifest(frame, image_folder).validate()


@pytest.mark.parametrize("value", [1e18, np.inf])
def test_a_huge_crop_takes_no_memory(image_folder, valid_frame, value):
    frame = valid_frame.assign(x=0.0, y=0.0, width=value, height=value)
    with pytest.raises(DataError, match="crop reaches beyond the image"):
        Manifest(frame, image_folder).validate()


def test_names_in_a_csv_are_no_missing_values(tmp_path: Path) -> None:
    rows = ["NA,null,1,train", "null,NA,0,train", "007,nan,1,val", ",none.png,0,val"]
    (tmp_path / "m.csv").write_text("image_id,path,label,split\n" + "\n".join(rows) + "\n")
    frame = Manifest.load(tmp_path / "m.csv").frame
    assert list(frame["path"]) == ["null", "NA", "nan", "none.png"]
    assert list(frame["image_id"][:3]) == ["NA", "null", "007"]
    assert frame["image_id"][3] != ""


def test_an_image_without_a_name_has_that_of_its_file(
    manifest: Manifest, valid_frame: pd.DataFrame
) -> None:
    """Nameless, it was refused only by the predictions, after the training."""
    ids = [f"n{row}" for row in range(len(valid_frame))]
    frame = valid_frame.assign(image_id=[None, *ids[1:]])
    named = Manifest(frame.drop(columns="cluster", errors="ignore"), manifest.root)
    first = named.frame.iloc[0]
    assert first["image_id"] == first["path"]
    assert first["cluster"] == first["path"]
    assert named.frame["image_id"].tolist()[1:] == ids[1:]
    named.validate()
