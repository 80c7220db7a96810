from __future__ import annotations

import json
import logging
import re
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.cli import main
from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import DataError, RunFolderError
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.workflows.audit import AuditConfig
from moenas.workflows.data import data_record, make_manifest, open_manifest, prepare
from moenas.workflows.train import TrainConfig
from published_data import write_coco, write_facet, write_wake_vision

SPLITS = ("train", "val", "search", "report")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A user's folder: four splits with eight images of each class, all different."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name in ("person", "no_person"):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels, "RGB").save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def table(photos: Path) -> pd.DataFrame:
    """The same as a table, with two groups."""
    files = sorted(photos.rglob("*.png"))
    rows = [
        {
            "path": file.relative_to(photos).as_posix(),
            "label": int(file.parent.name == "person"),
            "split": file.parent.parent.name,
            "group": int(file.stem) % 2 + 1 if file.parent.name == "person" else None,
        }
        for file in files
    ]
    return pd.DataFrame(rows)


def bad_data(kind: str, photos: Path, table: pd.DataFrame) -> str:
    """Spoil the data and return what the message must say."""
    match kind:
        case "missing column":
            del table["label"]
            return "no column 'label'"
        case "unreadable image":
            (photos / table["path"][5]).write_bytes(b"\x89PNG but no more")
            return "no readable image (row 5)"
        case "missing image":
            (photos / table["path"][7]).unlink()
            return "no readable image (row 7)"
        case "one class only":
            table.loc[table["split"] == "report", "label"] = 1
            return "'report' has no image without a person"
        case "a tone with no image":
            dark = (table["split"] == "search") & (table["group"] == 2)
            table.loc[dark, "group"] = 1
            return "'search' has no image of group 2"
        case "leaking image":
            (photos / table["path"][0]).write_bytes((photos / table["path"].iloc[-1]).read_bytes())
            return "The same image is in the splits"
        case "leaking cluster":
            table["cluster"] = [f"c{n}" for n in range(len(table))]
            table.loc[[0, len(table) - 1], "cluster"] = "Ann"
            return "Cluster 'Ann' is in the splits"
        case "empty split":
            table.loc[table["split"] == "search", "split"] = "train"
            return "'search' has no images"
    raise AssertionError(kind)


BAD = [
    "missing column",
    "unreadable image",
    "missing image",
    "one class only",
    "a tone with no image",
    "leaking image",
    "leaking cluster",
    "empty split",
]


@pytest.mark.parametrize("kind", BAD)
def test_bad_data_ends_every_command_with_one_message(
    kind: str,
    photos: Path,
    table: pd.DataFrame,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    expected = bad_data(kind, photos, table)
    file = photos / "photos.csv"
    table.to_csv(file, index=False)
    commands = [
        ["data", str(file), "--out", str(tmp_path / "out")],
        ["search", "--data", str(file), "--run", str(tmp_path / "run"), "--workers", "1"],
        ["train", "--data", str(file), "--run", str(tmp_path / "train")],
    ]
    for command in commands:
        assert main(command) == 1
        said = capsys.readouterr()
        message = " ".join(said.err.split())
        assert expected in message, command
        assert message.count("Error:") == 1
        assert "Traceback" not in message
        assert said.out == ""
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("*/manifest.parquet"))
    assert not list(tmp_path.glob("*/model"))


def test_mended_data_goes_on_in_the_same_folder(
    photos: Path, table: pd.DataFrame, tmp_path: Path
) -> None:
    """What was refused for its data can be run again, even with another file name."""
    run = RunFolder.create(tmp_path / "run", "train", {"data": "photos.cvs"})
    with pytest.raises(DataError, match=r"no file or folder 'photos\.cvs'"):
        prepare("photos.cvs", 32, run)
    run = RunFolder.create(tmp_path / "run", "train", {"data": "photos.csv"})
    table.to_csv(photos / "photos.csv", index=False)
    reference = prepare(str(photos / "photos.csv"), 32, run)
    assert len(Manifest.load(reference.manifest)) == len(table)


def test_a_folder_becomes_a_manifest(photos: Path, tmp_path: Path) -> None:
    path = make_manifest(str(photos), tmp_path / "out")
    manifest = Manifest.load(path)
    assert path == tmp_path / "out" / "manifest.parquet"
    assert set(manifest.frame["split"]) == set(SPLITS)
    manifest.validate()  # its images are found from there
    named = make_manifest(str(photos), tmp_path / "mine.parquet")
    assert named == tmp_path / "mine.parquet"


def test_whatever_names_data_opens_it(photos: Path, table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_csv(photos / "photos.csv", index=False)
    path = make_manifest(str(photos), tmp_path / "m.parquet")
    opened = [open_manifest(str(p), 32) for p in (photos, photos / "photos.csv", path)]
    assert {len(manifest) for manifest in opened} == {64}
    with pytest.raises(DataError, match="Give 'emoji' for drawn scenes, a manifest"):
        open_manifest(str(tmp_path / "nothing"), 32)


def test_a_name_that_is_not_there_gets_a_suggestion(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for wrong, right in (("photo", "photos"), ("emojis", "emoji"), ("./photo", "photos")):
        message = f"There is no file or folder '{wrong}'. Did you mean '{right}'?"
        with pytest.raises(DataError, match=re.escape(message)):
            open_manifest(("photos", wrong), 32)
    with pytest.raises(DataError, match=r"Did you mean 'photos'\?"):
        make_manifest(str(tmp_path / "phots"), tmp_path / "out")
    with pytest.raises(DataError, match="There is no folder '/nowhere/at' either"):
        open_manifest("/nowhere/at/all", 32)
    (tmp_path / "more").mkdir()
    for wrong in ("photos,more", "photos more"):
        with pytest.raises(DataError, match="one after the other: photos more"):
            open_manifest(wrong, 32)


def test_a_run_keeps_the_data_it_started_with(photos: Path, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "train", {})
    first = prepare(str(photos), 32, run)
    before = run.manifest.read_bytes()
    (photos / "train" / "person" / "0.png").rename(photos / "train" / "person" / "99.png")
    assert prepare(str(photos), 32, run) == first
    assert run.manifest.read_bytes() == before


def test_drawn_scenes_go_where_they_are_asked(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = Manifest.load(scenes)
    folders = []
    monkeypatch.setattr(
        "moenas.workflows.data.make_emoji_scenes",
        lambda folder, config: folders.append(folder) or drawn,  # type: ignore[func-returns-value]
    )
    path = make_manifest("emoji", tmp_path / "mine.parquet")
    assert path == tmp_path / "mine.parquet"
    assert folders == [tmp_path]
    found = Manifest.load(path)
    assert found.file(found.frame["path"][0]).exists()


def test_the_papers_protocol_joins_the_test_halves(photos: Path, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", {})
    prepare(str(photos), 32, run, "paper")
    frame = Manifest.load(run.manifest).frame
    search, report = (set(frame.loc[frame["split"] == s, "path"]) for s in ("search", "report"))
    assert search == report
    assert len(search) == 32
    assert frame["image_id"].is_unique
    assert not search & set(frame.loc[frame["split"] == "train", "path"])


def test_the_record_tells_own_images_from_drawings(
    photos: Path, scenes: Path, tmp_path: Path
) -> None:
    own = RunFolder.create(tmp_path / "own", "search", {})
    drawn = RunFolder.create(tmp_path / "drawn", "search", {})
    record = data_record(prepare(str(photos), 32, own))
    assert record["source"] == "folder"
    assert record["note"] is None
    assert record["counts"]["val"]["n"] == 16
    other = data_record(prepare(str(scenes), 32, drawn))
    assert "not photographs" in other["note"]
    assert other["fingerprint"] != record["fingerprint"]


# Published data sets


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """COCO, FACET and Wake Vision; not to be changed."""
    folder = tmp_path_factory.mktemp("published")
    write_coco(folder / "coco", train=120)
    write_facet(folder / "facet")
    write_wake_vision(folder / "wake")
    return folder


def test_facet_and_coco_become_one_manifest(
    published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for order in (("facet", "coco"), ("coco", "facet")):
        sources = [str(published / name) for name in order]
        out = tmp_path / order[0]
        assert main(["data", *sources, "--out", str(out), "--unit", "image", "--json"]) == 0
        said = capsys.readouterr()
        counts = json.loads(said.out)["counts"]
        manifest = Manifest.load(out / "manifest.parquet")
        frame = manifest.frame
        assert set(frame.loc[frame["source"] == "facet", "split"]) == {"search", "report"}
        assert frame["x"].isna().all()
        assert sorted(map(int, counts["report"]["groups"])) == list(range(1, 11))
        told = " ".join(said.err.split())
        assert "Images of each group (skin tone)" in told
        assert "FACET: 180 persons; of each skin tone: 1:" in told
        for tone, n in counts["report"]["groups"].items():
            assert re.search(rf"\b{tone} +│.* {n} │", said.err), tone
        prepare(str(out / "manifest.parquet"), 32, RunFolder.create(out / "run", "train", {}))


def test_both_protocols_on_facet(published: Path, tmp_path: Path) -> None:
    """Held out: no person or image is on both sides. The paper's: all are."""
    data = str(
        make_manifest((str(published / "facet"), str(published / "coco")), tmp_path / "data")
    )
    found = {}
    for protocol in ("held-out", "paper"):
        run = RunFolder.create(tmp_path / protocol, "search", {})
        prepare(data, 32, run, protocol)  # type: ignore[arg-type]
        frame = Manifest.load(run.manifest).frame
        persons = frame[frame["source"] == "facet"]
        found[protocol] = {
            column: [set(persons.loc[persons["split"] == s, column]) for s in ("search", "report")]
            for column in ("path", "person_id")
        }
    for column in ("path", "person_id"):
        search, report = found["held-out"][column]
        assert not search & report
        assert found["paper"][column] == [search | report] * 2


def test_manifests_beside_each_other_share_no_picture(
    published: Path, photos: Path, tmp_path: Path
) -> None:
    """Images of two sources have the same names, and are shown in the same lights."""
    other = tmp_path / "other"
    for file in sorted(photos.rglob("*.png")):
        (other / file.relative_to(photos)).parent.mkdir(parents=True, exist_ok=True)
        upside_down = Image.open(file).transpose(Image.Transpose.ROTATE_180)
        upside_down.save(other / file.relative_to(photos))
    found = {}
    for name, source in (("a", photos), ("b", other)):
        names = (str(published / "facet"), str(source))
        manifest = Manifest.load(make_manifest(names, tmp_path / "out" / f"{name}.parquet"))
        relit = manifest.frame["path"].str.contains("images/relit/")
        found[name] = set(manifest.frame["path"][relit])
    assert found["a"]
    assert not found["a"] & found["b"]


def test_the_rule_reaches_coco(published: Path, tmp_path: Path) -> None:
    sizes = [
        len(Manifest.load(make_manifest(str(published / "coco"), tmp_path / rule, rule=rule)))  # type: ignore[arg-type]
        for rule in ("vww", "mlperf")
    ]
    assert sizes == [138, 69]


def test_facet_joins_other_sources_and_manifests(
    published: Path, photos: Path, tmp_path: Path
) -> None:
    own = make_manifest(str(photos), tmp_path / "own.parquet")
    for number, other in enumerate((own, photos, published / "wake")):
        path = make_manifest((str(published / "facet"), str(other)), tmp_path / str(number))
        frame = Manifest.load(path).frame
        persons = frame["split"].isin(["search", "report"]) & (frame["label"] == 1)
        assert set(frame.loc[persons, "source"]) == {"facet"}


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (["facet"], "has a person in every image and may not be trained on. Name a second source"),
        (["coco", "wake"], "Give one source, or FACET's folder and another"),
        (["facet", "facet"], "Give one source, or FACET's folder and another"),
        (["facet", "coco", "wake"], "Give one source, or FACET's folder and another"),
        ([], "Give one source, or FACET's folder and another, not none"),
        (["facet", "cocoo"], "There is no file or folder '.*cocoo'. Did you mean 'coco'"),
        (["facett", "coco"], "There is no file or folder '.*facett'. Did you mean 'facet'"),
        (["facet", "emoji"], "FACET's photographs and drawn scenes cannot be put together"),
    ],
)
def test_other_mixtures_are_explained(
    published: Path, tmp_path: Path, sources: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_manifest(_named(published, sources), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run = RunFolder.create(tmp_path / "run", "train", {})
    with pytest.raises(DataError, match=message):
        prepare(_named(published, sources), 32, run)
    assert not run.manifest.exists()


def _named(published: Path, sources: list[str]) -> list[str]:
    return [name if name == "emoji" else str(published / name) for name in sources]


@pytest.mark.parametrize("sources", [["coco"], ["wake"], ["facet", "coco"], ["coco", "facet"]])
def test_runs_take_published_data_as_they_are(
    published: Path, tmp_path: Path, sources: list[str]
) -> None:
    """The same manifest as ``moenas data`` makes, in the run folder, and kept on resume."""
    names = _named(published, sources)
    run = RunFolder.create(tmp_path / "run", "audit", {})
    reference = prepare(names, 32, run)
    made = Manifest.load(make_manifest(names, tmp_path / "made"))
    taken = Manifest.load(reference.manifest)
    columns = [name for name in made.frame if name != "path"]
    pd.testing.assert_frame_equal(taken.frame[columns], made.frame[columns])
    for path in taken.frame["path"]:
        assert taken.file(path).is_file()
    relit = taken.frame["path"].str.contains("images/relit/")
    assert relit.any() == ("facet" in sources)
    assert (
        taken.file(taken.frame["path"][relit.idxmax()])
        .resolve()
        .is_relative_to(run.images.resolve() if relit.any() else published.resolve())
    )
    before = run.manifest.stat()
    assert prepare(names, 32, run) == reference
    assert run.manifest.stat() == before


@pytest.mark.parametrize(
    ("part", "whole"),
    [
        ("coco/train2017", "coco"),
        ("coco/annotations", "coco"),
        ("facet/imgs_1", "facet"),
        ("facet/annotations", "facet"),
        ("facet/annotations/annotations.csv", "facet"),
        ("wake/wake_vision_test.csv", "wake"),
        ("wake/images", "wake"),
    ],
)
def test_a_part_of_a_data_set_is_told_from_the_whole(
    published: Path, part: str, whole: str
) -> None:
    with pytest.raises(DataError, match=f"is a part of .*give the whole folder, '.*/{whole}'"):
        open_manifest(str(published / part), 32)
    with pytest.raises(DataError, match="is a part of"):
        open_manifest(_named(published, [part, "coco" if whole == "facet" else "facet"]), 32)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["train.bin", "fine_label_names.txt"],
            "CIFAR-100 only; it lacks test.bin, coarse",
        ),
        (["train", "test", "meta"], "CIFAR-100's Python version"),
        (["wake_vision_test.csv"], "Wake Vision only; it lacks wake_vision_validation.csv"),
        (["val2017/1.jpg"], "no annotations/instances_val2017.json"),
        (["imgs_1.tar", "readme.txt"], r"holds archives \(imgs_1.tar\): unpack them there"),
        (["readme.txt"], "has no subfolders. It needs the subfolders person/"),
        (["annotations/annotations.csv"], "no images in imgs_1/, imgs_2/, imgs_3/: unpack its"),
    ],
)
def test_an_unfinished_download_is_told(
    published: Path, tmp_path: Path, files: list[str], message: str
) -> None:
    facet = published / "facet"
    for file in files:
        (tmp_path / "mine" / file).parent.mkdir(parents=True, exist_ok=True)
        text = (facet / file).read_text() if (facet / file).is_file() else ""
        (tmp_path / "mine" / file).write_text(text)
    names = [tmp_path / "mine", published / "coco"]
    with pytest.raises(DataError, match=message):
        make_manifest(names if "annotations.csv" in files[0] else names[0], tmp_path / "out")  # type: ignore[arg-type]
    (tmp_path / "all.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"all\.zip' is an archive: unpack it"):
        open_manifest(str(tmp_path / "all.zip"), 32)


def test_a_data_set_within_another_is_no_part_of_it(published: Path, tmp_path: Path) -> None:
    shutil.copytree(published / "coco", tmp_path / "coco")
    shutil.copytree(published / "facet", tmp_path / "coco" / "facet")
    names = [str(tmp_path / "coco" / "facet"), str(tmp_path / "coco")]
    assert len(open_manifest(names, 32, tmp_path / "out")) > 0


def test_a_run_refused_for_its_data_may_be_given_other(published: Path, tmp_path: Path) -> None:
    """Images that were written before the refusal hold nobody to the settings."""
    names = _named(published, ["facet", "coco"])
    run = RunFolder.create(tmp_path / "run", "audit", {"data": ["wrong"]})
    open_manifest(names, 32, run.path)
    assert run.images.is_dir()
    run = RunFolder.create(tmp_path / "run", "audit", {"data": names})
    prepare(names, 32, run)
    with pytest.raises(RunFolderError, match=r"other settings \(data\)"):
        RunFolder.create(tmp_path / "run", "audit", {"data": ["wrong"]})


def test_a_look_without_a_run_folder_writes_into_the_cache(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOENAS_CACHE", str(tmp_path / "cache"))
    manifest = open_manifest(_named(published, ["facet", "coco"]), 32)
    relit = manifest.frame["path"][manifest.frame["path"].str.contains("images/relit/")]
    assert all(manifest.file(p).resolve().is_relative_to(tmp_path / "cache") for p in relit)
    assert len(relit)


def test_data_that_did_not_change_are_decoded_once(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images that are written at each look are the same files: a cache knows a file by its time."""
    monkeypatch.setenv("MOENAS_CACHE", str(tmp_path / "cache"))
    names = _named(published, ["facet", "coco"])
    for _ in range(2):
        manifest = open_manifest(names, 32)
        cached_images(manifest, 32, tmp_path / "images", progress=False)
    assert manifest.frame["path"].str.contains("images/relit/").any()
    assert len(list((tmp_path / "images").glob("*.bin"))) == 1


@pytest.mark.parametrize("config", [SearchConfig, AuditConfig, TrainConfig])
def test_one_name_needs_no_tuple(config: Any) -> None:
    assert config(data="a.csv") == config(data=("a.csv",)) == config(data=Path("a.csv"))
    assert config().data == ("emoji",)


def test_facet_cannot_be_smuggled_into_training(published: Path, tmp_path: Path) -> None:
    path = make_manifest((str(published / "facet"), str(published / "coco")), tmp_path / "data")
    manifest = Manifest.load(path)
    facet = manifest.frame["source"] == "facet"
    manifest.frame.loc[facet & (manifest.frame["split"] == "search"), "split"] = "train"
    manifest.save(path)
    run = RunFolder.create(tmp_path / "run", "train", {})
    with pytest.raises(DataError, match="FACET's licence allows evaluation only"):
        prepare(str(path), 32, run)


def test_bombs_and_torn_images_are_named(
    published: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(published / "coco", tmp_path / "coco")
    files = sorted((tmp_path / "coco" / "train2017").iterdir())
    files[0].write_bytes(files[0].read_bytes()[:300])
    with caplog.at_level(logging.WARNING, logger="moenas"):
        path = make_manifest(str(tmp_path / "coco"), tmp_path / "one")
    assert files[0].name in caplog.text
    assert len(Manifest.load(path)) == 137
    for number, file in enumerate(files[:20]):
        file.write_bytes(bomb() + bytes(number))  # copies would be left out
    with pytest.raises(DataError, match=r"20 of 138 images .*400000000 pixels.*decompression bomb"):
        make_manifest(str(tmp_path / "coco"), tmp_path / "two")


def bomb() -> bytes:
    """A PNG of 20,000 × 20,000 pixels in some bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
