"""A head trained alone leaves the rest of the model as it was, to the last bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from moenas.errors import ConfigError, ModelError
from moenas.models.builder import build_model
from moenas.models.quantum_head import NarrowHead
from moenas.models.storage import load_model, save_model
from moenas.runs import ModelFolder, cache_home
from moenas.training.dropout import classifier_dropout
from moenas.training.head_only import HeadStep
from moenas.training.job import DataReference, TrainingJob, run_job
from moenas.training.schemes import Scheme

EXPERTS = "mobilevitv2_050-e211111112"


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    """A checkpoint with experts, as a search leaves one."""
    model = build_model("mobilevitv2_050", (2, 1, 1, 1, 1, 1, 1, 1, 2), seed=0)
    path = tmp_path / "finalist.safetensors"
    save_model(path, model, image_size=32)
    return path


@pytest.fixture
def job(scenes: Path, scheme: Scheme, parent: Path, tmp_path: Path) -> TrainingJob:
    return TrainingJob(
        architecture=f"{EXPERTS}-quantum4x1",
        folder=str(tmp_path / "model"),
        data=DataReference(str(scenes), str(cache_home() / "images"), 32),
        scheme=dataclasses.replace(scheme, epochs=1, batch_size=16),
        seed=5,
        parent=str(parent),
        head_only=True,
        device="cpu",
    )


def test_only_the_head_learns(job: TrainingJob, parent: Path) -> None:
    result = run_job(job)
    model, card = load_model(ModelFolder(Path(job.folder)).checkpoint)
    body, _ = load_model(parent)
    before, after = body.state_dict(), model.state_dict()
    assert card.architecture == job.architecture
    assert result.scores["search"].parameters == sum(p.numel() for p in model.parameters())
    for name, value in before.items():
        if not name.startswith("head."):
            assert torch.equal(after[name], value), name


def test_everything_learns_without_it(job: TrainingJob, parent: Path) -> None:
    run_job(dataclasses.replace(job, head_only=False))
    model, _ = load_model(ModelFolder(Path(job.folder)).checkpoint)
    before, after = load_model(parent)[0].state_dict(), model.state_dict()
    changed = {n for n in before if n in after and not torch.equal(after[n], before[n])}
    assert "stem.conv.weight" in changed


def test_a_head_goes_on_where_the_parent_has_the_same(job: TrainingJob) -> None:
    run_job(job)
    first = ModelFolder(Path(job.folder))
    slow = dataclasses.replace(job.scheme, learning_rate=1e-9, final_learning_rate=1e-9)
    more = dataclasses.replace(job, folder=job.folder + "2", parent=job.folder, scheme=slow)
    run_job(more)
    one, two = (
        load_model(folder.checkpoint)[0].state_dict()["head.fc.core.weight"]
        for folder in (first, ModelFolder(Path(more.folder)))
    )
    assert torch.allclose(one, two, atol=1e-5)


def test_what_a_head_alone_needs(job: TrainingJob) -> None:
    with pytest.raises(ConfigError, match="parent's features"):
        run_job(dataclasses.replace(job, parent=None))
    with pytest.raises(ConfigError, match="without a teacher"):
        run_job(dataclasses.replace(job, teacher=str(job.parent)))
    with pytest.raises(ModelError, match="pooled features"):
        HeadStep(build_model("deit_tiny_distilled_patch16_224"))


def test_a_parent_with_other_experts_is_refused(job: TrainingJob) -> None:
    with pytest.raises(ModelError, match="or from one with the same expert counts"):
        run_job(dataclasses.replace(job, architecture="mobilevitv2_050-e311111112"))


def test_dropout_comes_before_the_whole_head() -> None:
    model = build_model("mobilevitv2_050", seed=0, head="quantum4x1")
    head = model.get_classifier()  # type: ignore[operator]
    assert isinstance(head, NarrowHead)
    seen: list[torch.Tensor] = []
    head.reduce.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    with classifier_dropout(model, 0.5):
        head.train()(torch.ones(4, 256))
        head.eval()(torch.ones(4, 256))
    dropped, whole = ((part == 0).float().mean() for part in seen)
    assert 0.4 < dropped < 0.6
    assert whole == 0
