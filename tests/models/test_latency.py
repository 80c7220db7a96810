"""A latency table: exact sums, a strict file, errors that say what and where."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latency_tables import BASES, added, make_table
from moenas.errors import ConfigError, ModelError, RunFolderError
from moenas.models.architecture import Architecture
from moenas.models.latency import Agreement, LatencyTable, agreement
from moenas.serialisation import read_json


def by_hand(architecture: Architecture) -> float:
    layers = enumerate(architecture.experts)
    return BASES[architecture.base] + sum(added(layer, n) for layer, n in layers)


def test_a_prediction_is_the_dense_model_and_what_its_experts_add() -> None:
    table = make_table()
    rng = np.random.default_rng(0)
    X = rng.integers(1, 9, (40, 9))
    bases = rng.choice(list(BASES), 40).tolist()
    expected = [by_hand(Architecture(b, tuple(x))) for b, x in zip(bases, X.tolist(), strict=True)]
    np.testing.assert_allclose(table.milliseconds(X, bases), expected, rtol=1e-12)
    architecture = Architecture(bases[3], tuple(X[3]))
    assert table.of(architecture) == table.milliseconds(X, bases)[3]
    assert table.of(Architecture.dense_base("mobilevitv2_075")) == 8.0
    assert len(table.milliseconds(np.empty((0, 9)), [])) == 0


def test_more_experts_are_never_faster() -> None:
    entry = make_table().bases[0]
    noisy = dataclasses.replace(entry, layers=((1.0, 0.5, 1.2, 1.1, *[1.3] * 4), *entry.layers[1:]))
    assert noisy.added[0].tolist() == pytest.approx([0, 0, 0.2, 0.2, *[0.3] * 4])


def test_only_differences_within_a_layer_count() -> None:
    """A layer's times may include anything that is the same for all counts."""
    stored = json.loads(json.dumps([entry.layers for entry in make_table().bases]))
    assert stored[0][0][0] == 0.2
    assert make_table().bases[0].added[:, 0].tolist() == [0.0] * 9


def test_counts_of_another_shape_and_unknown_bases_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"shape \[n, 9\], not \[1, 8\]"):
        make_table().milliseconds([[1] * 8], ["mobilevitv2_050"])
    with pytest.raises(ConfigError, match=r"no base model 'mobilevitv2_100', only mobilevitv2_050"):
        make_table().milliseconds([[1] * 9], ["mobilevitv2_100"])


@pytest.mark.parametrize("count", [0, -1, 9])
def test_counts_out_of_range_are_refused(count: int) -> None:
    """0 experts had the time of 8."""
    with pytest.raises(ConfigError, match=f"1 to 8 experts a layer, not .*{count}"):
        make_table().milliseconds([[1] * 8 + [count]], ["mobilevitv2_050"])


def test_a_table_of_other_images_or_models_is_refused() -> None:
    table = make_table(image_size=96)
    table.require(tuple(BASES), 96)
    with pytest.raises(ConfigError, match=r"images of 96 pixels, the models see 64.*--image-size"):
        table.require(tuple(BASES), 64)
    with pytest.raises(ConfigError, match="no base model 'convnext_atto'"):
        table.require(("convnext_atto",), 96)


def test_a_table_comes_back_from_its_file(tmp_path: Path) -> None:
    one = make_table()
    table = LatencyTable(
        one.device, 2, 96, one.bases, created="2025-11-25T10:00:00+00:00",
        versions={"torch": "2.9.0"}, agreement=Agreement(32, 0.02, None),
    )  # fmt: skip
    table.save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == table
    assert hash(table) == hash(LatencyTable.load(tmp_path / "table.json"))


def test_what_is_optional_may_be_left_out(tmp_path: Path) -> None:
    make_table().save(tmp_path / "table.json")
    stored = read_json(tmp_path / "table.json")
    for key in ("batch_size", "created", "versions", "agreement"):
        del stored[key]
    (tmp_path / "table.json").write_text(json.dumps(stored))
    assert LatencyTable.load(tmp_path / "table.json") == make_table()


def change(stored: dict[str, Any], keys: list[Any], value: Any) -> None:
    for key in keys[:-1]:
        stored = stored[key]
    if value is None:
        del stored[keys[-1]]
    else:
        stored[keys[-1]] = value


WRONG: list[tuple[list[Any], Any, str]] = [
    (["moenas_latency"], None, "is no latency table.*moenas benchmark --latency-table"),
    (["moenas_latency"], 2, "format 2, this version of moenas reads 1"),
    (["devise"], "x", "no setting 'devise'. Did you mean 'device'"),
    (["device"], None, "'device'.*required"),
    (["threads"], 0, "'threads' = 0"),
    (["threads"], "1", "'threads' = '1'"),
    (["image_size"], 96.5, "'image_size' = 96.5"),
    (["batch_size"], 8, "one image at a time, not of 8"),
    (["bases"], [], "at least one base model"),
    (["bases", 1, "base"], "mobilevitv2_050", "listed twice"),
    (["bases", 0, "dense"], 3.0, "'bases.0.dense'"),
    (["bases", 0, "dense_ms"], None, r"'bases.0.dense_ms'"),
    (["bases", 0, "dense_ms"], math.nan, r"'bases.0.dense_ms' = nan"),
    (["bases", 0, "dense_ms"], 0.0, "no time at all"),
    (["bases", 0, "dense_ms"], -1.0, r"'bases.0.dense_ms' = -1"),
    (["bases", 0, "dense_ms"], "5", r"'bases.0.dense_ms' = '5'"),
    (["bases", 0, "layers", 3, 2], math.inf, r"'bases.0.layers.3.2' = inf"),
    (["bases", 0, "layers", 8], None, "'mobilevitv2_050' has 9 FFN layers, the table has 8"),
    (["bases", 0, "layers", 2, 7], None, "Layer 3 of 'mobilevitv2_050' has 7 numbers and needs 8"),
    (["agreement"], {"architectures": 3, "median_error": 0.1}, "'agreement.spearman'"),
]


@pytest.mark.parametrize(("keys", "value", "message"), WRONG)
def test_each_mistake_in_a_file_is_named(
    keys: list[Any], value: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "table.json"
    make_table().save(path)
    stored = copy.deepcopy(read_json(path))
    change(stored, keys, value)
    path.write_text(json.dumps(stored))
    with pytest.raises(ConfigError, match=message) as caught:
        LatencyTable.load(path)
    assert str(path) in str(caught.value)


def test_a_base_model_that_is_not_known(tmp_path: Path) -> None:
    make_table().save(tmp_path / "table.json")
    text = (tmp_path / "table.json").read_text().replace("mobilevitv2_075", "mobilevitv2_75")
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ModelError, match="no base model named 'mobilevitv2_75'"):
        LatencyTable.load(tmp_path / "table.json")


@pytest.mark.parametrize(("text", "message"), [(None, "does not exist"), ("{", "cannot be read")])
def test_files_that_are_missing_or_damaged(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "table.json").write_text(text)
    with pytest.raises(RunFolderError, match=message):
        LatencyTable.load(tmp_path / "table.json")


@pytest.mark.parametrize("text", ["[]", "3", '{"bases": []}'])
def test_json_that_is_no_table(text: str, tmp_path: Path) -> None:
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(ConfigError, match="is no latency table"):
        LatencyTable.load(tmp_path / "table.json")


def test_agreement_of_known_numbers() -> None:
    found = agreement([1.1, 2.0, 2.4], [1.0, 2.0, 3.0])
    assert found.architectures == 3
    assert found.median_error == pytest.approx(0.1)
    assert found.spearman == pytest.approx(1.0)
    assert agreement([1.0, 1.0], [1.0, 2.0]).spearman is None
