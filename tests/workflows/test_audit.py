from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pandas as pd
import pytest

from moenas.config import from_dict
from moenas.errors import ConfigError, ModelError, MoENASError, RunFolderError
from moenas.evaluation.scores import Scores
from moenas.execution.executor import WorkerDiedError
from moenas.models.cost import count_parameters
from moenas.models.storage import load_model
from moenas.nas import stages
from moenas.predictions import Predictions
from moenas.report.paper_table import paper_table
from moenas.runs import ModelFolder, RunFolder
from moenas.serialisation import read_json
from moenas.training import job as job_module
from moenas.training.job import TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult, read_result
from moenas.training.scoring import ScoringJob, run_scoring_job
from moenas.workflows.audit import AuditConfig, audit
from moenas.workflows.report import report
from moenas.workflows.settings import Resources
from moenas.workflows.verify import verify
from tracked_run import Memory, use

MODELS, PLANS = ("lcnet_035", "mobilevitv2_050"), ("mobilevitv2", "resnet")


@pytest.fixture
def config(scenes: Path) -> AuditConfig:
    return AuditConfig(
        str(scenes),
        models=MODELS,
        schemes=PLANS,
        epochs=1,
        image_size=32,
        batch_size=16,
        corruptions=(),
    )


@pytest.fixture
def run(config: AuditConfig, tmp_path: Path, here: None) -> Path:
    audit(config, tmp_path / "audit")
    return tmp_path / "audit"


def test_an_audit(
    config: AuditConfig, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, config = tmp_path / "audit", dataclasses.replace(config, corruptions=("low_light",))
    audit(config, run)
    summary = read_json(run / "summary.json")
    assert [m["model"] for m in summary["models"]] == list(MODELS)
    for entry in summary["models"]:
        tried = entry["tried"]
        assert set(tried) == set(PLANS)
        assert entry["scheme"] == max(tried, key=tried.get)
        for scheme in PLANS:
            found = read_result(RunFolder(run).audited(entry["model"], scheme, 0))
            assert found.scores["search"].balanced_accuracy == tried[scheme]
            assert ("report" in found.scores) == (scheme == entry["scheme"])
        own = read_result(ModelFolder(run / entry["folder"])).scores["report"]
        assert from_dict(Scores, entry["scores"]) == own
        assert entry["judgement"]
    table = pd.read_csv(run / "audit.csv").set_index("model")
    ours = paper_table().set_index("model").loc["MobileViTV2"]
    assert table.loc["mobilevitv2_050", "paper_fairness"] == ours["fairness"]
    assert pd.isna(table.loc["lcnet_035", "paper_fairness"])
    answers = pd.read_csv(run / "answers.csv")
    leader = max(summary["models"], key=lambda m: max(m["tried"].values()))["model"]
    assert set(answers["reference"]) == {leader}
    assert len(answers) == 11  # the other model: everyone, and ten tones
    result = verify(run)
    assert not result.problems
    assert result.models == 4

    done = report(run, "svg")
    assert done.page is not None
    assert "of 2 models" in done.page.read_text().lower()
    assert len(done.figures) == 6
    curves = pd.read_csv(run / "degradation.csv")
    assert set(curves["model"]) == set(MODELS)
    assert set(curves["severity"]) == set(range(6))

    use(memory := Memory(), monkeypatch)
    audit(config, run, Resources(track="mlflow"))  # everything is there
    sent = {series.rpartition("/")[0] for series, _, values in memory.points if values}
    assert sent == {"models", "report"}
    assert {f"report/{model}" for model in config.models} <= {point[0] for point in memory.points}
    assert memory.outcomes == ["finished"]
    again = read_json(run / "summary.json")
    assert {k: again[k] for k in ("models", "verdict", "data")} == {
        k: summary[k] for k in ("models", "verdict", "data")
    }
    with pytest.raises(RunFolderError, match=r"other settings \(epochs\)"):
        audit(dataclasses.replace(config, epochs=2), run)


def test_a_training_that_fails_is_one_scheme_less(
    config: AuditConfig,
    tmp_path: Path,
    here: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = job_module.run_job

    def fails(job: TrainingJob) -> JobResult:
        if job.scheme.name == "resnet" or "lcnet" in job.architecture:
            raise MoENASError("The loss became nan.")
        return real(job)

    monkeypatch.setattr(stages, "run_job", fails)
    first, second = audit(config, tmp_path / "audit").models
    assert (first.scheme, first.scores) == (None, None)
    assert first.judgement == ("No training succeeded.",)
    assert second.scheme == "mobilevitv2"
    assert second.tried["resnet"] is None
    assert "mobilevitv2_050 could not be trained with resnet: The loss became nan." in caplog.text

    only = dataclasses.replace(config, models=("lcnet_035",))
    with pytest.raises(MoENASError, match="Every training failed; the last one: The loss became"):
        audit(only, tmp_path / "none")


def test_out_of_time_goes_on(
    config: AuditConfig, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = job_module.run_job

    def late(job: TrainingJob) -> JobResult:
        if job.scheme.name == "resnet":
            raise OutOfTime("late")
        return real(job)

    with monkeypatch.context() as patch:
        patch.setattr(stages, "run_job", late)
        with pytest.raises(OutOfTime, match="run it again to go on"):
            audit(config, tmp_path / "audit")
    assert not (tmp_path / "audit" / "summary.json").exists()
    assert len(audit(config, tmp_path / "audit").models) == 2


def test_scoring_again_changes_nothing_that_was_known(run: Path, config: AuditConfig) -> None:
    folder = RunFolder(run).audited("lcnet_035", "resnet", 0)
    before, said = read_result(folder), Predictions.load(folder.predictions).split("search").frame
    data = _data(run, config)
    after = run_scoring_job(ScoringJob(str(folder.path), data, ("search", "report"), "cpu"))
    assert after.scores["search"] == read_result(folder).scores["search"]
    again = Predictions.load(folder.predictions).split("search").frame
    assert (again["probability"] - said["probability"]).abs().max() < 1e-5
    assert after.seconds == before.seconds


def _data(run: Path, config: AuditConfig) -> job_module.DataReference:
    from moenas.runs import cache_home

    manifest = str(RunFolder(run).manifest)
    return job_module.DataReference(manifest, str(cache_home() / "images"), config.image_size)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"models": ("resnet_18",)}, ModelError, "Did you mean 'resnet18'"),
        ({"schemes": ("resnets",)}, ConfigError, "Did you mean 'resnet'"),
        ({"models": ()}, ConfigError, "one or more models"),
        ({"schemes": ("resnet", "resnet")}, ConfigError, "each once"),
    ],
)
def test_bad_settings(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dataclasses.replace(AuditConfig(), **change)  # type: ignore[arg-type]


def test_a_killed_worker_is_no_scheme_that_failed(
    config: AuditConfig, tmp_path: Path, here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(job: TrainingJob) -> JobResult:
        raise WorkerDiedError("A worker was killed.")

    monkeypatch.setattr(stages, "run_job", killed)
    with pytest.raises(WorkerDiedError):
        audit(config, tmp_path / "audit")
    assert not (tmp_path / "audit" / "summary.json").exists()


def test_models_that_cannot_take_the_images_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    config = AuditConfig(models=("lcnet_035", "nest_tiny", "levit_128s"), image_size=100)
    with pytest.raises(ModelError, match=r"(?s)'nest_tiny' cannot.* pixels.*'levit_128s' cannot"):
        audit(config, tmp_path / "audit")
    assert not (tmp_path / "audit").exists()


def test_a_model_of_one_size_is_built_for_the_images(
    config: AuditConfig, tmp_path: Path, here: None
) -> None:
    plan = ("mobilevit",)  # asks for images of several sizes
    fixed = dataclasses.replace(config, models=("gmlp_ti16_224",), schemes=plan, epochs=0.2)
    (found,) = audit(fixed, tmp_path / "audit").models
    assert found.model == "gmlp_ti16_224"
    assert found.scores is not None
    assert found.scores.parameters == count_parameters("gmlp_ti16_224@32")
    folder = RunFolder(tmp_path / "audit").audited("gmlp_ti16_224", "mobilevit", 0)
    assert load_model(folder.checkpoint)[1].architecture == "gmlp_ti16_224@32"
    assert verify(tmp_path / "audit").problems == []


def test_settings_are_made_at_once() -> None:
    """Nothing is built to look at them: that takes seconds."""
    start = time.process_time()
    AuditConfig(image_size=57)
    assert time.process_time() - start < 0.5
