"""Routes of a real, if barely trained, model on drawn scenes."""

from __future__ import annotations

import shutil
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data.images import crop_and_resize
from moenas.data.manifest import Manifest
from moenas.errors import CheckpointError, DataError, ModelError, RunFolderError
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import save_model
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json, write_parquet
from moenas.workflows.predict import predict_files
from moenas.workflows.report import report
from moenas.workflows.routes import routes
from moenas.workflows.verify import verify

EXPERTS = (3, 1, 1, 1, 1, 2, 1, 1, 4)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    save_model(path, upcycle(build_model("mobilevitv2_050", seed=0), EXPERTS), image_size=32)
    return path


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dense") / "checkpoint.safetensors"
    save_model(path, build_model("mobilevitv2_050", seed=0), image_size=32)
    return path


def test_routes_leaves_tables_figures_and_a_page(
    checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    record = routes(checkpoint, str(scenes), run, by=("presentation",))
    folder = RunFolder.open(run)
    frame = Manifest.load(scenes).frame
    images = frame[frame["split"] == "report"]
    table = pd.read_parquet(folder.routes)
    assert len(table) == 3 * len(images)
    assert table["image_id"].unique().tolist() == images["image_id"].tolist()
    assert table["layer"].unique().tolist() == [1, 6, 9]
    shares = table.filter(like="share_").to_numpy()
    np.testing.assert_allclose(np.nansum(shares, axis=1), 1, atol=1e-6)
    assert (np.nanargmax(shares, axis=1) + 1 == table["expert"]).all()
    assert read_json(folder.routes_summary) == record
    assert [one["column"] for one in record["attributes"]][:3] == ["group", "lighting", "label"]
    tone = record["attributes"][0]
    assert tone["matched"] == 1  # each scene in all ten tones
    assert sum(value["images"] for value in tone["values"]) == tone["images"] == 60
    page = folder.routes_page.read_text(encoding="utf-8")
    assert tone["sentence"] in page
    assert "These are drawings" in page
    assert (folder.figures / "routes-by-group.pdf").read_bytes().startswith(b"%PDF")
    assert {path.suffix for path in folder.figures.iterdir()} == {".pdf", ".png"}
    folder.routes_page.unlink()
    made = report(run, "svg")
    assert made.page == folder.routes_page
    assert folder.routes_page.read_text(encoding="utf-8") == page
    assert folder.figures / "routes-by-group.svg" in made.figures
    assert verify(run).problems == []
    forged = table.assign(expert=table["expert"].where(table.index != 5, 1 + table["expert"] % 2))
    write_parquet(folder.routes, forged)
    assert any("routes.expert[5]" in problem for problem in verify(run).problems)
    shares = [name for name in table if name.startswith("share_")]
    swapped = table.assign(
        **{name: table[name].sample(frac=1, random_state=1).to_numpy() for name in shares[:2]}
    )
    write_parquet(folder.routes, swapped)
    assert any("go elsewhere" in problem for problem in verify(run).problems)
    write_parquet(folder.routes, table)
    write_json(folder.routes_summary, record | {"sentences": ["All is well."]})
    assert any("routes.sentences" in problem for problem in verify(run).problems)


def test_images_without_a_group(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(scenes)
    bare = manifest.frame.assign(group=pd.NA)
    path = tmp_path / "bare.parquet"
    Manifest(bare, manifest.root).save(path)
    record = routes(checkpoint, str(path), tmp_path / "run")
    assert [one["column"] for one in record["attributes"]] == ["lighting", "label"]
    assert record["notes"] == [
        "Paths are not compared by skin tone: no image of the split has one."
    ]


def test_what_cannot_be_routed(checkpoint: Path, dense: Path, scenes: Path, tmp_path: Path) -> None:
    run, data = tmp_path / "run", str(scenes)
    with pytest.raises(ModelError, match="has no experts"):
        routes(dense, data, run)
    with pytest.raises(DataError, match=r"no split 'reprot'\. Did you mean 'report'"):
        routes(checkpoint, data, run, split="reprot")
    with pytest.raises(DataError, match="no column 'hat'"):
        routes(checkpoint, data, run, by=("hat",))
    with pytest.raises(DataError, match="cannot be grouped by 'image_id'"):
        routes(checkpoint, data, run, by=("image_id",))
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(CheckpointError):
        routes(damaged, data, run)
    assert not run.exists()  # nothing is begun that cannot be done
    shutil.copytree(scenes.parent, run)
    with pytest.raises(RunFolderError, match="not a MoENAS run"):
        routes(checkpoint, data, run)


def test_predict_draws_the_path_of_each_image(
    checkpoint: Path, dense: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moenas.workflows.predict.CHUNK", 1)  # names are free over all chunks
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / folder / "red.png")
    (tmp_path / "a" / "bad.png").write_bytes(b"nothing")
    paths = [tmp_path / "a", tmp_path / "b"]
    answers = predict_files(checkpoint, paths, explain=tmp_path / "paths")
    assert [a.explanation and Path(a.explanation).name for a in answers] == [
        None,
        "red-path.png",
        "red-2-path.png",
    ]
    for answer in answers[1:]:
        with Image.open(str(answer.explanation)) as picture:
            assert min(picture.size) > 200
    assert predict_files(checkpoint, paths)[1].explanation is None
    with pytest.raises(ModelError, match="has no experts"):
        predict_files(dense, paths, explain=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_few_images_are_in_memory_at_once(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for number in range(5):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "1.png").write_bytes(b"not an image")
    together = predict_files(checkpoint, [tmp_path])
    alive: list[weakref.ref[Any]] = []
    most = 0

    def read(*arguments: Any) -> Any:
        nonlocal most
        image = crop_and_resize(*arguments)
        alive.append(weakref.ref(image))
        most = max(most, sum(each() is not None for each in alive))
        return image

    monkeypatch.setattr("moenas.workflows.predict.crop_and_resize", read)
    monkeypatch.setattr("moenas.workflows.predict.CHUNK", 2)
    parts = predict_files(checkpoint, [tmp_path])
    assert (len(alive), most) == (4, 2)
    assert [each.error for each in parts] == [each.error for each in together]
    for one, other in zip(parts, together, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-6)
