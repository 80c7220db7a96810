"""Evaluate, predict, prune and the package's functions on a trained model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import moenas
from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import CheckpointError, DataError, ModelError, RunFolderError
from moenas.evaluation.predict import predict, probabilities
from moenas.models.storage import load_model
from moenas.predictions import Predictions
from moenas.runs import RunFolder, cache_home
from moenas.serialisation import read_json
from moenas.workflows.doctor import doctor
from moenas.workflows.evaluate import evaluate
from moenas.workflows.predict import predict_files
from moenas.workflows.prune import PruneConfig, prune
from moenas.workflows.verify import verify


@pytest.fixture(scope="module")
def checkpoint(tiny_run: Path) -> Path:
    """A finalist with experts."""
    models = read_json(tiny_run / "comparison.json")["models"]
    finalist = next(m for m in models if m["role"] == "finalist")
    return RunFolder(tiny_run).finalist(finalist["architecture"], 1).checkpoint


# Evaluate


def test_evaluation_tells_what_the_run_told(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    scores, predictions = evaluate(checkpoint, str(scenes), save=tmp_path / "p.parquet")
    stored = read_json(checkpoint.with_name("scores.json"))["scores"]["report"]
    assert scores.balanced_accuracy == stored["balanced_accuracy"]
    assert scores.fairness == stored["fairness"]
    assert scores.overfitting == stored["overfitting"]
    assert set(predictions.frame["split"]) == {"val", "report"}
    saved = Predictions.load(tmp_path / "p.parquet")
    assert saved.frame.equals(predictions.frame)
    assert saved.threshold == load_model(checkpoint)[1].threshold


def test_a_model_in_memory_is_scored_alike(checkpoint: Path, scenes: Path) -> None:
    model, card = load_model(checkpoint)
    manifest = Manifest.load(scenes)
    options = {"image_size": 32, "split": "search"}
    scores = moenas.evaluate(model, manifest, **options)  # type: ignore[arg-type]
    stored = read_json(checkpoint.with_name("scores.json"))["scores"]["search"]
    assert scores.threshold == card.threshold  # set on the same validation images
    assert scores.balanced_accuracy == stored["balanced_accuracy"]
    everyone = moenas.evaluate(model, manifest, threshold=0.0, **options)  # type: ignore[arg-type]
    assert (everyone.tpr, everyone.tnr) == (1.0, 0.0)


def test_a_strangers_model_is_refused(scenes: Path) -> None:
    import torch

    with pytest.raises(ModelError, match="build it with build_model"):
        moenas.evaluate(torch.nn.Linear(3, 2), Manifest.load(scenes), image_size=32)


def test_a_missing_split_is_told(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(scenes)
    manifest.take(manifest.frame["split"] != "report").save(tmp_path / "m.parquet")
    with pytest.raises(DataError, match="'report' has no images"):
        evaluate(checkpoint, str(tmp_path / "m.parquet"))


def test_predictions_follow_the_manifests_rows(checkpoint: Path, scenes: Path) -> None:
    model, _ = load_model(checkpoint)
    manifest = Manifest.load(scenes)
    images = cached_images(manifest, 32, cache_home() / "images", progress=False)
    all_rows = predict(model, manifest, images)
    assert all_rows.frame["image_id"].tolist() == manifest.frame["image_id"].tolist()
    part = predict(model, manifest, images, splits=("report",), threshold=0.3)
    assert set(part.frame["split"]) == {"report"}
    assert part.threshold == 0.3
    rows = np.array([9, 2, 40])
    chosen = probabilities(model, images.images, rows, batch_size=2)
    np.testing.assert_allclose(chosen, all_rows.frame["probability"].to_numpy()[rows], atol=1e-6)
    assert len(probabilities(model, images.images, np.array([], dtype=int))) == 0
    with pytest.raises(DataError, match="images for 5 rows"):
        predict(model, manifest.take(np.arange(5)), images)


# Predict


def test_files_and_folders_are_answered_in_order(checkpoint: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("b.png", "a.png", "c.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    answers = predict_files(checkpoint, [tmp_path / "c.jpg", tmp_path])
    assert [Path(a.path).name for a in answers] == ["c.jpg", "a.png", "b.png", "c.jpg"]
    assert answers[0] == answers[3]
    threshold = load_model(checkpoint)[1].threshold
    for answer in answers:
        assert answer.probability is not None
        assert answer.person == (answer.probability >= threshold)
        assert answer.error is None


def test_an_unreadable_image_is_told_and_the_others_are_answered(
    checkpoint: Path, tmp_path: Path
) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"not an image")
    bad, good = predict_files(checkpoint, [tmp_path])
    assert good.person is not None
    assert bad.person is None
    assert bad.error is not None
    assert "bad.png" in bad.error


def test_what_is_not_there_is_told(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no image '.*x\.png'"):
        predict_files(checkpoint, [tmp_path / "x.png"])
    with pytest.raises(DataError, match="has no files"):
        predict_files(checkpoint, [tmp_path])
    with pytest.raises(CheckpointError, match="does not exist"):
        predict_files(tmp_path / "no.safetensors", [tmp_path])


# Prune


@pytest.mark.slow
def test_pruning_leaves_a_run_that_can_be_verified(
    checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    result = prune(checkpoint, str(scenes), tmp_path / "run", PruneConfig(keep_above={}))
    run = RunFolder.open(tmp_path / "run")
    curve = read_json(run.pruning)
    assert curve["accepted"] == result.accepted == len(curve["steps"])
    assert run.pruned().checkpoint.stat().st_size < checkpoint.stat().st_size
    scores = read_json(run.pruned().scores)["scores"]
    assert set(scores) == {"search", "report"}
    assert scores["search"]["balanced_accuracy"] == curve["steps"][-1]["balanced_accuracy"]
    verified = verify(run.path)
    assert verified.problems == []
    assert verified.models == 1
    with pytest.raises(RunFolderError, match="other settings"):
        prune(checkpoint, str(scenes), tmp_path / "run", PruneConfig({"fairness": 0.5}))


def test_pruning_in_memory(checkpoint: Path, scenes: Path) -> None:
    model, card = load_model(checkpoint)
    manifest = Manifest.load(scenes)
    result = moenas.prune_experts(
        model, manifest, image_size=card.image_size, keep_above={}, max_parameters=1_200_000
    )
    assert result.steps[-1].parameters <= 1_200_000


# Doctor and report


def test_the_doctor_describes_this_machine() -> None:
    found = doctor()
    assert found.versions["moenas"] == "0.1.0"
    for name in ("demo", "dashboard"):  # as the dev extra has them
        assert None not in found.extras[name].values()
    assert found.memory_bytes > 0
    assert found.disk_bytes > 0


def test_the_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from moenas.workflows import doctor as module

    monkeypatch.setenv("MOENAS_CACHE", str(tmp_path / "not" / "yet"))
    monkeypatch.setattr(module, "EXTRAS", {"demo": ("no-such",), "dashboard": ()})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        module.shutil,
        "disk_usage",
        lambda _: usage._replace(free=10**9),  # type: ignore[attr-defined]
    )
    problems = doctor().problems
    assert any("pip install 'moenas[demo]'" in problem for problem in problems)
    assert any("Only 1.0 GB are free" in problem for problem in problems)


def test_any_function_is_a_model(scenes: Path) -> None:
    manifest = Manifest.load(scenes)
    asked: list[int] = []

    def bright(images: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, Any]:
        assert images.shape[1:] == (32, 32, 3)
        assert images.dtype == np.uint8
        asked.append(len(images))
        return images.mean(axis=(1, 2, 3)) / 255

    scores = moenas.evaluate(bright, manifest, image_size=32)
    counted = manifest.frame["split"].isin(("val", "report")).sum()
    assert sum(asked) == counted
    assert max(asked) <= 64
    assert (scores.parameters, scores.macs) == (0, 0)
    assert 0 < scores.balanced_accuracy < 1
    for wrong in (lambda images: images, lambda images: np.full(len(images), 1.5)):
        with pytest.raises(ModelError, match="must return as many probabilities"):
            moenas.evaluate(wrong, manifest, image_size=32)
