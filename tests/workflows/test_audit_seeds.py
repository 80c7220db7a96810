"""An audit that does not go as planned: seeds that fail, and a time limit late in its way."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest

from moenas.errors import MoENASError
from moenas.evaluation import degradation as degradation_module
from moenas.models.architecture import Architecture
from moenas.nas import stages
from moenas.runs import ModelFolder, cache_home
from moenas.serialisation import read_json
from moenas.training import degrading, scoring
from moenas.training import job as job_module
from moenas.training.degrading import DegradationJob, run_degradation_job
from moenas.training.job import DataReference, TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult
from moenas.training.schemes import SCHEMES
from moenas.training.scoring import ScoringJob, run_scoring_job
from moenas.workflows import audit as audit_module
from moenas.workflows.audit import AuditConfig, audit
from moenas.workflows.verify import verify

MODELS = ("lcnet_035", "lcnet_050")


@pytest.fixture(scope="module")
def config(scenes: Path) -> AuditConfig:
    return AuditConfig(
        str(scenes),
        models=MODELS,
        schemes=("short",),
        epochs=0.2,
        image_size=32,
        batch_size=16,
        seeds=2,
        corruptions=(),
    )


def diverges(job: TrainingJob) -> JobResult:
    """The second seed of one model."""
    if "lcnet_035" in job.architecture and job.seed > 0:
        raise MoENASError("The loss became nan.")
    return job_module.run_job(job)


def test_a_seed_that_diverges_is_told_and_the_others_count(
    config: AuditConfig,
    tmp_path: Path,
    here: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(stages, "run_job", diverges)
    result = audit(config, tmp_path / "audit")
    first, second = result.models
    assert (first.seeds, second.seeds) == ((0,), (0, 1))
    assert first.failed == {1: "The loss became nan."}
    assert first.judgement[-1].startswith("1 of 2 trainings with short succeeded")
    assert "lcnet_035 could not be trained with short, seed 1: The loss became nan" in caplog.text
    summary = read_json(tmp_path / "audit" / "summary.json")
    assert summary["models"][0]["failed"] == {"1": "The loss became nan."}
    told = next(sentence for sentence in summary["verdict"] if "equally often" in sentence)
    assert "(lcnet_035 with short, seed 1): lcnet_050 2 times; lcnet_035 once." in told
    assert told in result.report.read_text(encoding="utf-8")
    assert verify(tmp_path / "audit").problems == []


@pytest.fixture
def trained(config: AuditConfig, tmp_path: Path, here: None) -> tuple[ModelFolder, DataReference]:
    """A small model that was trained and not yet looked at on the report half."""
    data = DataReference(config.data[0], str(cache_home() / "images"), 32)
    folder = ModelFolder(tmp_path / "model")
    job_module.run_job(
        TrainingJob(
            architecture=Architecture.dense_base("lcnet_035").id,
            folder=str(folder.path),
            data=data,
            scheme=SCHEMES["short"].fitted(32, 0.2, 16),
            seed=0,
        )
    )
    return folder, data


def test_the_time_limit_holds_for_scoring_and_worse_images(
    trained: tuple[ModelFolder, DataReference], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, data = trained
    past = time.monotonic() - 1
    look = ScoringJob(str(folder.path), data, ("search", "report"), "cpu", past)
    with pytest.raises(OutOfTime, match="in scoring"):
        run_scoring_job(look)
    assert "report" not in scoring.read_result(folder).scores

    said = []
    real = degradation_module.predict

    def slow(*arguments, check, **more):
        if len(said) == 2:  # the limit comes in the third severity
            monkeypatch.setattr(degrading, "check_deadline", expired)
        said.append(more["alter"] is not None)
        return real(*arguments, check=check, **more)

    def expired(deadline: float | None, where: str) -> None:
        raise OutOfTime(where)

    job = DegradationJob(str(folder.path), data, "low_light", device="cpu", deadline=past + 3600)
    with monkeypatch.context() as patch:
        patch.setattr(degradation_module, "predict", slow)
        with pytest.raises(OutOfTime):
            run_degradation_job(job)
    assert said == [False, True, True]
    monkeypatch.undo()
    assert not folder.degradation("low_light").exists()
    assert folder.severity("low_light", 1).exists()
    calls = []
    monkeypatch.setattr(
        degradation_module, "predict", lambda *a, **k: calls.append(1) or real(*a, **k)
    )
    resumed = run_degradation_job(job)
    assert len(calls) == 4  # severities 2 to 5
    assert not list(folder.path.glob("*-*.parquet"))
    folder.degradation("low_light").unlink()
    whole = run_degradation_job(job)
    assert resumed.equals(whole)


def test_out_of_time_while_looking_goes_on(
    config: AuditConfig, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = dataclasses.replace(config, models=MODELS[:1], seeds=1)

    def late(job: ScoringJob) -> JobResult:
        raise OutOfTime("late")

    with monkeypatch.context() as patch:
        patch.setattr(audit_module, "run_scoring_job", late)
        with pytest.raises(OutOfTime, match="run it again to go on"):
            audit(one, tmp_path / "audit")
    assert audit(one, tmp_path / "audit").models[0].scores is not None
