"""FACET's rules on a small copy of its files."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from moenas.data.manifest import Manifest
from moenas.data.sources import SOURCES, recognise
from moenas.data.sources.facet import MARGIN, make_facet
from moenas.errors import ConfigError, DataError
from moenas.votes import VOTE_COLUMNS
from published_data import FACET_SIZE, edit_cell, write_facet, write_image


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """FACET's folder, not to be changed, and the truth."""
    folder = tmp_path_factory.mktemp("facet")
    return folder, write_facet(folder)


@pytest.fixture
def own(tmp_path):
    """A smaller one of a test's own."""
    write_facet(tmp_path, images=12)
    return tmp_path, tmp_path / "annotations" / "annotations.csv"


def test_one_row_a_person_with_what_most_votes_say(published):
    folder, truth = published
    frame = make_facet(folder).frame
    assert (frame["label"] == 1).all()
    assert frame["source"].eq("facet").all()
    assert frame["group"].tolist() == [
        pd.NA if np.isnan(tone) else int(tone) for tone in truth["tone"]
    ]
    for name in ("lighting", "gender", "age"):
        found = [None if pd.isna(value) else value for value in frame[name]]
        expected = [None if pd.isna(value) else value for value in truth[name]]
        assert found == expected, name
    assert truth[["tone", "lighting", "gender", "age"]].isna().any().all()
    assert frame["image_id"].is_unique


def test_columns_are_kept_as_given(published):
    folder, truth = published
    frame = make_facet(folder).frame
    assert frame["person_id"].tolist() == truth["person_id"].tolist()  # 00007, no number
    assert set(frame["class1"]) == {"nurse", "=guard()", "<b>dancer</b>"}
    for name in (*VOTE_COLUMNS, "skin_tone_na", "lighting_na", "visible_face", "has_cap"):
        assert frame[name].tolist() == truth[name].tolist(), name


def test_images_are_found_in_all_three_folders(published):
    folder, truth = published
    manifest = make_facet(folder)
    assert {path.split("/")[0] for path in manifest.frame["path"]} == {"imgs_1", "imgs_2", "imgs_3"}
    assert all(manifest.file(path).is_file() for path in manifest.frame["path"])
    names = manifest.frame["path"].str.split("/").str[1]
    assert names.tolist() == truth["filename"].tolist()


def test_boxes_get_a_margin_and_end_at_the_image(published):
    folder, truth = published
    for margin in (0.0, MARGIN, 1.0):
        manifest = make_facet(folder, margin=margin)
        for text, found in zip(truth["bounding_box"], manifest.boxes(), strict=True):
            box = json.loads(text)
            left = max(0, box["x"] - margin * box["width"])
            top = max(0, box["y"] - margin * box["height"])
            right = min(FACET_SIZE[0], box["x"] + (1 + margin) * box["width"])
            bottom = min(FACET_SIZE[1], box["y"] + (1 + margin) * box["height"])
            assert found == pytest.approx((left, top, right - left, bottom - top))
    assert set(make_facet(folder, "image").boxes()) == {None}


def test_halves_share_no_person_and_no_image(own):
    folder, file = own
    for row in (3, 9):  # in other images
        edit_cell(file, row, "person_id", "00000")
    frame = make_facet(folder).frame
    halves = dict(iter(frame.groupby("split")))
    assert set(halves) == {"search", "report"}
    for name in ("person_id", "path", "cluster"):
        assert not set(halves["search"][name]) & set(halves["report"][name])
    assert abs(len(halves["search"]) - len(halves["report"])) <= 4
    assert len(set(frame.loc[[0, 3, 9], "cluster"])) == 1
    by_image = frame.groupby("path")["cluster"].nunique()
    assert (by_image == 1).all()


def test_the_seed_makes_the_halves(published):
    folder, _ = published
    one, same, other = (make_facet(folder, seed=seed).frame for seed in (0, 0, 1))
    assert one.equals(same)
    assert not one["split"].equals(other["split"])


def test_equal_files_stay_in_one_half(own):
    folder, _ = own
    files = sorted(folder.glob("imgs_*/*.jpg"))
    for file in files[1:]:
        file.write_bytes(files[0].read_bytes())
    with pytest.raises(DataError, match="1 clusters cannot be split"):
        make_facet(folder)


def test_it_may_not_be_trained_on(published):
    folder, _ = published
    manifest = make_facet(folder)
    for split in ("train", "val"):
        frame = manifest.frame.assign(split=split)
        with pytest.raises(DataError, match=r"FACET's licence allows evaluation only.* Rows 0, 1"):
            Manifest(frame, folder)


def test_n_of_each_tone_is_told(published, caplog):
    folder, truth = published
    with caplog.at_level(logging.INFO, logger="moenas"):
        make_facet(folder)
    counts = truth["tone"].value_counts()
    assert f"1: {counts[1]}" in caplog.text
    assert f"10: {counts[10]}" in caplog.text
    assert f"without a tone: {truth['tone'].isna().sum()}" in caplog.text


def test_persons_without_any_vote_are_named_and_count_in_no_group(own, caplog):
    folder, file = own
    for name in (*VOTE_COLUMNS, "skin_tone_na"):
        edit_cell(file, 4, name, 0)
    with caplog.at_level(logging.WARNING, logger="moenas"):
        frame = make_facet(folder).frame
    assert frame["group"].isna()[4]
    assert "no votes on the skin tone at all in row 4" in caplog.text
    table = pd.read_csv(file, dtype=str)
    table[[*VOTE_COLUMNS]] = "0"
    table.to_csv(file, index=False)
    with pytest.raises(DataError, match="no vote on any skin tone"):
        make_facet(folder)


def test_missing_files_are_skipped_and_counted_per_tone(tmp_path, caplog):
    write_facet(tmp_path, images=100, tones=2)
    manifest = make_facet(tmp_path)
    gone = manifest.split("report").frame.iloc[[0]]
    manifest.file(gone["path"].iloc[0]).unlink()
    tested = make_facet(tmp_path)  # the box of a missing image is not checked
    needed = ("search", "report")
    frame = pd.concat([tested.frame, nobody(tmp_path, 60)], ignore_index=True)
    tested = Manifest(frame, tmp_path)
    with caplog.at_level(logging.WARNING, logger="moenas"):
        left = tested.checked(needed)
    lost = (tested.frame["path"] == gone["path"].iloc[0]).sum()
    assert len(tested) - len(left) == lost
    assert f"report, with a person, group {gone['group'].iloc[0]}: 1 of" in caplog.text
    dark = tested.frame[(tested.frame["group"] == 2) & (tested.frame["split"] == "search")]
    for path in dark["path"].iloc[:9]:
        (tmp_path / path).unlink(missing_ok=True)
    with pytest.raises(DataError, match=r"More than 5 % are missing in: .*search, .* group 2: "):
        tested.checked(needed)


def nobody(folder, count):
    rng = np.random.default_rng(9)
    rows = []
    for number in range(count):
        path = f"nobody/{number}.jpg"
        write_image(folder / path, rng, (20, 20))
        split = ("search", "report")[number % 2]
        rows.append({"path": path, "label": 0, "split": split})
    return Manifest(pd.DataFrame(rows), folder).frame


def test_a_missing_folder_is_told(own, caplog):
    folder, _ = own
    (folder / "imgs_2").rename(folder / "elsewhere")
    with caplog.at_level(logging.WARNING, logger="moenas"):
        make_facet(folder)
    assert "has no imgs_2/" in caplog.text


BOX = '{"x": 1, "y": 2, "width": 10, "height": 10}'


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("bounding_box", "[1, 2, 3, 4]", "row 5: bounding_box .* is no JSON object"),
        ("bounding_box", BOX[:-4], "row 5: bounding_box .* is no JSON object"),
        ("bounding_box", "", "row 5: bounding_box '' is no JSON object"),
        ("bounding_box", BOX.replace("10", '"10"'), "row 5: .* Expected `float`, got `str`"),
        ("bounding_box", BOX.replace("10", "NaN"), "row 5: bounding_box"),
        ("bounding_box", BOX.replace('"height": 10', '"h": 1'), "row 5: .*missing .*`height`"),
        ("bounding_box", BOX.replace("10", "0"), "row 5: the bounding box .* has no area"),
        (
            "bounding_box",
            BOX.replace("1,", "61,"),
            r"lies outside its image in row 5; .*61.* of \(60, 48\)",
        ),
        ("bounding_box", BOX.replace("2,", "48,"), "lies outside its image in row 5"),
        ("bounding_box", BOX.replace("1,", "-10,"), "lies outside its image in row 5"),
        ("bounding_box", BOX.replace("2,", "-10,"), "lies outside its image in row 5"),
        ("skin_tone_3", "-1", "row 5: skin_tone_3 is '-1', not a whole number"),
        ("skin_tone_3", "many", "row 5: skin_tone_3 is 'many'"),
        ("lighting_well_lit", "0.5", "row 5: lighting_well_lit is '0.5'"),
        ("person_id", " ", "person_id is empty in row 5"),
        ("filename", "", "filename is empty in row 5"),
        ("filename", "../../a.jpg", "row 5: filename '../../a.jpg' is no file's name"),
        ("person_id", "00003", r"person_id '00003' occurs twice in one image \(rows 3, 5\)"),
    ],
)
def test_wrong_cells_are_named(own, column, value, message):
    folder, file = own
    edit_cell(file, 5, column, value)
    with pytest.raises(DataError, match=message) as caught:
        make_facet(folder)
    assert "annotations.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("class1", "=HYPERLINK(1)"),
        ("class1", "<script>alert(1)</script>"),
        ("class2", "NA"),
        ("bounding_box", BOX.replace('"', "'")),
        ("bounding_box", BOX.replace("1,", "-3,")),  # partly outside: cut
        ("skin_tone_1", ""),
        ("skin_tone_1", "1.0"),
        ("has_cap", "perhaps"),
    ],
)
def test_odd_cells_that_are_not_wrong_are_read(own, column, value, tmp_path):
    folder, file = own
    edit_cell(file, 5, column, value)
    manifest = make_facet(folder)
    if column.startswith(("class", "has")):
        assert manifest.frame[column][5] == value
    manifest.save(tmp_path / "m.parquet")
    pd.testing.assert_frame_equal(Manifest.load(tmp_path / "m.parquet").frame, manifest.frame)


def test_names_with_markup_are_read(own):
    folder, file = own
    name = "<img src=x>&=1.jpg"
    old = pd.read_csv(file, dtype=str)["filename"][5]
    next(folder.glob(f"imgs_*/{old}")).rename(folder / "imgs_1" / name)
    edit_cell(file, 5, "filename", name)
    manifest = make_facet(folder)
    assert manifest.frame["path"][5] == f"imgs_1/{name}"
    assert manifest.file(manifest.frame["path"][5]).is_file()


def test_other_folders_are_refused(own):
    folder, file = own
    assert SOURCES["facet"] is make_facet
    assert recognise(folder) == "facet"
    with pytest.raises(ConfigError, match="no unit 'people'"):
        make_facet(folder, "people")
    with pytest.raises(ConfigError, match="margin must be 0 or more"):
        make_facet(folder, margin=-1)
    table = pd.read_csv(file, dtype=str)
    table.drop(columns="lighting_dimly_lit").to_csv(file, index=False)
    with pytest.raises(DataError, match="has no column 'lighting_dimly_lit'"):
        make_facet(folder)
    table.iloc[:0].to_csv(file, index=False)
    with pytest.raises(DataError, match="has no rows"):
        make_facet(folder)
    table.rename(columns={"skin_tone_1": "tone"}).to_csv(file, index=False)
    assert recognise(folder) is None
    file.unlink()
    with pytest.raises(DataError, match=r"has no annotations\.csv"):
        make_facet(folder)
