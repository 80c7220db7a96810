"""A whole tiny search: what it leaves, how it is verified, that it can be stopped anywhere."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from moenas.config import to_dict
from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, RunFolderError, SearchError
from moenas.models.architecture import Architecture
from moenas.models.storage import load_model
from moenas.nas.jobs import JobMaker
from moenas.nas.settings import SearchConfig
from moenas.nas.study import open_recorded_study
from moenas.predictions import Predictions
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.serialisation import read_json
from moenas.training.job import DataReference
from moenas.training.loop import OutOfTime
from moenas.workflows.search import price, search
from moenas.workflows.search_finalists import seconds_of_pruning
from moenas.workflows.search_pruning import _is_pruned
from moenas.workflows.settings import Resources
from moenas.workflows.verify import verify

SEEDS = 2


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> RunFolder:
    """A copy of the tiny run that may be changed."""
    return RunFolder.open(shutil.copytree(tiny_run, tmp_path / "run"))


def models_in(run: Path) -> list[ModelFolder]:
    return [ModelFolder(path.parent) for path in sorted(run.rglob("scores.json"))]


# What a search leaves


def test_every_file_that_a_report_counts_on_is_there(tiny_run: Path) -> None:
    run = RunFolder.open(tiny_run)
    for file in (
        run.config,
        run.summary,
        run.study,
        run.manifest,
        run.trials,
        run.comparison,
        run.pruning,
        run.report,
    ):
        assert file.stat().st_size > 0, file
    for model in models_in(tiny_run):
        assert model.checkpoint.exists()
        assert model.predictions.exists()
        assert not model.state.exists()  # what is finished needs no state
    assert not [p for p in tiny_run.rglob(".*") if p.name != ".lock"]  # no temporary files


def test_each_stage_trained_what_it_should(tiny_run: Path, tiny_config: SearchConfig) -> None:
    names = {
        stage: {p.name for p in (tiny_run / stage).iterdir()} for stage in ("parents", "trials")
    }
    base, wider = tiny_config.base, tiny_config.wider_base
    assert names["parents"] == {
        *(f"{name}-s0" for name in tiny_config.searched_bases),
        *(f"{name}-s{seed}" for name in (base, wider) for seed in (1, 2)),
    }
    assert names["trials"] == {f"{n:04d}" for n in range(tiny_config.trials)}
    comparison = read_json(tiny_run / "comparison.json")
    roles = [m["role"] for m in comparison["models"]]
    assert roles[:2] == ["base", "wider"]
    assert roles[-1] == "pruned"
    assert set(roles[2:-1]) == {"finalist"}
    for model in comparison["models"][:-1]:
        assert len(model["report"]["balanced_accuracy"]["values"]) == SEEDS


def test_the_first_trial_is_the_base_model(tiny_run: Path, tiny_config: SearchConfig) -> None:
    trials = read_json(tiny_run / "trials.json")
    assert trials[0]["experts"] == [1] * 9
    assert Architecture.parse(trials[0]["architecture"]).base == tiny_config.base
    assert {t["state"] for t in trials} == {"COMPLETE"}
    assert len({t["architecture"] for t in trials}) == len(trials)
    assert all(t["parameters"] <= tiny_config.max_parameters for t in trials)


def test_finalists_are_trials_under_their_size_limits(tiny_run: Path) -> None:
    trials = {t["architecture"]: t for t in read_json(tiny_run / "trials.json")}
    models = read_json(tiny_run / "comparison.json")["models"]
    finalists = [m for m in models if m["role"] == "finalist"]
    assert finalists
    assert len({m["architecture"] for m in finalists}) == len(finalists)
    for model in finalists:
        assert trials[model["architecture"]]["feasible"]
        assert model["name"] == f"MoENAS-{model['size_class']}"
        assert set(model["architecture"].split("-e")[1]) != {"1"}


def test_finalists_start_from_parents_that_the_search_did_not_use(tiny_run: Path) -> None:
    names = {path.name.rpartition("-s")[2] for path in (tiny_run / "finalists").iterdir()}
    assert names == {"1", "2"}  # the search's own parent is seed 0


def test_the_summary_tells_what_was_done(tiny_run: Path, tiny_config: SearchConfig) -> None:
    summary = read_json(tiny_run / "summary.json")
    assert summary["search"]["completed"] == tiny_config.trials
    assert summary["search"]["failed"] == 0
    assert len(summary["search"]["hypervolume"]) == tiny_config.trials
    assert summary["data"]["counts"]["report"]["n"] == 72
    assert "drawings" in summary["data"]["note"]
    assert set(summary["seconds"]) == {
        "data", "parents", "search", "finalists", "pruning", "total",
    }  # fmt: skip
    assert summary["peak_memory_bytes"] > 1e8
    assert summary["verdict"] == read_json(tiny_run / "comparison.json")["verdict"]


def test_the_report_opens_with_the_verdict(tiny_run: Path) -> None:
    page = (tiny_run / "report.html").read_text(encoding="utf-8")
    assert "drawings" in page
    assert "mobilevitv2_075" in page


def test_the_pruned_file_is_smaller(tiny_run: Path) -> None:
    run = RunFolder.open(tiny_run)
    curve = read_json(run.pruning)
    finalists = [m for m in read_json(run.comparison)["models"] if m["role"] == "finalist"]
    largest = max(finalists, key=lambda model: model["parameters"])
    assert curve["model"] == largest["name"]
    before = largest["architecture"]
    start = run.finalist(before, 1).checkpoint
    assert load_model(run.pruned().checkpoint)[1].extra == {"pruned_from": before}
    if curve["accepted"]:
        assert run.pruned().checkpoint.stat().st_size < start.stat().st_size


def test_a_finalist_that_was_trained_anew_is_pruned_anew(run: RunFolder) -> None:
    largest = load_model(run.pruned().checkpoint)[1].extra["pruned_from"]
    source = run.finalist(largest, 1)
    assert _is_pruned(run, source)
    assert not _is_pruned(run, run.finalist(largest, 2))  # the same architecture, other weights
    run.pruning_steps.unlink()
    assert not _is_pruned(run, source)


# No leak


def pixel_hashes(manifest: Manifest, size: int) -> pd.Series:
    images = cached_images(manifest, size, cache_home() / "images", progress=False).images
    hashes = [hashlib.sha256(np.ascontiguousarray(image)).hexdigest() for image in images]
    return pd.Series(hashes, index=manifest.frame["image_id"])


def test_the_search_never_sees_an_image_of_the_report(
    tiny_run: Path, tiny_config: SearchConfig
) -> None:
    run = RunFolder.open(tiny_run)
    manifest = Manifest.load(run.manifest)
    hashes = pixel_hashes(manifest, tiny_config.image_size)
    split = pd.Series(manifest.frame["split"].to_numpy(), index=hashes.index)
    report = set(hashes[split == "report"])
    assert len(report) > 50
    assert not report & set(hashes[split != "report"])
    for folder in [*(tiny_run / "trials").iterdir(), run.parent(tiny_config.base, 0).path]:
        frame = Predictions.load(ModelFolder(folder).predictions).frame
        assert set(frame["split"]) == {"val", "search"}
        assert not report & set(hashes[frame["image_id"]])
        assert set(read_json(ModelFolder(folder).scores)["scores"]) == {"search"}


def test_what_the_report_scores_is_the_report_half(tiny_run: Path) -> None:
    for folder in (tiny_run / "finalists").iterdir():
        scores = read_json(folder / "scores.json")["scores"]
        assert scores["report"]["n"] == 72
        assert set(scores) == {"search", "report"}


# Verify


def test_every_number_is_recomputed(tiny_run: Path) -> None:
    result = verify(tiny_run)
    assert result.problems == []
    assert result.models == len(models_in(tiny_run))
    assert result.numbers > 2000


NUMBERS: list[tuple[str, list[Any]]] = [
    ("comparison.json", ["models", 0, "report", "fairness", "mean"]),
    ("comparison.json", ["models", 2, "versus", "base", "balanced_accuracy", "difference"]),
    ("trials/0001/scores.json", ["scores", "search", "balanced_accuracy"]),
    ("trials.json", [2, "robustness"]),
    ("summary.json", ["search", "hypervolume", 3]),
    ("pruned/curve.json", ["start", "robustness"]),
    ("pruned/scores.json", ["scores", "report", "groups", 3, "accuracy"]),
]


def add_a_little(file: Path, keys: list[Any]) -> None:
    value = inner = json.loads(file.read_text())
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] += 0.001
    file.write_text(json.dumps(value))


def test_every_changed_number_is_found(run: RunFolder) -> None:
    for file, keys in NUMBERS:
        add_a_little(run.path / file, keys)
    stored = read_json(run.comparison)
    stored["verdict"][0] = "Better than everything."
    run.comparison.write_text(json.dumps(stored))
    problems = verify(run.path).problems
    assert {problem.split(":")[0] for problem in problems} == {
        "comparison.models[0].report.fairness.mean",
        "comparison.models[2].versus.base.balanced_accuracy.difference",
        "comparison.verdict[0]",
        "trials/0001/scores.search.balanced_accuracy",
        "trial 1.balanced_accuracy",  # told to the study as it was
        "trials[2].robustness",
        "summary.search.hypervolume[3]",
        "pruned/curve.start.robustness",
        "pruned/scores.report.groups[3].accuracy",
    }


def change_prediction(folder: Path, column: str) -> None:
    table = Predictions.load(folder / "predictions.parquet")
    frame = table.frame
    row = frame.index[(frame["split"] == "search") & frame["group"].notna()][0]
    if column == "group":
        frame.loc[row, column] = 11 - frame.loc[row, column]
    elif column == "probability":
        frame.loc[row, column] = 0.0 if frame.loc[row, "prediction"] else 1.0
    else:
        frame.loc[row, column] = 1 - frame.loc[row, column]
    table.save(folder / "predictions.parquet")


def test_every_changed_prediction_and_damaged_file_is_found(run: RunFolder) -> None:
    changed = {}
    for number, column in enumerate(("probability", "prediction", "label")):
        changed[f"trials/{number:04d}"] = run.trial(number).path
        change_prediction(run.trial(number).path, column)
    first, second, *_, last = sorted((run.path / "finalists").iterdir())
    change_prediction(first, "group")
    table = Predictions.load(last / "predictions.parquet")
    table.frame.loc[3, "probability"] += 0.001  # no decision changes
    table.save(last / "predictions.parquet")
    changed |= {f"finalists/{folder.name}": folder for folder in (first, last)}
    scores = run.trial(3).scores
    scores.write_bytes(scores.read_bytes()[:50])
    changed["trials/0003"] = run.trial(3).path
    other = next(f for f in (run.path / "finalists").iterdir() if f not in (first, second, last))
    checkpoint = other / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-7])
    changed[f"finalists/{other.name}"] = other
    problems = verify(run.path).problems
    for name in changed:
        assert any(problem.startswith((f"{name}:", f"{name}/")) for problem in problems), name
    text = "\n".join(problems)
    assert "its decisions are not those of its probabilities" in text
    assert "its predictions are not its checkpoint's" in text
    assert "scores.json' cannot be read" in text
    assert "checkpoint.safetensors' is damaged" in text


def test_verify_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="not a MoENAS run folder"):
        verify(tmp_path)
    RunFolder.create(tmp_path / "empty", "search", {})
    assert any("nothing to verify" in p for p in verify(tmp_path / "empty").problems)


# Going on


@pytest.mark.usefixtures("here")
def test_a_finished_search_is_not_trained_again(run: RunFolder, tiny_config: SearchConfig) -> None:
    before = {p: p.stat().st_mtime_ns for p in run.path.rglob("*.safetensors")}
    stored = read_json(run.comparison)
    search(tiny_config, run.path, Resources(workers=1))
    assert {p: p.stat().st_mtime_ns for p in run.path.rglob("*.safetensors")} == before
    assert read_json(run.comparison) == stored


@pytest.mark.usefixtures("here")
def test_a_search_that_was_cut_off_ends_as_if_it_was_not(
    run: RunFolder, tiny_config: SearchConfig, tiny_run: Path
) -> None:
    """Whatever the last hours left is gone; what is there is used."""
    for path in (run.comparison, run.summary, run.trials, run.report):
        path.unlink()
    shutil.rmtree(run.path / "pruned")
    lost = sorted((run.path / "finalists").iterdir())[-1]
    (lost / "scores.json").unlink()
    (lost / "checkpoint.safetensors").unlink()
    search(tiny_config, run.path, Resources(workers=1))
    assert read_json(run.comparison) == read_json(tiny_run / "comparison.json")
    ours, theirs = (read_json(p / "pruned" / "curve.json") for p in (run.path, tiny_run))
    assert ours == theirs


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_search_that_goes_on_chooses_its_finalists_anew(
    run: RunFolder, tiny_config: SearchConfig
) -> None:
    """After a time limit more trials may follow; old finalists' scores are not reused."""
    study = open_recorded_study(run)
    old = {m["architecture"] for m in read_json(run.comparison)["models"]}
    config = dataclasses.replace(tiny_config, trials=tiny_config.trials + 2)
    stored = json.loads(run.config.read_text())
    stored["settings"] = to_dict(config)
    run.config.write_text(json.dumps(stored))
    assert len(study.trials) == tiny_config.trials
    search(config, run.path, Resources(workers=2))
    trials = {t["architecture"] for t in read_json(run.trials)}
    models = read_json(run.comparison)["models"]
    assert len(trials) == config.trials
    assert {m["architecture"] for m in models if m["role"] == "finalist"} <= trials | old
    assert verify(run.path).problems == []


def arguments(config: SearchConfig, run: Path) -> list[str]:
    default, result = SearchConfig(), []
    for name, value in to_dict(config).items():
        if value != to_dict(default)[name]:
            values = value if isinstance(value, list) else [value]
            result += [f"--{name.replace('_', '-')}", *map(str, values)]
    return ["search", *result, "--run", str(run), "--workers", "1"]


def stop_when(command: list[str], seen: Callable[[], object], how: signal.Signals) -> Any:
    """Run a command as a foreground job; end it and its workers once something is seen."""
    # A test run in the background may ignore interrupts, and what it starts would ignore them too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 120
        while not seen():
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, how)
        _, errors = process.communicate(timeout=60)
    return process.returncode, errors


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_killed_and_then_interrupted_the_same_command_goes_on(
    tiny_config: SearchConfig, tiny_run: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config, wider=None, finalists=1, trials=3)
    run = RunFolder.create(tmp_path / "run", "search", to_dict(config))
    shutil.copytree(tiny_run / "parents", run.path / "parents")
    command = [sys.executable, "-m", "moenas", *arguments(config, run.path)]

    code, _ = stop_when(command, (run.path / "trials" / "0001").exists, signal.SIGKILL)
    assert code == -signal.SIGKILL
    code, errors = stop_when(command, (run.path / "finalists").exists, signal.SIGINT)
    assert code == 130
    assert "same command goes on" in errors
    assert "Traceback" not in errors

    finished = {p: p.stat().st_mtime_ns for p in run.path.rglob("scores.json")}
    assert len(finished) >= 5 + 3
    search(config, run.path, Resources(workers=1))
    assert all(p.stat().st_mtime_ns == time for p, time in finished.items())
    assert [t["state"] for t in read_json(run.trials)] == ["COMPLETE"] * 3
    assert verify(run.path).problems == []


@pytest.mark.usefixtures("here")
def test_the_time_limit_is_kept_and_the_rest_comes_later(
    run: RunFolder, tiny_config: SearchConfig
) -> None:
    shutil.rmtree(run.path / "finalists")
    run.comparison.unlink()
    with pytest.raises(OutOfTime, match=r"run it again|same command"):
        search(tiny_config, run.path, Resources(workers=1, time_limit=1e-4))
    assert not run.comparison.exists()
    assert len(read_json(run.trials)) == tiny_config.trials


@pytest.mark.usefixtures("here")
def test_the_time_limit_holds_for_pruning(run: RunFolder, tiny_config: SearchConfig) -> None:
    run.forget_pruning()
    run.comparison.unlink()
    with pytest.raises(OutOfTime, match="came in pruning"):
        search(tiny_config, run.path, Resources(workers=1, time_limit=1e-4))
    assert not run.comparison.exists()


@pytest.mark.usefixtures("here")
def test_time_is_kept_back_for_pruning(run: RunFolder, tiny_config: SearchConfig) -> None:
    data = DataReference(str(run.manifest), "", tiny_config.image_size)
    maker = JobMaker(tiny_config, run, data, device="cpu")
    bases = tiny_config.searched_bases
    took = max(read_json(run.parent(base, 1).scores)["seconds"] for base in bases)
    # 88 images and 31.5 removals at a third each; a parent took 3 looks at 32 images and 88 more
    expected = 1.2 * took * 88 * 11.5 / (3 * 32 + 88)
    assert seconds_of_pruning(tiny_config, maker) == pytest.approx(expected)


@pytest.mark.usefixtures("here")
def test_a_second_search_in_the_same_folder_is_refused(
    run: RunFolder, tiny_config: SearchConfig
) -> None:
    with run.locked(), pytest.raises(RunFolderError, match="Another process works in"):
        search(tiny_config, run.path, Resources(workers=1))


def test_other_settings_are_refused(run: RunFolder, tiny_config: SearchConfig) -> None:
    changed = dataclasses.replace(tiny_config, trials=99, seed=5)
    with pytest.raises(RunFolderError, match=r"other settings \(seed, trials\)"):
        search(changed, run.path)


# Settings that cannot work


def test_a_size_limit_that_nothing_meets_is_refused_before_anything_is_written(
    tiny_config: SearchConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(tiny_config, max_parameters=1_000_000)
    with pytest.raises(SearchError, match=r"No vector meets the size limit.*1,000,000"):
        search(config, tmp_path / "run", Resources(workers=1))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trials": 0}, "trials must be at least 1"),
        ({"image_size": 16}, "image_size must be at least 32"),
        ({"accuracy_margin": 2.0}, "accuracy_margin must be within"),
        ({"seeds": 1}, "seeds must be at least 2"),
        ({"finalists": 4}, "finalists must be within"),
        ({"scheme": "mobilevitv3"}, "Did you mean 'mobilevitv2'"),
        ({"objectives": ()}, "at least one"),
        ({"objectives": ("fairnes",)}, "Did you mean 'fairness'"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"learning_rate": -1.0}, "learning_rate must be above 0"),
        ({"tuning_rate": 0.0}, "learning_rate must be above 0"),
        ({"augmentation": "lite"}, "Did you mean 'light'"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"workers": 0}, "workers must be at least 1"), ({"time_limit": 0.0}, "must be above 0")],
)
def test_resources_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Resources(**change)


# The price


def test_the_price_is_told_and_nothing_is_written(
    tiny_config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cost = price(tiny_config, Resources(workers=2))
    assert cost.trials == 4
    assert cost.trainings == 5 + 4 + 2 * 5
    assert 0 < cost.seconds_a_trial < cost.seconds
    assert cost.bytes > cost.trainings * 4_000_000
    assert not list(tmp_path.iterdir())


# The paper's protocol, and data without groups


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_the_papers_protocol_and_images_without_groups(
    scenes: Path, tiny_config: SearchConfig, tmp_path: Path
) -> None:
    """Search and report on the same images; without groups fairness is neither sought nor told."""
    manifest = Manifest.load(scenes)
    manifest.frame["group"] = pd.array([None] * len(manifest), dtype="Int16")
    manifest.save(tmp_path / "plain.parquet")
    config = dataclasses.replace(
        tiny_config,
        data=str(tmp_path / "plain.parquet"),
        protocol="paper",
        wider=None,
        trials=2,
        finalists=1,
    )
    found = search(config, tmp_path / "run", Resources(workers=1))
    run = RunFolder.open(tmp_path / "run")
    frame = Predictions.load(run.trial(0).predictions).frame
    assert (frame["split"] == "search").sum() == 144  # all test images
    for model in (run.path / "finalists").iterdir():
        scores = read_json(model / "scores.json")["scores"]
        assert scores["search"]["balanced_accuracy"] == scores["report"]["balanced_accuracy"]
        assert scores["report"]["fairness"] is None
    assert "fairness" not in read_json(run.trials)[0]
    assert "balanced_accuracy" in found.comparison["models"][0]["report"]
    assert verify(run.path).problems == []
