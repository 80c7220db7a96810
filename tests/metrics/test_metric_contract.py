"""What every metric of the package promises, run over all of them."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_tables import table, tables

from moenas.errors import ConfigError, DataError
from moenas.metrics import METRICS
from moenas.metrics.tally import Tally
from moenas.predictions import LIGHTS, Predictions

RANGE = {
    "fairness": (-math.inf, 1),
    "fairness_sum": (-math.inf, 1),
    "spd_sum": (0, math.inf),
    "gap_lightest_darkest": (-1, 1),
    "overfitting": (-1, 1),
    "generalisation": (-1, 0),
}
few = settings(max_examples=15)
every_metric = pytest.mark.parametrize("name", list(METRICS))


def with_validation(test: Predictions) -> Predictions:
    """The table, every row also as a validation row that is answered the other way in part."""
    again = test.frame.assign(split="val", image_id="v" + test.frame["image_id"])
    again["prediction"] = np.where(np.arange(len(again)) % 3, again["label"], 1 - again["label"])
    return Predictions(pd.concat([test.frame, again], ignore_index=True))


@every_metric
@few
@given(predictions=tables(), seed=st.integers(0, 99))
def test_does_not_depend_on_row_order(name, predictions, seed):
    predictions = with_validation(predictions)
    shuffled = predictions.frame.sample(frac=1, random_state=seed)
    function = METRICS[name].function
    assert function(Predictions(shuffled)) == pytest.approx(function(predictions), abs=1e-12)


@every_metric
@few
@given(predictions=tables())
def test_lies_in_its_range(name, predictions):
    low, high = RANGE.get(name, (0, 1))
    assert low - 1e-12 <= METRICS[name].function(with_validation(predictions)) <= high + 1e-12


@every_metric
def test_a_perfect_model_has_the_best_value(name):
    label = [1, 0] * 8
    perfect = with_labels(label, label)
    metric = METRICS[name]
    best = {"max": RANGE.get(name, (0, 1))[1], "min": 0, "zero": 0}[metric.direction]
    assert metric.function(perfect) == pytest.approx(best, abs=1e-12)


def with_labels(label, prediction) -> Predictions:
    n = len(label)
    split = ["val"] * (n // 2) + ["report"] * (n - n // 2)
    group = [1 + (i // 2) % 2 for i in range(n)]
    lighting = [LIGHTS[(i // 2) % 4] for i in range(n)]
    return table(label, prediction, group, split=split, lighting=lighting)


@every_metric
def test_without_groups_works_or_says_what_it_needs(name):
    label = [1, 0] * 8
    bare = with_labels(label, [1] * 16)
    bare = Predictions(bare.frame.assign(group=None))
    if np.isnan(METRICS[name].tally(Tally.of(bare), Tally.of(bare))):
        with pytest.raises(DataError, match=rf"'{name}'.*group"):
            METRICS[name].function(bare)
    else:
        assert math.isfinite(METRICS[name].function(bare))


@every_metric
def test_an_empty_table_is_a_clear_error(name):
    with pytest.raises(DataError, match=r"no image|split"):
        METRICS[name].function(with_labels([1, 0], [1, 0]).split("search"))


@every_metric
@given(predictions=tables())
@few
def test_the_vectorised_form_gives_the_same_for_every_draw(name, predictions):
    metric = METRICS[name]
    both = with_validation(predictions)
    test, held = both.split("report"), both.split("val")
    one, two = Tally.of(test), Tally.of(held)
    stacked = Tally(one.cells, np.stack([one.total] * 3), np.stack([one.correct] * 3))
    stacked_held = Tally(two.cells, np.stack([two.total] * 3), np.stack([two.correct] * 3))
    values = metric.tally(stacked, stacked_held)
    assert values.shape == (3,)
    expected = metric.function(both if "overfitting" in name or "general" in name else test)
    np.testing.assert_allclose(values, expected, atol=1e-12)


def test_names_are_the_registry_s_and_an_unknown_one_suggests_the_right_one():
    assert all(metric.name == name for name, metric in METRICS.items())
    with pytest.raises(ConfigError, match="Did you mean 'fairness'"):
        METRICS["fairnes"]
