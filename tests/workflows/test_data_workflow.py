from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.cli import main
from moenas.data.manifest import Manifest
from moenas.errors import DataError
from moenas.runs import RunFolder
from moenas.workflows.data import data_record, make_manifest, open_manifest, prepare

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
    with pytest.raises(DataError, match=r"There is no data 'photos\.cvs'"):
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


def test_a_run_keeps_the_data_it_started_with(photos: Path, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "train", {})
    first = prepare(str(photos), 32, run)
    before = run.manifest.read_bytes()
    (photos / "train" / "person" / "0.png").rename(photos / "train" / "person" / "99.png")
    assert prepare(str(photos), 32, run) == first
    assert run.manifest.read_bytes() == before


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
