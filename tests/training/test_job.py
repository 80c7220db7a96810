from __future__ import annotations

import dataclasses
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import CheckpointError, ConfigError, DataError, ModelError
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import score
from moenas.evaluation.threshold import best_threshold
from moenas.models.architecture import Architecture
from moenas.models.storage import load_model
from moenas.predictions import Predictions
from moenas.runs import ModelFolder, cache_home
from moenas.training import job as job_module
from moenas.training.history import EpochRecord
from moenas.training.job import DataReference, TrainingJob, _Hopeless, run_job
from moenas.training.loop import OutOfTime
from moenas.training.outcome import read_result
from moenas.training.schemes import Scheme

DENSE = "mobilevitv2_050-e111111111"
EXPERTS = "mobilevitv2_050-e211121113"


@pytest.fixture
def job(scenes: Path, scheme: Scheme, tmp_path: Path) -> TrainingJob:
    return TrainingJob(
        architecture=DENSE,
        folder=str(tmp_path / "model"),
        data=DataReference(str(scenes), str(cache_home() / "images"), 32),
        scheme=dataclasses.replace(scheme, epochs=2, batch_size=16),
        seed=5,
        device="cpu",
    )


@pytest.fixture(scope="module")
def parent(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dense model that was trained for one epoch."""
    from moenas.training.schemes import SCHEMES

    scheme = dataclasses.replace(
        SCHEMES["mobilevitv2"], epochs=1, batch_size=16, augmentation="none"
    )
    folder = tmp_path_factory.mktemp("parent") / "dense"
    data = DataReference(str(scenes), str(cache_home() / "images"), 32)
    run_job(TrainingJob(DENSE, str(folder), data, scheme, seed=1, device="cpu"))
    return folder


def test_what_a_job_leaves(parent: Path) -> None:
    folder = ModelFolder(parent)
    assert {p.name for p in parent.iterdir()} - {".lock"} == {
        "checkpoint.safetensors",
        "history.jsonl",
        "predictions.parquet",
        "scores.json",
    }
    _, card = load_model(folder.checkpoint)
    assert card.architecture == DENSE
    assert card.image_size == 32
    predictions = Predictions.load(folder.predictions)
    assert predictions.threshold == card.threshold == best_threshold(predictions.split("val"))
    assert set(predictions.frame["split"]) == {"val", "search"}
    result = read_result(folder)
    told = result.scores["search"]
    assert told == score(predictions, split="search", parameters=told.parameters, macs=told.macs)
    assert result.seconds > 0
    assert result.stopped_because is None


def test_what_is_predicted_in_mixed_precision_is_what_the_saved_model_predicts(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "best_precision", lambda device: "bf16")
    job = dataclasses.replace(job, scheme=dataclasses.replace(job.scheme, epochs=1))
    run_job(job)
    folder = ModelFolder(Path(job.folder))
    stored = Predictions.load(folder.predictions)
    model, _ = load_model(folder.checkpoint)
    manifest, images = job.data.load()
    again = predict(model, manifest, images, splits=("val", "search"), device=torch.device("cpu"))
    difference = stored.frame["probability"].to_numpy() - again.frame["probability"].to_numpy()
    assert abs(difference).max() < 1e-5


def test_predictions_are_in_the_manifests_order(
    job: TrainingJob, scenes: Path, tmp_path: Path
) -> None:
    given = Manifest.load(scenes)
    mixed = Manifest(given.frame.sample(frac=1, random_state=0), given.root)
    path = tmp_path / "mixed.parquet"
    mixed.save(path)
    data = dataclasses.replace(job.data, manifest=str(path))
    run_job(dataclasses.replace(job, data=data, scheme=dataclasses.replace(job.scheme, epochs=1)))
    folder = ModelFolder(Path(job.folder))
    stored = Predictions.load(folder.predictions).frame
    model, card = load_model(folder.checkpoint)
    images = cached_images(mixed, 32, cache_home() / "images", progress=False)
    fresh = predict(model, mixed, images, splits=("val", "search"), threshold=card.threshold).frame
    assert fresh["image_id"].tolist() == stored["image_id"].tolist()
    assert fresh["probability"].to_numpy() == pytest.approx(
        stored["probability"].to_numpy(), abs=1e-5
    )


def test_a_finished_job_is_not_trained_again(
    parent: Path, job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "train", lambda *_, **__: pytest.fail("trained again"))
    again = run_job(dataclasses.replace(job, folder=str(parent), seed=1))
    assert again == read_result(ModelFolder(parent))


def test_a_job_that_ran_out_of_time_goes_on(job: TrainingJob) -> None:
    with pytest.raises(OutOfTime):
        run_job(dataclasses.replace(job, deadline=time.monotonic() - 1))
    assert not ModelFolder(Path(job.folder)).finished
    whole = run_job(dataclasses.replace(job, folder=job.folder + "-whole"))
    parts = run_job(job)
    assert parts.scores == whole.scores
    files = [
        load_model(ModelFolder(Path(f)).checkpoint)[0] for f in (job.folder, job.folder + "-whole")
    ]
    one, two = (model.state_dict() for model in files)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_upcycled_model_starts_as_its_parent(
    job: TrainingJob, parent: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[torch.nn.Module] = []

    def stop(model: torch.nn.Module, *_: Any, **__: Any) -> None:
        started.append(model)
        raise OutOfTime("enough")

    monkeypatch.setattr(job_module, "train", stop)
    upcycled = dataclasses.replace(job, architecture=EXPERTS, parent=str(parent))
    with pytest.raises(OutOfTime):
        run_job(upcycled)
    dense, _ = load_model(ModelFolder(parent).checkpoint)
    images = torch.randn(3, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(started[0].eval()(images), dense(images), atol=1e-5, rtol=1e-5)


def test_a_parent_of_another_kind_is_refused(
    job: TrainingJob, parent: Path, tmp_path: Path
) -> None:
    wide = dataclasses.replace(job, architecture="mobilevitv2_075-e211111111", parent=str(parent))
    with pytest.raises(ModelError, match="starts from a dense 'mobilevitv2_075'"):
        run_job(wide)
    with pytest.raises(CheckpointError, match="does not exist"):
        run_job(dataclasses.replace(job, parent=str(tmp_path / "nowhere")))


def test_a_damaged_parent_is_told(job: TrainingJob, parent: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(parent, tmp_path / "broken")
    checkpoint = ModelFolder(broken).checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or truncated"):
        run_job(dataclasses.replace(job, parent=str(broken)))


def test_an_architecture_outside_the_space_is_refused(job: TrainingJob) -> None:
    for wrong in ("mobilevitv2_050-e911111111", "mobilevitv2_050-e11", "mobilevitv2_05-e111111111"):
        with pytest.raises(ModelError):
            run_job(dataclasses.replace(job, architecture=wrong))


@pytest.mark.parametrize(("split", "name"), [("val", "validation"), ("train", "training")])
def test_a_split_of_one_class_is_told(
    job: TrainingJob, scenes: Path, tmp_path: Path, split: str, name: str
) -> None:
    manifest = Manifest.load(scenes)
    manifest.frame.loc[manifest.frame["split"] == split, "label"] = 1
    manifest.save(tmp_path / "one.parquet")
    data = dataclasses.replace(job.data, manifest=str(tmp_path / "one.parquet"))
    with pytest.raises(DataError, match=f"{name} images all have the same label"):
        run_job(dataclasses.replace(job, data=data))


def history(*accuracies: float) -> tuple[EpochRecord, ...]:
    return tuple(EpochRecord(i + 1, 0.5, a, 1e-3, 1.0) for i, a in enumerate(accuracies))


def test_only_hopeless_trainings_end_early() -> None:
    rule = _Hopeless(floor=0.8, epochs=4)
    assert rule(history(0.5)) is None  # too early to tell
    reason = rule(history(0.5, 0.6))
    assert reason == "validation accuracy 0.600 after 2 of 4 epochs, 0.800 is required at the end"
    assert rule(history(0.5, 0.71)) is None  # close enough
    assert rule(history(0.71, 0.5)) is None  # its best counts
    assert rule(history(0.5, 0.5, 0.5, 0.5)) is None  # at the end there is nothing to save


def test_a_training_without_hope_is_scored_as_it_is(job: TrainingJob) -> None:
    result = run_job(
        dataclasses.replace(job, floor=1.5, scheme=dataclasses.replace(job.scheme, epochs=4))
    )
    assert result.stopped_because is not None
    lines = ModelFolder(Path(job.folder)).history.read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    assert result.scores["search"].n == 72


def test_a_taught_model_learns_what_its_teacher_says(job: TrainingJob, parent: Path) -> None:
    """Its loss is a distance, which vanishes for the teacher itself; labels' never does."""
    scheme = dataclasses.replace(job.scheme, learning_rate=1e-9, final_learning_rate=1e-9)
    own = dataclasses.replace(job, scheme=scheme, parent=str(parent))
    run_job(dataclasses.replace(own, teacher=str(parent)))
    taught = json.loads(ModelFolder(Path(job.folder)).history.read_text().splitlines()[0])
    run_job(dataclasses.replace(own, folder=job.folder + "-2"))
    told = json.loads(ModelFolder(Path(job.folder + "-2")).history.read_text().splitlines()[0])
    assert 0 <= taught["loss"] < 0.1 < told["loss"]


def test_a_teacher_sees_images_of_its_size(
    job: TrainingJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the student sees, it sees, too: a recipe of several sizes has one, where it has one."""
    student = Architecture.dense_base("resnet18")
    data = dataclasses.replace(job.data, image_size=64)
    recipe = dataclasses.replace(job.scheme, multi_scale=True)
    of = {"small": student.id, "fixed": Architecture.dense_base("mixer_s32_224@64").id}
    monkeypatch.setattr(
        job_module, "read_card", lambda path: SimpleNamespace(architecture=of[path.parent.name])
    )
    for teacher, several in ((None, True), ("small", True), ("fixed", False)):
        asked = dataclasses.replace(job, scheme=recipe, data=data, teacher=teacher)
        assert job_module._suited(asked, student).multi_scale == several


def test_validation_images_are_predicted_once_although_they_are_to_be_scored(
    job: TrainingJob,
) -> None:
    scheme = dataclasses.replace(job.scheme, epochs=0.1)
    result = run_job(dataclasses.replace(job, scheme=scheme, score=("val", "search")))
    assert set(result.scores) == {"val", "search"}
    assert result.scores["val"].n == 16
    frame = Predictions.load(ModelFolder(Path(job.folder)).predictions).frame
    assert not frame["image_id"].duplicated().any()


def test_a_teacher_that_is_not_there_or_not_wanted(job: TrainingJob, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nobody"):
        run_job(dataclasses.replace(job, teacher=str(tmp_path / "nobody")))
    with pytest.raises(ConfigError, match="its own teacher"):
        run_job(dataclasses.replace(job, supernet=True, teacher=str(tmp_path / "nobody")))
