"""A search that trains most architectures shortly only."""

from __future__ import annotations

import dataclasses

import pytest

from moenas.errors import ConfigError
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json
from moenas.workflows.search import search
from moenas.workflows.settings import Resources
from moenas.workflows.verify import verify


@pytest.fixture(scope="module")
def finished(tiny_config: SearchConfig, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    config = dataclasses.replace(tiny_config, rungs=2, trials=5, finalists=1, wider=None)
    path = tmp_path_factory.mktemp("runs") / "rungs"
    search(config, path, Resources(workers=2))
    return RunFolder.open(path)


@pytest.mark.slow
def test_all_start_short_and_some_go_on(finished: RunFolder) -> None:
    trials = read_json(finished.trials)
    short = [t for t in trials if "rung" in t]
    assert 0 < len(short) < len(trials)
    for trial in trials:
        number = trial["number"]
        assert finished.rung(number, 0).finished
        assert finished.trial(number).finished == ("rung" not in trial)
    assert read_json(finished.summary)["search"]["short"] == len(short)
    assert f"{len(short)} stopped after a short training" in finished.report.read_text()
    finalist = next(m for m in read_json(finished.comparison)["models"] if m["role"] == "finalist")
    assert finalist["architecture"] not in {t["architecture"] for t in short}


@pytest.mark.slow
def test_it_is_verified(finished: RunFolder) -> None:
    assert not verify(finished.path).problems
    short = next(t for t in read_json(finished.trials) if "rung" in t)
    scores = finished.rung(short["number"], 0).scores
    stored = read_json(scores)
    changed = stored["scores"]["search"] | {"balanced_accuracy": 0.99}
    try:
        write_json(scores, stored | {"scores": {"search": changed}})
        problems = verify(finished.path).problems
        assert any(f"trial {short['number']}.balanced_accuracy" in p for p in problems)
    finally:
        write_json(scores, stored)


def test_what_cannot_be_halved() -> None:
    with pytest.raises(ConfigError, match="rungs must be 1 with strategy 'supernet'"):
        SearchConfig(strategy="supernet", rungs=2)
    with pytest.raises(ConfigError, match="rungs must be at least 1"):
        SearchConfig(rungs=0)
