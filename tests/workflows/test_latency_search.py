"""Latency in a search: a limit and an objective, from a table that is given or measured."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from latency_tables import BASES, make_table
from moenas.config import from_dict, to_dict
from moenas.errors import ConfigError, RunFolderError, SearchError
from moenas.models.architecture import Architecture
from moenas.models.latency import Agreement, LatencyTable
from moenas.models.latency_measuring import Effort, Measurement
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.serialisation import read_json, write_json
from moenas.workflows import latency
from moenas.workflows.benchmark import benchmark
from moenas.workflows.latency import table_for, within_latency
from moenas.workflows.search import price, search
from moenas.workflows.settings import Resources
from moenas.workflows.verify import verify

LIMIT = 5.6


@pytest.fixture
def table(tmp_path: Path) -> Path:
    make_table().save(tmp_path / "phone.json")
    return tmp_path / "phone.json"


@pytest.fixture
def config(tiny_config: SearchConfig, table: Path) -> SearchConfig:
    return dataclasses.replace(
        tiny_config,
        latency_table=table,
        max_latency_ms=LIMIT,
        objectives=(*PAPER_OBJECTIVES, "latency"),
        wider=None,
        finalists=1,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_search_with_a_limit_and_an_objective(
    config: SearchConfig, table: Path, tmp_path: Path
) -> None:
    result = search(config, tmp_path / "run", Resources(workers=1))
    run = RunFolder.open(result.run)
    known = make_table()
    assert LatencyTable.load(run.latency) == known
    trials = read_json(run.trials)
    assert len(trials) == config.trials
    for trial in trials:
        expected = known.of(Architecture.parse(trial["architecture"]))
        assert trial["latency_ms"] == trial["latency"] == expected <= LIMIT
    finalists = [m for m in result.comparison["models"] if m["role"] == "finalist"]
    assert finalists
    assert all(known.of(Architecture.parse(m["architecture"])) <= LIMIT for m in finalists)
    page = run.report.read_text(encoding="utf-8")
    assert "Latency, ms" in page
    assert f"{LIMIT} ms" in page
    assert verify(run.path).problems == []
    # the run keeps its own copy: the same command goes on without the file
    table.unlink()
    assert search(config, run.path, Resources(workers=1)).verdict == result.verdict
    stored = read_json(run.trials)
    stored[1]["latency_ms"] += 1
    write_json(run.trials, stored)
    assert any("latency_ms" in problem for problem in verify(run.path).problems)


def test_a_limit_below_the_fastest_is_refused_before_anything_is_written(
    config: SearchConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, max_latency_ms=4.0)
    with pytest.raises(SearchError, match=r"takes 5 ms, the limit is 4 ms"):
        search(config, tmp_path / "run", Resources(workers=1))
    with pytest.raises(SearchError, match=r"takes 5 ms, the limit is 4 ms"):
        price(config)
    assert not (tmp_path / "run").exists()


def measured(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    calls: list[tuple[Any, ...]] = []

    def measure(bases: tuple[str, ...], image_size: int, **options: Any) -> Measurement:
        calls.append((*bases, image_size))
        chosen = {base: BASES[base] for base in bases}
        return Measurement(make_table(chosen, image_size), ())

    monkeypatch.setattr(latency, "measure_latency", measure)
    return calls


@pytest.mark.slow
@pytest.mark.usefixtures("here")
def test_a_limit_of_a_measured_table_binds_nobody_to_the_refused_settings(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = measured(monkeypatch)
    run = tmp_path / "run"
    config = dataclasses.replace(config, latency_table=None, max_latency_ms=4.0)
    with pytest.raises(SearchError, match="No vector meets the latency limit"):
        search(config, run, Resources(workers=1))
    left = {p.name for p in run.iterdir() if not p.name.startswith(".")}
    assert left == {"config.json", "log.jsonl"}
    loose = dataclasses.replace(config, max_latency_ms=LIMIT, trials=2, finalists=0)
    search(loose, run, Resources(workers=1))
    assert calls == [("mobilevitv2_050", 32)] * 2
    assert LatencyTable.load(run / "latency.json").bases[0].dense_ms == 5.0
    search(loose, run, Resources(workers=1))  # kept, not measured again
    assert len(calls) == 2


def test_the_table_of_a_run_comes_first(
    config: SearchConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls = measured(monkeypatch)
    run = RunFolder.create(tmp_path / "run", "search", {})
    assert table_for(config, run, "cpu") == make_table()
    make_table({"mobilevitv2_050": 7.0}).save(run.latency)
    assert table_for(config, run, "cpu").bases[0].dense_ms == 7.0
    assert calls == []


def test_a_table_of_another_device_is_used_with_a_warning(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(latency.logger, "warning", lambda text, *values: said.append(text % values))
    table_for(config, RunFolder.create(tmp_path / "run", "search", {}), "cpu")
    assert "the table's device, 'a phone'" in said[0]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"image_size": 64}, ConfigError, "images of 32 pixels, the models see 64"),
        ({"base": "mobilevitv2_100"}, ConfigError, "no base model 'mobilevitv2_100'"),
        ({"latency_table": Path("no.json")}, RunFolderError, "'no.json' does not exist"),
    ],
)
def test_tables_that_do_not_fit(
    config: SearchConfig, change: dict[str, Any], error: type[Exception], message: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    config = dataclasses.replace(config, max_parameters=10_000_000, **change)
    with pytest.raises(error, match=message):
        search(config, tmp_path / "run", Resources(workers=1))
    assert not (tmp_path / "run").exists()


def test_a_wider_model_that_is_too_slow_is_not_searched() -> None:
    config = SearchConfig(max_latency_ms=8.0)
    assert within_latency(config, make_table()).searched_bases == tuple(BASES)
    slow = dataclasses.replace(config, max_latency_ms=7.9)
    assert within_latency(slow, make_table()).searched_bases == ("mobilevitv2_050",)
    assert within_latency(slow, make_table()).wider_base == "mobilevitv2_075"  # still compared
    assert within_latency(slow, None) is slow


def test_latency_settings() -> None:
    assert not SearchConfig().needs_latency
    assert SearchConfig(objectives=("balanced_accuracy", "latency")).needs_latency
    assert SearchConfig(latency_table=Path("t.json")).needs_latency
    config = SearchConfig(max_latency_ms=9.5, latency_table=Path("t.json"))
    assert config.needs_latency
    assert from_dict(SearchConfig, json.loads(json.dumps(to_dict(config)))) == config
    for limit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="max_latency_ms must be above 0"):
            SearchConfig(max_latency_ms=limit)


def test_a_rough_table_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(latency.logger, "warning", lambda text, *values: said.append(text % values))
    for error in (0.04, 0.12):
        table = dataclasses.replace(make_table(), agreement=Agreement(9, error, 1.0))
        monkeypatch.setattr(
            latency, "measure_latency", lambda *_, t=table, **__: Measurement(t, ())
        )
        latency.measure_table(("mobilevitv2_050",), 32)
    assert len(said) == 1
    assert "more than 12 %" in said[0]


def test_benchmark_measures_a_base_and_its_wider_one(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    effort = Effort(blocks=1, checks=1, rounds=1)
    result = benchmark("mobilevitv2_050", image_size=32, latency_table=path, effort=effort)
    assert [entry.base for entry in result.table.bases] == list(BASES)
    assert LatencyTable.load(path) == result.table
    with pytest.raises(ConfigError, match="image_size must be at least 32"):
        benchmark(image_size=16, latency_table=path)
