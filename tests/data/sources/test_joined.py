"""FACET's persons and COCO's images of nobody as one data set."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data.manifest import Manifest
from moenas.data.sources.coco import make_coco
from moenas.data.sources.facet import make_facet
from moenas.data.sources.joined import join_test_persons
from moenas.data.sources.wake_vision import make_wake_vision
from moenas.errors import DataError
from published_data import write_coco, write_facet, write_wake_vision

TEST = ("search", "report")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    write_facet(folder / "photos" / "facet")
    write_coco(folder / "photos" / "coco", train=360)
    persons = make_facet(folder / "photos" / "facet")
    return folder, persons, make_coco(folder / "photos" / "coco", test_persons=False)


@pytest.fixture(scope="module")
def joined(sources):
    folder, persons, base = sources
    return join_test_persons(persons, base, folder / "out")


def test_each_source_does_its_part(sources, joined):
    _, persons, base = sources
    joined.validate()
    counts = joined.frame.groupby(["split", "label", "source"]).size()
    expected = pd.concat([persons.frame, base.frame]).groupby(["split", "label", "source"]).size()
    assert counts.to_dict() == expected.to_dict()
    assert counts[:, 1, "facet"].index.tolist() == ["report", "search"]
    assert counts[:, 0, "coco"].index.tolist() == ["report", "search", "train", "val"]


def test_pixels_are_those_of_the_sources(sources, joined):
    folder, persons, base = sources
    assert joined.root == folder.resolve()
    where = {
        row.image_id: source.file(row.path)
        for source in (persons, base)
        for row in source.frame.itertuples()
    }
    dark = joined.frame["lighting"].isin(["underexposed", "dimly_lit", "overexposed"])
    relit = dark & (joined.frame["source"] == "coco")
    for row, changed in zip(joined.frame.itertuples(), relit, strict=True):
        same = joined.file(row.path) == where[row.image_id].resolve()
        assert same != changed
    by_light = {
        light: np.mean([np.asarray(Image.open(joined.file(path))).mean() for path in part["path"]])
        for light, part in joined.frame[relit].groupby("lighting")
    }
    assert by_light["underexposed"] < by_light["dimly_lit"] < 128 < by_light["overexposed"]


def test_images_of_nobody_get_the_lights_of_the_persons(joined):
    for split in TEST:
        part = joined.frame[joined.frame["split"] == split]
        persons, nobody = (part[part["label"] == label]["lighting"].dropna() for label in (1, 0))
        n = len(nobody)
        assert n == (part["label"] == 0).sum()
        wanted, got = (x.value_counts(normalize=True) for x in (persons, nobody))
        for light, share in wanted.items():
            assert abs(got.get(light, 0) - share) <= 1 / n + 1e-9, (split, light)


def test_the_same_seed_writes_the_same_bytes(sources, joined, tmp_path):
    folder, persons, base = sources
    again = join_test_persons(persons, base, folder / "again")
    other = join_test_persons(persons, base, folder / "other", seed=2)
    assert again.frame.drop(columns="path").equals(joined.frame.drop(columns="path"))
    for one, two in zip(joined.frame["path"], again.frame["path"], strict=True):
        assert joined.file(one).read_bytes() == again.file(two).read_bytes()
    assert not other.frame["lighting"].equals(joined.frame["lighting"])
    relit = joined.frame["path"].str.contains("relit")
    alike = relit & (other.frame["lighting"] == joined.frame["lighting"])
    assert alike.any()
    for one, two in zip(joined.frame["path"][alike], other.frame["path"][alike], strict=True):
        assert joined.file(one).read_bytes() != other.file(two).read_bytes()


def test_persons_of_the_other_source_are_not_tested(sources, tmp_path):
    folder, persons, base = sources
    both = make_coco(base.root)
    assert (both.split("report").frame["label"] == 1).any()
    found = join_test_persons(persons, both, folder / "out3")
    test = found.frame["split"].isin(TEST) & (found.frame["label"] == 1)
    assert set(found.frame.loc[test, "source"]) == {"facet"}


def test_images_of_nobody_have_no_tone(sources, tmp_path):
    """The groups of another source are no skin tones: they would count in the persons' accuracy."""
    _, persons, base = sources
    grouped = Manifest(base.frame.assign(group=3), base.root)
    joined = join_test_persons(persons, grouped, tmp_path / "out")
    tested = joined.frame[joined.frame["split"].isin(TEST)]
    assert tested.loc[tested["label"] == 0, "group"].isna().all()
    assert tested["group"].value_counts().to_dict() == (
        persons.frame["group"].value_counts().to_dict()
    )


def test_lights_that_are_known_stay(sources, tmp_path):
    folder, persons, _ = sources
    write_wake_vision(folder / "wake")
    base = make_wake_vision(folder / "wake")
    found = join_test_persons(persons, base, folder / "out2")
    assert not (folder / "out2").exists()
    before = base.frame[(base.frame["label"] == 0) & base.frame["split"].isin(TEST)]
    after = found.frame[(found.frame["label"] == 0) & found.frame["split"].isin(TEST)]
    assert after["lighting"].tolist() == before["lighting"].tolist()
    assert {"depiction", "skin_tone_1", "gender"} <= set(found.frame)


def test_a_part_that_is_missing_is_named(sources, tmp_path):
    _, persons, base = sources
    frame = base.frame

    def without(mask):
        return Manifest(frame[~mask], base.root)

    with pytest.raises(DataError, match="have no split 'val'"):
        join_test_persons(persons, without(frame["split"] == "val"), tmp_path)
    with pytest.raises(DataError, match="no images without a person in split 'report'"):
        join_test_persons(persons, without(frame["split"] == "report"), tmp_path)
    with pytest.raises(DataError, match="no persons in split 'search'"):
        join_test_persons(persons.split("report"), base, tmp_path)


def test_an_unreadable_image_is_left_for_the_check(sources, tmp_path):
    _, persons, _ = sources
    write_coco(tmp_path / "coco", train=240)
    own = make_coco(tmp_path / "coco", test_persons=False)
    for path in own.split("search").frame["path"]:
        own.file(path).write_bytes(b"\xff\xd8\xff nothing more")
    found = join_test_persons(persons, own, tmp_path / "out")
    with pytest.raises(DataError, match=r"More than 5 % are missing in: search, without: 9 of 9"):
        found.checked()
