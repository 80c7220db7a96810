"""What a model's folder holds from before: used where it is the same model's, else set aside."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.cost import parameters_of
from moenas.models.storage import save_model
from moenas.runs import ModelFolder
from moenas.serialisation import write_json
from moenas.training import job as job_module
from moenas.training import subnet_job
from moenas.training.checkpoint import TrainingState, save_state
from moenas.training.identity import Identity
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.training.outcome import JobResult
from moenas.training.reuse import take_result, take_state
from moenas.training.schemes import SCHEMES
from moenas.training.subnet_job import SubnetJob, run_subnet_job

BASE = "mobilevitv2_050"
A = Architecture(BASE, (2, 1, 1, 1, 1, 1, 1, 1, 1))
B = Architecture(BASE, (1, 2, 1, 1, 1, 1, 1, 1, 1))  # of A's size
OLD = JobResult({}, 1.0, None)
NEW = JobResult({}, 2.0, None)
DATA = DataReference("nowhere", "nowhere", 32)


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    return ModelFolder(tmp_path / "0003")


@pytest.fixture
def told() -> Iterator[list[str]]:
    """The lines of the log."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("moenas").addHandler(handler)
    yield lines
    logging.getLogger("moenas").removeHandler(handler)


def save(folder: ModelFolder, architecture: Architecture, seed: int = 0) -> None:
    model = build_model(architecture.base, architecture.experts, seed=seed)
    save_model(folder.checkpoint, model, image_size=32)


def leave(folder: ModelFolder, of: Identity | None, scores: dict[str, Any] | None = None) -> None:
    """The scores of a finished job; None: as older versions wrote them."""
    content = {"scores": scores or {}, "seconds": 1.0, "stopped_because": None}
    if of is not None:
        content["of"] = dataclasses.asdict(of)
    write_json(folder.scores, content)


def job_of(architecture: Architecture, folder: ModelFolder, seed: int = 0) -> TrainingJob:
    return TrainingJob(architecture.id, str(folder.path), DATA, SCHEMES["mobilevitv2"], seed)


def state_of(architecture: Architecture, of: Identity | None) -> TrainingState:
    weights = build_model(architecture.base, architecture.experts, seed=0).state_dict()
    progress = {"history": [], "best": 0.5}
    if of is not None:
        progress["of"] = dataclasses.asdict(of)
    return TrainingState({"model": weights}, {"state": {}, "param_groups": []}, progress)


def names(folder: ModelFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()}


# Trained models


def test_another_architectures_result_is_removed_before_training(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    save(folder, A)
    leave(folder, Identity(A.id, 0))
    for file in (folder.predictions, folder.history, folder.card, folder.exports / "m.onnx"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("A's")
    rung = folder.path / "rung-0" / "scores.json"
    rung.parent.mkdir()
    rung.write_text("of what the number means now")
    seen: list[set[str]] = []

    def train(*_: Any) -> JobResult:
        seen.append(names(folder))
        return NEW

    monkeypatch.setattr(job_module, "_run", train)
    assert run_job(job_of(A, folder)).seconds == 1.0
    assert run_job(job_of(B, folder)) == NEW
    assert seen == [{".lock", "rung-0"}]
    assert rung.exists()
    (line,) = told
    assert A.id in line
    assert f"wanted is '{B.id}'" in line


def test_killed_between_the_checkpoint_and_the_scores(
    folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A's scores beside B's checkpoint were told for B."""
    save(folder, A)
    leave(folder, Identity(A.id, 0))

    def dies(*_: Any) -> JobResult:
        save(folder, B)
        raise KeyboardInterrupt

    monkeypatch.setattr(job_module, "_run", dies)
    with pytest.raises(KeyboardInterrupt):
        run_job(job_of(B, folder))
    monkeypatch.setattr(job_module, "_run", lambda *_: NEW)
    assert run_job(job_of(B, folder)) == NEW


def test_scores_are_held_against_the_job_themselves(folder: ModelFolder) -> None:
    save(folder, B)
    leave(folder, Identity(A.id, 0))
    assert take_result(folder, Identity(B.id, 0)) is None
    assert not folder.finished


def test_another_seeds_result_is_not_told(folder: ModelFolder) -> None:
    save(folder, A)
    leave(folder, Identity(A.id, 0))
    assert take_result(folder, Identity(A.id, 0)) is not None
    assert take_result(folder, Identity(A.id, 1)) is None


def test_results_of_older_versions_are_their_models(folder: ModelFolder, scored: Any) -> None:
    right = {"search": scored(parameters_of(A))}
    save(folder, A)
    leave(folder, None, right)
    found = take_result(folder, Identity(A.id, 5))
    assert found is not None
    assert found.of is None
    assert take_result(folder, Identity(B.id, 5)) is None  # by its checkpoint
    save(folder, A)
    leave(folder, None, {"search": scored(parameters_of(A) + 1)})
    assert take_result(folder, Identity(A.id, 5)) is None  # by its size


@pytest.fixture
def scored() -> Any:
    """Scores of nothing much, of a model with so many parameters."""
    from moenas.config import to_dict
    from moenas.evaluation.scores import Scores

    def make(parameters: int) -> dict[str, Any]:
        values: dict[str, Any] = {f.name: None for f in dataclasses.fields(Scores)}
        numbers = dict.fromkeys(("threshold", "accuracy", "balanced_accuracy", "tpr", "tnr"), 0.5)
        values |= {"split": "search", "n": 1, "groups": (), "lights": (), "macs": 1}
        return to_dict(Scores(**values | numbers | {"parameters": parameters, "intervals": {}}))

    return make


def test_a_model_that_cannot_be_read_is_trained_again_and_stays_until_then(
    folder: ModelFolder, told: list[str]
) -> None:
    leave(folder, Identity(A.id, 0))
    folder.checkpoint.write_bytes(b"damaged")
    assert take_result(folder, Identity(A.id, 0)) is None
    assert folder.checkpoint.exists()
    assert "trained again" in told[0]


# Parts of a supernet


@pytest.fixture
def supernet(tmp_path: Path) -> ModelFolder:
    found = ModelFolder(tmp_path / "supernet")
    save(found, Architecture(BASE, (2,) * 9))
    return found


@pytest.fixture
def part(
    supernet: ModelFolder, folder: ModelFolder, monkeypatch: pytest.MonkeyPatch
) -> tuple[SubnetJob, list[str]]:
    """A part of a supernet that was judged once, and what is judged from now on."""
    judged: list[str] = []

    def judge(job: SubnetJob, folder: ModelFolder, identity: Identity) -> JobResult:
        judged.append(job.architecture)
        leave(folder, identity)
        return NEW

    monkeypatch.setattr(subnet_job, "_run", judge)
    job = SubnetJob(A.id, str(folder.path), str(supernet.path), DATA, seed=0)
    assert run_subnet_job(job) == NEW
    assert run_subnet_job(job).seconds == 1.0
    judged.clear()
    return job, judged


@pytest.mark.parametrize("change", [{"architecture": B.id}, {"seed": 1}])
def test_another_parts_scores_are_not_told(
    part: tuple[SubnetJob, list[str]], change: dict[str, Any], told: list[str]
) -> None:
    job, judged = part
    other = dataclasses.replace(job, **change)
    assert run_subnet_job(other) == NEW
    assert run_subnet_job(other).seconds == 1.0
    assert judged == [other.architecture]
    assert len(told) == 1


def test_a_part_of_another_supernet_is_judged_again(
    part: tuple[SubnetJob, list[str]], supernet: ModelFolder
) -> None:
    job, judged = part
    save(supernet, Architecture(BASE, (2,) * 9), seed=1)
    assert run_subnet_job(job) == NEW
    assert judged == [job.architecture]


def test_a_part_of_an_unknown_supernet_is_judged_again(
    part: tuple[SubnetJob, list[str]], folder: ModelFolder
) -> None:
    job, judged = part
    leave(folder, None)
    assert run_subnet_job(job) == NEW
    assert judged == [job.architecture]


# Half-trained models


@pytest.mark.parametrize(
    ("stored", "of", "goes_on"),
    [
        (A, Identity(A.id, 0), True),
        (A, None, True),  # an older version's
        (B, None, False),
        (A, Identity(A.id, 1), False),
        (A, Identity(B.id, 0), False),
    ],
)
def test_only_its_own_state_goes_on(
    folder: ModelFolder,
    told: list[str],
    stored: Architecture,
    of: Identity | None,
    goes_on: bool,
) -> None:
    for _ in range(2):  # there is one before it, too
        save_state(folder.state, state_of(stored, of))
    folder.history.write_text("its epochs")
    model = build_model(A.base, A.experts, seed=1).state_dict()
    found = take_state(folder, Identity(A.id, 0), model)
    assert (found is not None) == goes_on
    assert bool(names(folder)) == goes_on
    assert len(told) == (not goes_on)
