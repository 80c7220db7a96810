"""COCO's rules on a small copy of its files."""

import dataclasses
import json
import logging
import shutil

import pytest

from moenas.data.counts import describe
from moenas.data.manifest import Manifest
from moenas.data.sources import SOURCES, recognise
from moenas.data.sources.coco import MINIVAL, RULES, TEST_SHARE, index_instances, make_coco
from moenas.errors import ConfigError, DataError
from published_data import COCO_LABELS, write_coco


@pytest.fixture
def coco(tmp_path):
    kinds = write_coco(tmp_path / "coco")
    return tmp_path / "coco", kinds


def spoil(folder, change, part="train"):
    file = folder / "annotations" / f"instances_{part}2017.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("rule", ["vww", "mlperf"])
@pytest.mark.parametrize("year", [2017, 2014])
def test_each_kind_of_image_gets_its_label(tmp_path, rule, year):
    kinds = write_coco(tmp_path, year=year, train=18, val=12)
    frame = make_coco(tmp_path, rule).frame
    found = dict(zip(frame["image_id"], frame["label"], strict=True))
    expected = {f"coco-{i}": COCO_LABELS[rule][kind] for i, kind in kinds.items()}
    assert found == {i: label for i, label in expected.items() if label is not None}
    assert frame["source"].eq("coco").all()
    assert frame["group"].isna().all()


def test_areas_at_the_threshold_are_not_above_it(tmp_path):
    image = {"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}
    person = {"image_id": 1, "category_id": 1, "area": 50.0, "bbox": [0, 0, 10, 25], "iscrowd": 0}
    file = tmp_path / "a.json"

    def label(rule, **changes):
        people = [{**person, **changes}] if changes is not None else []
        categories = [{"id": 1, "name": "person"}]
        content = {"images": [image], "annotations": people, "categories": categories}
        file.write_text(json.dumps(content))
        return index_instances(file, rule)["label"].tolist()

    assert label("vww") == [False]
    assert label("vww", area=50.01) == [True]
    assert label("mlperf") == []
    assert label("mlperf", bbox=[0, 0, 10, 25.01]) == [True]
    assert label("mlperf", bbox=[0, 0, 90, 90], iscrowd=1) == []
    assert label("mlperf", category_id=2) == [False]


def test_the_splits(coco):
    folder, _ = coco
    manifest = make_coco(folder)
    manifest.validate()
    counts = describe(manifest)
    assert {split: part["n"] for split, part in counts.items()} == {
        "train": 52, "val": 18, "search": 4, "report": 4,
    }  # fmt: skip
    assert round(TEST_SHARE * 30) == 4
    assert all(0 < part["positives"] < part["n"] for part in counts.values())
    val = manifest.split("val").frame["path"]
    assert val.str.startswith("val2017/").all()
    again, other = make_coco(folder), make_coco(folder, seed=1)
    assert again.frame.equals(manifest.frame)
    assert not other.frame["split"].equals(manifest.frame["split"])


def test_without_test_persons_all_are_trained_on(coco):
    folder, _ = coco
    frame = make_coco(folder, test_persons=False).frame
    test = frame["split"].isin(["search", "report"])
    assert test.sum() == 4
    assert (frame.loc[test, "label"] == 0).all()


def test_the_list_of_minival_is_used(coco):
    folder, kinds = coco
    chosen = [i for i, kind in kinds.items() if kind in ("big", "other")][:6]
    listed = "\n".join(str(i) for i in [*chosen, 999_999])
    (folder / "annotations" / MINIVAL).write_text(listed + "\n")
    frame = make_coco(folder).frame
    val = frame[frame["split"] == "val"]
    assert set(val["image_id"]) == {f"coco-{i}" for i in chosen}
    (folder / "annotations" / MINIVAL).write_text("1004\n1_000\n")
    with pytest.raises(DataError, match=rf"{MINIVAL}', row 1: \"1_000\" is no image id"):
        make_coco(folder)
    (folder / "annotations" / MINIVAL).write_text("7\n")
    with pytest.raises(DataError, match="lists no image"):
        make_coco(folder)


def test_copies_stay_in_the_test_alone(coco, caplog):
    folder, _ = coco
    before = make_coco(folder)
    test = before.split("report").frame["path"].iloc[0]
    train = before.split("train").frame["path"].iloc[:2]
    for path in train:
        shutil.copy(folder / test, folder / path)
    with caplog.at_level(logging.WARNING, logger="moenas"):
        after = make_coco(folder)
    assert "2 files of COCO are copies" in caplog.text
    assert set(before.frame["path"]) - set(after.frame["path"]) == set(train)
    after.validate()


def test_the_source_is_found_by_name_and_by_its_files(coco, tmp_path):
    folder, _ = coco
    assert SOURCES["coco"] is make_coco
    assert recognise(folder) == "coco"
    assert recognise(tmp_path) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["images"].append(c["images"][4]), "image 60: the id .* occurs twice"),
        (lambda c: c["images"][3].update(width=0), r"`\$\.images\[3\]\.width`"),
        (lambda c: c["images"][3].update(id="x"), r"`\$\.images\[3\]\.id`"),
        (lambda c: c["annotations"][5].update(bbox=[1, 2]), r"`\$\.annotations\[5\]\.bbox`"),
        (lambda c: c["annotations"][5].pop("area"), r"`area`.*`\$\.annotations\[5\]`"),
        (lambda c: c["annotations"][0].update(image_id=7), "of image 7, which is not listed"),
        (lambda c: c["categories"].pop(0), "no category 'person'"),
        (lambda c: c.pop("annotations"), "missing required field `annotations`"),
        (lambda c: c["images"][0].update(id=501), "image id 501 is in train and in val"),
        (lambda c: c["images"][0].update(file_name="../../x.jpg"), "leaves the folder"),
    ],
)
def test_wrong_contents_are_named(coco, change, message):
    folder, _ = coco
    spoil(folder, lambda c: c["annotations"].sort(key=lambda a: a["category_id"]))
    spoil(folder, change)
    if "501" in message:
        spoil(folder, lambda c: c.update(annotations=[]))
    with pytest.raises(DataError, match=message):
        make_coco(folder)


def test_missing_and_truncated_files_are_named(coco):
    folder, _ = coco
    file = folder / "annotations" / "instances_train2017.json"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"instances_train2017\.json' cannot be read as COCO's"):
        make_coco(folder)
    file.write_bytes(whole)
    with pytest.raises(ConfigError, match=r"no rule 'wvw' for COCO\. Did you mean 'vww'"):
        make_coco(folder, "wvw")
    shutil.rmtree(folder / "val2017")
    file.unlink()
    with pytest.raises(DataError, match=r"has no annotations/instances_train2017\.json, val2017:"):
        make_coco(folder)
    with pytest.raises(DataError, match="does not exist"):
        index_instances(file)


@pytest.mark.parametrize("rule", ["vww", "mlperf"])
def test_the_manifest_remembers_its_rule(coco, tmp_path, rule):
    folder, _ = coco
    manifest = make_coco(folder, rule)
    found = manifest.labelling
    assert found.annotations == ("instances_train2017.json", "instances_val2017.json")
    assert dataclasses.replace(found, annotations=()) == RULES[rule]
    assert (found.measure, found.above) == {"vww": ("mask", 0.005), "mlperf": ("box", 0.025)}[rule]
    manifest.split("train").save(tmp_path / "of.parquet")
    assert Manifest.load(tmp_path / "of.parquet").labelling == found


def test_who_wrote_a_manifest_without_a_rule_gets_none(coco, tmp_path):
    manifest = make_coco(coco[0])
    Manifest(manifest.frame, coco[0]).save(tmp_path / "old.parquet")
    assert Manifest.load(tmp_path / "old.parquet").labelling is None
    manifest.frame.to_csv(coco[0] / "m.csv", index=False)
    assert Manifest.load(coco[0] / "m.csv").labelling is None
    frame = manifest.frame.copy()
    frame.attrs = {"moenas_labelling": {"source": "coco", "rule": "vww"}}
    frame.to_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"odd\.parquet' names a rule of labels that is none"):
        Manifest.load(tmp_path / "odd.parquet")
