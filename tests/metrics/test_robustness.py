import numpy as np
import pytest
from fairlearn.metrics import MetricFrame
from hypothesis import given
from prediction_tables import table, tables
from sklearn.metrics import balanced_accuracy_score

from moenas.errors import DataError
from moenas.metrics.robustness import light_table, robustness
from moenas.predictions import POOR_LIGHT


@given(tables())
def test_equals_scikit_learn_on_poor_light(predictions):
    poor = predictions.frame[predictions.frame["lighting"].isin(POOR_LIGHT)]
    expected = balanced_accuracy_score(
        poor["label"], poor["prediction"], sample_weight=poor["weight"]
    )
    assert robustness(predictions) == pytest.approx(expected, abs=1e-12)


@given(tables())
def test_lights_equal_fairlearn(predictions):
    frame = predictions.frame
    oracle = MetricFrame(
        metrics=balanced_accuracy_score,
        y_true=frame["label"],
        y_pred=frame["prediction"],
        sensitive_features=frame["lighting"],
        sample_params={"sample_weight": frame["weight"]},
    )
    ours = light_table(predictions).set_index("lighting")
    expected = oracle.by_group.reindex(ours.index)
    np.testing.assert_allclose(ours["balanced_accuracy"], expected, atol=1e-12)
    assert ours["n"].to_dict() == frame["lighting"].value_counts().to_dict()


def test_images_of_unknown_light_belong_to_no_light():
    known = table([1, 0], [1, 1], lighting=["dimly_lit"] * 2)
    more = table([1, 0, 1, 0], [1, 1, 0, 0], lighting=["dimly_lit"] * 2 + [None] * 2)
    assert robustness(more) == robustness(known) == 0.5
    assert list(light_table(more)["n"]) == [2]


def test_a_data_set_with_other_lights_keeps_them():
    found = light_table(table([1, 0], [1, 0], lighting=["neon", "well_lit"]))
    assert list(found["lighting"]) == ["well_lit", "neon"]


def test_without_poor_light_of_both_labels_the_error_says_so():
    for label, lighting in (
        ([1, 0], ["well_lit"] * 2),
        ([1, 1], ["dimly_lit"] * 2),
        ([1, 0], ["dimly_lit", "well_lit"]),
    ):
        with pytest.raises(DataError, match=r"poorly lit .* with and without a person"):
            robustness(table(label, label, lighting=lighting))
