"""A search whose trials are parts of a supernet."""

from __future__ import annotations

import dataclasses

import pytest

from moenas.models.architecture import Architecture
from moenas.models.storage import load_model
from moenas.nas import driver
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json
from moenas.workflows.search import search
from moenas.workflows.settings import Resources
from moenas.workflows.verify import verify

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tiny_config: SearchConfig) -> SearchConfig:
    return dataclasses.replace(
        tiny_config, strategy="supernet", trials=6, supernet_epochs=1, finalists=1, wider=None
    )


@pytest.fixture(scope="module")
def finished(config: SearchConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("runs") / "supernet"
    search(config, path, Resources(workers=2))
    return RunFolder.open(path)


def test_what_it_leaves(finished: RunFolder, config: SearchConfig) -> None:
    _, card = load_model(finished.supernet(config.base).checkpoint)
    assert card.architecture == f"{config.base}-e888888888"
    trials = read_json(finished.trials)
    assert [t["state"] for t in trials] == ["COMPLETE"] * config.trials
    for trial in trials:
        folder = finished.trial(trial["number"])
        assert folder.finished
        assert not folder.checkpoint.exists()  # the supernet has the weights
        parts = Architecture.parse(trial["architecture"])
        assert parts.base == config.base
    assert read_json(finished.summary)["search"]["strategy"] == "supernet"
    assert "part of it, measured without a training" in finished.report.read_text()


def test_accuracy_is_held_against_the_supernets_own_base(
    finished: RunFolder, config: SearchConfig
) -> None:
    dense = read_json(finished.supernet_base(config.base).scores)["scores"]["search"]
    floor = read_json(finished.summary)["search"]["accuracy_floor"]
    assert floor == pytest.approx(dense["balanced_accuracy"] - config.accuracy_margin)
    first = read_json(finished.trial(0).scores)["scores"]["search"]
    assert first == dense  # the base is the first trial


def test_finalists_are_trained_from_parents_of_their_own(
    finished: RunFolder, config: SearchConfig
) -> None:
    names = {path.name.rpartition("-s")[2] for path in (finished.path / "finalists").iterdir()}
    assert names == {"1", "2"}
    comparison = read_json(finished.comparison)
    assert {"base", "finalist"} <= {m["role"] for m in comparison["models"]}


def test_it_is_verified(finished: RunFolder) -> None:
    found = verify(finished.path)
    assert not found.problems
    scores = finished.trial(2).scores
    stored = read_json(scores)
    try:
        changed = stored["scores"]["search"] | {"balanced_accuracy": 0.99}
        other = stored["of"] | {"architecture": "another"}
        write_json(scores, stored | {"scores": {"search": changed}, "of": other})
        problems = verify(finished.path).problems
        assert any("trials/0002" in problem for problem in problems)
        assert any(problem.startswith("trial 2.architecture") for problem in problems)
    finally:
        write_json(scores, stored)


def test_the_same_command_judges_nothing_again(
    finished: RunFolder, config: SearchConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "run_trial", lambda *_: pytest.fail("judged again"))
    result = search(config, finished.path, Resources(workers=1))
    assert result.comparison == read_json(finished.comparison)
