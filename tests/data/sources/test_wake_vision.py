"""Wake Vision's columns on a small copy of its files."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data.counts import describe
from moenas.data.sources import SOURCES, recognise
from moenas.data.sources.wake_vision import light_of, make_wake_vision
from moenas.errors import DataError
from published_data import WAKE_VISION_LEVELS, edit_cell, write_wake_vision

LIGHTS = {"dark": "underexposed", "normal_lighting": "well_lit", "bright": "overexposed"}


@pytest.fixture
def wake(tmp_path):
    return tmp_path, write_wake_vision(tmp_path)


def test_splits_labels_and_attributes(wake):
    folder, truth = wake
    manifest = make_wake_vision(folder)
    manifest.validate()
    counts = describe(manifest)
    assert {s: (c["n"], c["positives"]) for s, c in counts.items()} == {
        "train": (24, 12), "val": (12, 6), "search": (24, 12), "report": (24, 12),
    }  # fmt: skip
    frame = manifest.frame.set_index("image_id").loc[truth["filename"]].reset_index()
    assert frame["label"].tolist() == truth["person"].tolist()
    assert frame["depiction"].tolist() == truth["depiction"].tolist()
    marks = {
        "lighting": LIGHTS,
        "gender": {"predominantly_female": "female", "predominantly_male": "male"},
        "age": {"young": "young", "middle_age": "middle", "older": "older"},
        "distance": {"near": "near", "medium_distance": "medium", "far": "far"},
    }
    for name, columns in marks.items():
        expected = [
            next((value for column, value in columns.items() if row[column]), None)
            for _, row in truth.iterrows()
        ]
        found = [None if pd.isna(value) else value for value in frame[name]]
        assert found == expected, name
    assert frame["group"].isna().all()
    train = manifest.split("train").frame
    assert train[["lighting", "gender", "age", "distance", "depiction"]].isna().all(axis=None)


def test_the_rule_of_brightness_agrees_with_the_columns(wake):
    folder, _ = wake
    manifest = make_wake_vision(folder)
    test = manifest.frame[manifest.frame["lighting"].notna()]
    found = [light_of(Image.open(manifest.file(path))) for path in test["path"]]
    assert found == test["lighting"].tolist()
    assert set(found) == set(LIGHTS.values())
    for level, light in ((84, "underexposed"), (85, "well_lit"), (169, "well_lit"),
                         (170, "overexposed")):  # fmt: skip
        assert light_of(Image.fromarray(np.full((4, 4, 3), level, dtype=np.uint8))) == light
    assert sorted(WAKE_VISION_LEVELS.values())[0] < 85


def test_the_seed_makes_the_halves(wake):
    folder, _ = wake
    one, same, other = (make_wake_vision(folder, seed).frame for seed in (0, 0, 1))
    assert one.equals(same)
    assert not one["split"].equals(other["split"])


def test_the_large_training_set_is_used_where_it_is_alone(wake):
    folder, _ = wake
    quality = folder / "wake_vision_train_quality.csv"
    pd.read_csv(quality).iloc[:6].to_csv(folder / "wake_vision_train_large.csv", index=False)
    assert len(make_wake_vision(folder).split("train")) == 24
    quality.unlink()
    assert len(make_wake_vision(folder).split("train")) == 6
    (folder / "wake_vision_train_large.csv").unlink()
    with pytest.raises(DataError, match=r"wake_vision_train_quality\.csv' does not exist"):
        make_wake_vision(folder)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("person", "2", "row 3: person is '2', not 1 or 0"),
        ("person", "", "row 3: person is '', not 1 or 0"),
        ("person", "-1", "row 3: person is '-1', not a whole number"),
        ("bright", "yes", "row 3: bright is 'yes'"),
        ("filename", "", "row 3: filename is empty"),
        ("filename", "te4_790d1b99cc_o.jpg", "'te4_790d1b99cc_o.jpg' is listed twice, in test and"),
        ("filename", "tr4_790d1b99cc_o.jpg", "is listed twice, in train and test"),
    ],
)
def test_wrong_cells_are_named(wake, column, value, message):
    folder, _ = wake
    edit_cell(folder / "wake_vision_test.csv", 3, column, value)
    with pytest.raises(DataError, match=message):
        make_wake_vision(folder)


def test_a_file_that_is_not_there_is_left_out_when_images_are_read(wake):
    folder, _ = wake
    manifest = make_wake_vision(folder)
    manifest.file(manifest.frame["path"].iloc[1]).unlink()
    with pytest.raises(DataError, match="does not exist"):
        make_wake_vision(folder).checked()
    assert len(make_wake_vision(folder).checked(skip_at_most=0.1)) == len(manifest) - 1


def test_the_source_is_found(wake):
    folder, _ = wake
    assert SOURCES["wake_vision"] is make_wake_vision
    assert recognise(folder) == "wake_vision"
    (folder / "wake_vision_test.csv").unlink()
    assert recognise(folder) is None
