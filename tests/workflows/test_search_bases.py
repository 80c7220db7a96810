"""A search step on a base model of each family: from a parent to a trained and scored trial."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from moenas.config import from_dict, to_dict
from moenas.errors import ConfigError, SearchError
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.cost import count_macs, count_parameters, layer_count
from moenas.models.storage import load_model, save_model
from moenas.nas.jobs import SEARCH_SEED, JobMaker
from moenas.nas.settings import SearchConfig
from moenas.nas.space import SearchSpace
from moenas.runs import ModelFolder, RunFolder, cache_home
from moenas.serialisation import read_json
from moenas.training.job import DataReference, run_job
from moenas.workflows.search import search
from moenas.workflows.settings import Resources
from moenas.workflows.verify import verify
from small_bases import SMALL


def config_for(base: str, tiny_config: SearchConfig) -> SearchConfig:
    return dataclasses.replace(tiny_config, base=base, wider=None)


@pytest.mark.parametrize("base", SMALL)
def test_a_search_step(base: str, scenes: Path, tiny_config: SearchConfig, tmp_path: Path) -> None:
    config = config_for(base, tiny_config)
    data = DataReference(str(scenes), str(cache_home() / "images"), config.image_size)
    run = RunFolder.create(tmp_path / "run", "search", to_dict(config))
    maker = JobMaker(config, run, data, device="cpu")
    parent = ModelFolder(Path(maker.parent(base, SEARCH_SEED).folder))
    parent.path.mkdir(parents=True, exist_ok=True)
    save_model(parent.checkpoint, build_model(base, seed=0), image_size=config.image_size)
    architecture = Architecture(base, (3,) + (1,) * (layer_count(base) - 2) + (2,))
    scores = run_job(maker.trial(1, architecture, 0.0)).scores["search"]
    assert scores.n == 72
    assert scores.parameters == count_parameters(base, architecture.experts)
    assert scores.macs == count_macs(base, architecture.experts, config.image_size)
    model, card = load_model(ModelFolder(run.trial(1).path).checkpoint)
    assert card.architecture == architecture.id
    assert sum(p.numel() for p in model.parameters()) == scores.parameters


def test_the_default_wider_model_is_the_bases_own_next_width() -> None:
    assert SearchConfig().wider_base == "mobilevitv2_075"
    assert SearchConfig(base="mobilevitv2_100").wider_base == "mobilevitv2_125"
    assert SearchConfig(base="mobilevitv2_400").wider_base is None
    other = dataclasses.replace(SearchConfig(), base="convnext_atto")
    assert other.wider_base is None
    assert from_dict(SearchConfig, to_dict(other)) == other


@pytest.mark.parametrize("named", ["convnext_femto", "mobilevitv2_075", None])
def test_a_wider_model_that_is_named_stays(named: str | None) -> None:
    assert SearchConfig(base="convnext_atto", wider=named).wider_base == named


def test_a_base_above_the_size_limit_is_explained(tmp_path: Path) -> None:
    with pytest.raises(SearchError, match=r"5,524,802 parameters.*Raise the limit"):
        search(SearchConfig(base="vit_tiny_patch16_224"), tmp_path / "run")


def test_sizes_of_the_space_are_those_of_the_models() -> None:
    space = SearchSpace("small_vit", 3)
    vectors = [(1, 1, 1), (8, 1, 2), (8, 8, 8)]
    assert space.parameters(vectors).tolist() == [count_parameters("small_vit", v) for v in vectors]


def test_the_wider_model_is_searched_where_it_can_be() -> None:
    both = ("mobilevitv2_050", "mobilevitv2_075")
    assert SearchConfig().searched_bases == both
    assert SearchConfig(widths=False).searched_bases == both[:1]
    assert SearchConfig(wider=None).searched_bases == both[:1]
    assert SearchConfig(max_parameters=2_000_000).searched_bases == both[:1]  # 2.48M does not fit
    assert SearchConfig(wider="convnext_atto").searched_bases == both[:1]  # 12 layers, not 9
    with pytest.raises(ConfigError, match="another model than the base"):
        SearchConfig(wider="mobilevitv2_050")


@pytest.mark.slow
def test_a_search_through_two_widths(tiny_config: SearchConfig, tmp_path: Path) -> None:
    wide = "mobilevitv2_055"
    config = dataclasses.replace(tiny_config, wider=wide, trials=4, finalists=1)
    result = search(config, tmp_path / "run", Resources(workers=2))
    trials = read_json(result.run / "trials.json")
    bases = [Architecture.parse(trial["architecture"]).base for trial in trials]
    assert bases[:2] == [config.base, wide]  # the dense models come first
    assert all(trial["experts"] == [1] * 9 for trial in trials[:2])
    page = (result.run / "report.html").read_text()
    assert f"which of the models {config.base} and {wide}" in page
    assert f"{wide} 1-1-1-1-1-1-1-1-1" in page
    assert all(len(trial["experts"]) == 9 for trial in trials)
    finalists = [m for m in result.comparison["models"] if m["role"] == "finalist"]
    assert {m["architecture"] for m in finalists} <= {t["architecture"] for t in trials}
    assert verify(result.run).problems == []
