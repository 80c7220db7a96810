"""The disk is full when models of some megabytes are written: by a training, pruning, an export."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import deadly
import numpy as np
import numpy.typing as npt
import pytest
from small_disk import MIB, filling, mounted

from moenas.errors import RunFolderError
from moenas.export.backends import BACKENDS, Backend, Source
from moenas.export.exported import Experts
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import save_model
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.serialisation import read_json
from moenas.training.checkpoint import load_state
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.training.schemes import SCHEMES

pytestmark = pytest.mark.slow

FULL = r"^The disk is full: '.*{}' was not written\. What was finished before is intact"


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield from mounted(tmp_path_factory.mktemp("disk"), 64)


@pytest.fixture
def fill(disk: Path) -> Iterator[Callable[[int], Path]]:
    """Fills the disk but for some bytes; returns the file to delete."""
    yield from filling(disk)
    for path in disk.iterdir():
        shutil.rmtree(path)


@pytest.fixture(scope="module")
def job(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingJob:
    """A training of two epochs, done."""
    job = TrainingJob(
        architecture="mobilevitv2_050-e111111111",
        folder=str(tmp_path_factory.mktemp("whole")),
        data=DataReference(str(scenes), str(cache_home() / "images"), 32),
        scheme=dataclasses.replace(
            SCHEMES["mobilevitv2"], epochs=2, batch_size=16, augmentation="none"
        ),
        seed=5,
        device="cpu",
    )
    run_job(job)
    return job


@pytest.mark.parametrize(
    ("left", "missing", "epochs"),
    [(4, "state", 0), (30, "state", 1), (44, "checkpoint", 2)],
    ids=["first-state", "second-state", "checkpoint"],
)
def test_a_training(
    disk: Path, fill: Callable[[int], Path], job: TrainingJob, left: int, missing: str, epochs: int
) -> None:
    folder = ModelFolder(disk / "model")
    ballast = fill(left * MIB)
    with pytest.raises(RunFolderError, match=FULL.format(rf"{missing}\.safetensors")):
        run_job(dataclasses.replace(job, folder=str(folder.path)))
    assert not list(disk.rglob("*.part"))
    assert not folder.checkpoint.exists()
    state = load_state(folder.state)
    assert (0 if state is None else len(state.progress["history"])) == epochs
    ballast.unlink()
    run_job(dataclasses.replace(job, folder=str(folder.path)))
    whole = ModelFolder(Path(job.folder))
    assert folder.checkpoint.read_bytes() == whole.checkpoint.read_bytes()
    assert {p.name for p in folder.path.iterdir()} == {p.name for p in whole.path.iterdir()}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    dense = build_model("mobilevitv2_050", seed=1)
    save_model(path, upcycle(dense, (1, 2, 1, 1, 1, 1, 1, 1, 1), seed=1, noise=0.5), image_size=32)
    return path


def test_pruning(disk: Path, fill: Callable[[int], Path], checkpoint: Path, scenes: Path) -> None:
    run = RunFolder(disk / "run")
    ballast = fill(MIB)
    with pytest.raises(RunFolderError, match=FULL.format(r"checkpoint\.safetensors")):
        deadly.prune(str(checkpoint), str(scenes), str(run.path))
    assert not list(disk.rglob("*.part"))
    steps = read_json(run.pruning_steps)["steps"]
    assert [step["step"] for step in steps] == [0, 1]
    assert not run.pruned().checkpoint.exists()
    ballast.unlink()
    deadly.prune(str(checkpoint), str(scenes), str(run.path))
    assert read_json(run.pruning_steps)["steps"] == steps  # they were not made again
    assert run.pruned().finished


def write(source: Source, path: Path) -> None:
    """As torch does: what it says of a full disk is no OSError."""
    try:
        path.write_bytes(bytes(4 * MIB))
    except OSError:
        raise RuntimeError("unexpected pos 128 vs 22") from None


class AlwaysUnsure:
    """An exported file that runs."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        return np.zeros((len(images), 2), np.float32), {}


def test_an_export(
    disk: Path,
    fill: Callable[[int], Path],
    job: TrainingJob,
    scenes: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the folder that gets it, and of the one for temporary files."""
    monkeypatch.setitem(BACKENDS, "pt2", Backend(write, lambda path: AlwaysUnsure()))
    checkpoint, out = ModelFolder(Path(job.folder)).checkpoint, disk / "exports"
    ballast = fill(MIB)
    with pytest.raises(RunFolderError, match=FULL.format(r"\.pt2")):
        deadly.export(str(checkpoint), str(scenes), str(out))
    assert [path.name for path in out.iterdir()] == [".lock"]
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(disk))
        with pytest.raises(RunFolderError, match=FULL.format(r"\.pt2")):
            deadly.export(str(checkpoint), str(scenes), str(out))
    assert {path.name for path in disk.iterdir()} == {"ballast", "exports"}
    ballast.unlink()
    deadly.export(str(checkpoint), str(scenes), str(out))
    assert len(list(out.glob("*.pt2"))) == 1
