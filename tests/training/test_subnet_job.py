from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import CheckpointError
from moenas.evaluation.predict import probabilities
from moenas.models.storage import load_model
from moenas.models.subnet import subnet
from moenas.predictions import Predictions
from moenas.runs import ModelFolder, cache_home
from moenas.training import loop, subnet_job
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.training.loop import OutOfTime
from moenas.training.outcome import read_result
from moenas.training.recalibration import recalibrate
from moenas.training.schemes import SCHEMES
from moenas.training.subnet_job import SubnetJob, run_subnet_job

PART = (2, 1, 1, 1, 1, 1, 1, 1, 3)


@pytest.fixture(scope="module")
def supernet(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    scheme = dataclasses.replace(
        SCHEMES["mobilevitv2"], epochs=1, batch_size=16, augmentation="none"
    )
    folder = tmp_path_factory.mktemp("supernet") / "net"
    data = DataReference(str(scenes), str(cache_home() / "images"), 32)
    architecture = "mobilevitv2_050-e311111113"
    job = TrainingJob(architecture, str(folder), data, scheme, seed=1, supernet=True, device="cpu")
    run_job(job)
    return folder


@pytest.fixture
def job(supernet: Path, scenes: Path, tmp_path: Path) -> SubnetJob:
    return SubnetJob(
        architecture="mobilevitv2_050-e211111113",
        folder=str(tmp_path / "part"),
        supernet=str(supernet),
        data=DataReference(str(scenes), str(cache_home() / "images"), 32),
        seed=4,
        device="cpu",
    )


def test_the_time_limit_holds(job: SubnetJob, monkeypatch: pytest.MonkeyPatch) -> None:
    late = dataclasses.replace(job, deadline=time.monotonic() - 1)
    with pytest.raises(OutOfTime, match="came in judging"):
        run_subnet_job(late)
    left: list[float] = [1.0, 0.0]  # one look is in time, the one at the first batch is not
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: -left.pop(0)))
    with pytest.raises(OutOfTime, match="came in judging"):
        run_subnet_job(dataclasses.replace(job, deadline=-0.5))
    assert not left
    assert not ModelFolder(Path(job.folder)).finished


def test_it_judges_the_recalibrated_part(job: SubnetJob, supernet: Path, scenes: Path) -> None:
    result = run_subnet_job(job)
    folder = ModelFolder(Path(job.folder))
    assert {p.name for p in folder.path.iterdir()} == {
        ".lock",
        "predictions.parquet",
        "scores.json",
    }
    assert read_result(folder) == result
    model = subnet(load_model(ModelFolder(supernet).checkpoint)[0], PART)
    manifest = Manifest.load(scenes)
    images = cached_images(manifest, 32, cache_home() / "images", progress=False)
    split = manifest.frame["split"].to_numpy()
    seed = subnet_job.derived_seed(4, "recalibration")
    rows = np.flatnonzero(split == "train")
    recalibrate(model, images.images, rows, seed=seed, device=torch.device("cpu"))
    stored = Predictions.load(folder.predictions).frame
    assert set(stored["split"]) == {"val", "search"}
    wanted = np.flatnonzero(np.isin(split, ("val", "search")))
    fresh = probabilities(model, images.images, wanted, device=torch.device("cpu"))
    assert stored["probability"].to_numpy() == pytest.approx(fresh, abs=1e-6)
    assert stored["image_id"].tolist() == manifest.frame["image_id"].iloc[wanted].tolist()


def test_it_is_judged_once(job: SubnetJob, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run_subnet_job(job)
    monkeypatch.setattr(subnet_job, "load_model", lambda *_: pytest.fail("judged again"))
    assert run_subnet_job(job) == first


def test_without_a_supernet_the_message_says_where(job: SubnetJob, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        run_subnet_job(dataclasses.replace(job, supernet=str(tmp_path / "nowhere")))
