"""``moenas prune`` on a checkpoint: killed and run again, trained, refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import moenas
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, DataError, ModelError, RunFolderError
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import load_model, save_model
from moenas.pruning.experts import PruningStep
from moenas.report.results import read_results
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json
from moenas.training import loop
from moenas.training.loop import OutOfTime
from moenas.workflows import prune_tuning
from moenas.workflows.prune import PruneConfig, prune
from moenas.workflows.verify import verify

EXPERTS = (1, 2, 1, 1, 1, 2, 1, 1, 3)
WHOLE = PruneConfig(keep_above={"balanced_accuracy": 1.0}, curve=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dense = build_model("mobilevitv2_050", seed=1)
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    save_model(path, upcycle(dense, EXPERTS, seed=1, noise=0.5), image_size=32)
    return path


@pytest.fixture(scope="module")
def curve(checkpoint: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The whole curve; it must not be changed."""
    run = tmp_path_factory.mktemp("runs") / "curve"
    prune(checkpoint, str(scenes), run, WHOLE, device="cpu")
    return RunFolder.open(run)


def test_the_curve_can_be_reported_and_verified(curve: RunFolder) -> None:
    pruning = read_results(curve).pruning
    assert pruning is not None
    assert len(pruning.steps) == 4
    for point in (pruning.start, *pruning.steps):
        for name in ("balanced_accuracy", "fairness", "robustness", "overfitting"):
            low, high = point.low[name], point.high[name]
            assert low is not None
            assert high is not None
            assert low < high
        assert point.low["balanced_accuracy"] <= point.balanced_accuracy  # type: ignore[operator]
    assert verify(curve.path).problems == []


@pytest.mark.slow
def test_a_killed_pruning_goes_on(
    checkpoint: Path, scenes: Path, tmp_path: Path, curve: RunFolder
) -> None:
    """kill -9 after the second removal; the same call again adds the missing steps only."""
    run = tmp_path / "run"
    code = (
        "import sys, time; from moenas.workflows.prune import *\n"
        "def slow(step):\n    time.sleep(60 if step.step == 2 else 0)\n"
        f"prune({str(checkpoint)!r}, {str(scenes)!r}, {str(run)!r}, "
        "PruneConfig({'balanced_accuracy': 1.0}, curve=True), device='cpu', on_step=slow)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    steps = RunFolder(run).pruning_steps
    try:
        while not steps.exists() or len(read_json(steps)["steps"]) < 3:
            assert process.poll() is None
            time.sleep(0.05)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    told: list[int] = []
    prune(checkpoint, str(scenes), run, WHOLE, device="cpu", on_step=lambda s: told.append(s.step))
    assert told == [3, 4]
    assert read_json(RunFolder(run).pruning) == read_json(curve.pruning)
    again, before = (read_json(r.pruned().scores) for r in (RunFolder(run), curve))
    assert again == before


def test_the_time_limit_is_kept_and_the_rest_comes_later(
    checkpoint: Path,
    scenes: Path,
    tmp_path: Path,
    curve: RunFolder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, told = tmp_path / "run", list[int]()
    now = time.monotonic()

    def tell(step: PruningStep) -> None:
        nonlocal now
        told.append(step.step)
        now += 3600 if step.step == 1 else 0

    with monkeypatch.context() as patch:
        patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
        with pytest.raises(OutOfTime, match=r"came in pruning .* run it again to go on"):
            prune(checkpoint, str(scenes), run, WHOLE, device="cpu", time_limit=30, on_step=tell)
    assert told == [0, 1]
    assert not RunFolder(run).pruning.exists()
    prune(checkpoint, str(scenes), run, WHOLE, device="cpu", time_limit=30, on_step=tell)
    assert told == [0, 1, 2, 3, 4]
    assert read_json(RunFolder(run).pruning) == read_json(curve.pruning)


@pytest.mark.parametrize("how", [{"rescue": True, "keep_above": {"balanced_accuracy": 1}}, {}])
def test_the_time_limit_holds_for_trainings(
    checkpoint: Path,
    scenes: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: dict[str, Any],
) -> None:
    def train(*_: object, deadline: float, **__: object) -> None:
        raise OutOfTime(f"within {deadline - time.monotonic():.0f} s")

    monkeypatch.setattr(prune_tuning, "train", train)
    config = PruneConfig(**{"keep_above": {}, "max_parameters": 1_250_000, "fine_tune": 1, **how})
    with pytest.raises(OutOfTime, match=r"within \d+ s"):
        prune(checkpoint, str(scenes), tmp_path / "run", config, device="cpu", time_limit=1)


def test_another_model_begins_anew(
    checkpoint: Path, scenes: Path, tmp_path: Path, curve: RunFolder
) -> None:
    own = tmp_path / "checkpoint.safetensors"
    own.write_bytes(checkpoint.read_bytes())
    config = PruneConfig(keep_above={}, max_parameters=10**9)
    prune(own, str(scenes), tmp_path / "run", config, device="cpu")
    dense = build_model("mobilevitv2_050", seed=7)
    save_model(own, upcycle(dense, EXPERTS, seed=1, noise=0.5), image_size=32)
    told: list[int] = []
    prune(own, str(scenes), tmp_path / "run", config, device="cpu",
          on_step=lambda step: told.append(step.step))  # fmt: skip
    assert told == [0]


def test_damaged_steps_are_named(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    config = PruneConfig(keep_above={}, max_parameters=10**9)
    prune(checkpoint, str(scenes), tmp_path / "run", config, device="cpu")
    path = RunFolder(tmp_path / "run").pruning_steps
    stored = read_json(path)
    for damage in ([{"step": "x"}], [{**stored["steps"][0], "step": 3}]):
        write_json(path, {**stored, "steps": damage})
        with pytest.raises(RunFolderError, match=r"steps\.json' is damaged .* begins anew"):
            prune(checkpoint, str(scenes), tmp_path / "run", config, device="cpu")
    path.write_text("{")
    with pytest.raises(RunFolderError, match=r"steps\.json' is damaged"):
        prune(checkpoint, str(scenes), tmp_path / "run", config, device="cpu")


@pytest.mark.parametrize("better", [True, False])
def test_the_pruned_model_is_trained_and_kept_if_it_is_no_worse(
    checkpoint: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    fallen = None if better else "balanced_accuracy would fall"
    monkeypatch.setattr(prune_tuning, "broken", lambda *_: fallen)
    accuracy: Any = iter([0.5, 0.6])
    metric = type("M", (), {"function": staticmethod(lambda _: next(accuracy))})
    monkeypatch.setattr(prune_tuning, "METRICS", {"balanced_accuracy": metric})
    config = PruneConfig(keep_above={}, max_parameters=1_250_000, fine_tune=1)
    result = prune(checkpoint, str(scenes), tmp_path / "run", config, device="cpu")
    run = RunFolder(tmp_path / "run")
    stored = read_json(run.pruning)
    assert stored["fine_tuned"]["tuned"]
    assert stored["fine_tuned_kept"] is result.fine_tuned_kept is better
    trained, _ = load_model(run.pruned_tuned(result.accepted).checkpoint)
    model, card = load_model(run.pruned().checkpoint)
    assert ("fine_tuned_epochs" in card.extra) is better
    name = "head.fc.weight"
    same = bool((trained.state_dict()[name] == model.state_dict()[name]).all())
    assert same is better
    assert verify(run.path).problems == []


def test_bad_settings_are_told(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    for wrong, message in (
        ({"keep_above": {"fairnes": 0.9}}, "Did you mean 'fairness'"),
        ({"keep_above": {"fairness": 98}}, "For 98 % give 0.98"),
        ({"importance": "groups"}, "Did you mean 'group'"),
        ({"fine_tune": -1}, "0 epochs or more"),
        ({"rescue": True}, "for how long"),
        ({"max_parameters": 0}, "at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            PruneConfig(**wrong)  # type: ignore[arg-type]
    dense = tmp_path / "dense.safetensors"
    save_model(dense, build_model("mobilevitv2_050", seed=0), image_size=32)
    with pytest.raises(ModelError, match="nothing to prune"):
        prune(dense, str(scenes), tmp_path / "run")
    with pytest.raises(ModelError, match="nothing to prune"):
        moenas.prune_experts(load_model(dense)[0], Manifest.load(scenes), image_size=32)


def test_images_without_groups(checkpoint: Path, scenes: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(scenes)
    manifest.frame["group"] = manifest.frame["group"].where(manifest.frame["group"] < 0)
    manifest.save(tmp_path / "plain.parquet")
    for config, message in (
        (PruneConfig(importance="group"), "validation images of groups"),
        (PruneConfig(keep_above={"fairness": 0.9}), "'fairness' cannot be held"),
    ):
        run = tmp_path / config.importance
        with pytest.raises(DataError, match=message):
            prune(checkpoint, str(tmp_path / "plain.parquet"), run, config)


def test_training_images_are_asked_for_only_where_it_trains(
    checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    manifest = Manifest.load(scenes)
    manifest.take((manifest.frame["split"] != "train").to_numpy()).save(tmp_path / "rest.parquet")
    data, asked = str(tmp_path / "rest.parquet"), PruneConfig(keep_above={}, fine_tune=0.1)
    with pytest.raises(DataError, match="Split 'train' has no images"):
        prune(checkpoint, data, tmp_path / "tuned", asked)
    nothing = PruneConfig(keep_above={}, max_parameters=10**9)
    assert prune(checkpoint, data, tmp_path / "run", nothing, device="cpu").accepted == 0


def test_a_curve_of_a_model_that_was_not_compared_is_told(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", {"image_size": 32})
    base = {"name": "a", "role": "base", "architecture": "mobilevitv2_050", "parameters": 1}
    write_json(run.comparison, {"models": [base | {"report": {}, "seeds": [0]}]})
    write_json(run.pruning, {"model": "b", "start": {}, "thresholds": {}})
    told = "curve.json: it cannot be recomputed: it is of the model 'b', which "
    assert any(problem.startswith(told) for problem in verify(run.path).problems)
