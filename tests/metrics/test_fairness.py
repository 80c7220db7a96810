import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, equal_opportunity_difference
from hypothesis import given
from hypothesis import strategies as st
from prediction_tables import table, tables
from sklearn.metrics import accuracy_score, recall_score

from moenas.errors import DataError
from moenas.metrics import METRICS
from moenas.metrics.fairness import (
    fairness,
    group_table,
    intersection_table,
    minority_group,
    skin_fairness,
)

# Table I of the paper, in percent: fairness score, accuracy on the lightest and darkest skin.
TABLE_1 = {
    "EfficientVit(m0)": (83.08, 89.14, 78.68),
    "EfficientVit(m1)": (85.79, 92.84, 84.16),
    "RepGhostNet": (79.49, 91.88, 80.21),
    "MobileVit(xxs)": (82.13, 91.82, 82.70),
    "LcNet": (84.85, 92.40, 83.58),
    "MobileVit(s)": (79.80, 92.78, 83.58),
    "MobileVitV2": (85.29, 93.23, 85.04),
    "MobileNetV2": (79.51, 95.19, 84.17),
    "Resnet18": (77.02, 94.12, 83.87),
    "MnasNet(s)": (77.00, 88.37, 78.00),
    "MobileNetV3(s)": (83.33, 91.25, 80.65),
    "Tinynet(e)": (80.44, 92.84, 82.40),
    "TinyNet(d)": (86.63, 92.52, 85.04),
    "ProxylessNas": (76.21, 92.65, 83.28),
    "MoENAS-S": (93.13, 95.59, 90.62),
    "MoENAS-XS": (87.51, 94.38, 87.68),
    "MoENAS-XXS": (88.27, 96.55, 88.27),
}


@given(tables())
def test_groups_equal_fairlearn(predictions):
    frame = predictions.frame
    weight = frame["weight"]
    oracle = MetricFrame(
        metrics={
            "accuracy": accuracy_score,
            "tpr": lambda *a, **k: recall_score(*a, zero_division=np.nan, **k),
            "tnr": lambda *a, **k: recall_score(*a, pos_label=0, zero_division=np.nan, **k),
        },
        y_true=frame["label"],
        y_pred=frame["prediction"],
        sensitive_features=frame["group"].astype(int),
        sample_params={k: {"sample_weight": weight} for k in ("accuracy", "tpr", "tnr")},
    )
    ours = group_table(predictions).set_index("group")
    by_group = oracle.by_group
    np.testing.assert_allclose(ours["accuracy"], by_group["accuracy"], atol=1e-12)
    np.testing.assert_allclose(ours["tpr"], by_group["tpr"], atol=1e-12)
    np.testing.assert_allclose(ours["fpr"], 1 - by_group["tnr"].astype(float), atol=1e-12)

    sizes = weight.groupby(frame["group"].astype(int)).sum()
    reference = max(sizes.index[sizes == sizes.min()])
    assert minority_group(predictions) == reference
    gaps = (by_group["accuracy"] - by_group["accuracy"][reference]).abs()
    expected = {
        "spd_mean": gaps.mean(),
        "spd_sum": gaps.sum(),
        "fairness": 1 - gaps.mean() / 0.2,
        "fairness_sum": 1 - gaps.sum() / 0.2,
        "worst_group_accuracy": oracle.group_min()["accuracy"],
        "gap_lightest_darkest": by_group["accuracy"].iloc[0] - by_group["accuracy"].iloc[-1],
    }
    for name, value in expected.items():
        assert METRICS[name].function(predictions) == pytest.approx(value, abs=1e-12)


@given(tables(negatives_have_groups=False))
def test_equal_opportunity_equals_fairlearn(predictions):
    persons = predictions.frame[predictions.frame["label"] == 1]
    expected = equal_opportunity_difference(
        persons["label"],
        persons["prediction"],
        sensitive_features=persons["group"].astype(int),
        sample_weight=persons["weight"],
    )
    ours = METRICS["equal_opportunity"].function(predictions)
    assert ours == pytest.approx(expected, abs=1e-12)


@given(tables())
def test_intersections_equal_fairlearn(predictions):
    frame = predictions.frame
    oracle = MetricFrame(
        metrics=accuracy_score,
        y_true=frame["label"],
        y_pred=frame["prediction"],
        sensitive_features=frame[["group", "lighting"]].astype({"group": int}),
        sample_params={"sample_weight": frame["weight"]},
    )
    ours = intersection_table(predictions, ("group", "lighting"))
    ours = ours.set_index(["group", "lighting"])
    expected = oracle.by_group.dropna()
    assert set(ours.index) == set(expected.index)
    np.testing.assert_allclose(ours["accuracy"], expected.reindex(ours.index), atol=1e-12)
    assert ours["n"].sum() == len(frame)


@given(tables(weighted=False), st.sampled_from(["mean", "sum"]))
def test_skin_fairness_by_hand_is_the_metric(predictions, reduction):
    groups = group_table(predictions).set_index("group")
    name = {"mean": "fairness", "sum": "fairness_sum"}[reduction]
    value = skin_fairness(groups["accuracy"].to_dict(), groups["n"].to_dict(), reduction=reduction)
    assert value == pytest.approx(METRICS[name].function(predictions), abs=1e-12)
    in_order = skin_fairness(list(groups["accuracy"]), list(groups["n"]), reduction=reduction)
    assert in_order == value


def test_skin_fairness_of_the_paper_by_hand():
    # The darkest group is the smallest: gaps .06, .02, .0.
    accuracy, counts = [0.96, 0.92, 0.90], [500, 400, 100]
    assert skin_fairness(accuracy, counts, reduction="sum") == pytest.approx(1 - 0.08 / 0.2)
    assert skin_fairness(accuracy, counts) == pytest.approx(1 - 0.08 / 3 / 0.2)
    assert skin_fairness(accuracy, counts, beta=0.1) == pytest.approx(1 - 0.08 / 3 / 0.1)


def test_fairness_is_not_clamped():
    assert skin_fairness([1.0, 0.0], [2, 1], reduction="sum") == pytest.approx(-4.0)


def test_ties_for_the_minority_go_to_the_darker_tone():
    group = [1, 1, 2, 3, 3, 4, 4]
    assert minority_group(table([1] * 7, [1] * 7, group)) == 2
    assert minority_group(table([1] * 8, [1] * 8, [*group, 2])) == 4


def test_groups_without_images_are_left_out():
    assert skin_fairness([0.9, 0.1, 0.8], [5, 0, 4]) == skin_fairness([0.9, 0.8], [5, 4])


@pytest.mark.parametrize("model", TABLE_1)
def test_table_1_of_the_paper_cannot_be_a_sum(model):
    """Triangle inequality: the sum of gaps to any group is at least lightest − darkest."""
    printed, lightest, darkest = (value / 100 for value in TABLE_1[model])
    implied = 0.2 * (1 - printed)
    assert lightest - darkest > implied
    # Any minority group between them: even then the sum's fairness stays below the printed one ...
    for minority in np.linspace(darkest, lightest, 11):
        best = skin_fairness([lightest, minority, darkest], [2, 1, 2], reduction="sum")
        assert best < printed
    # ... while a mean of ten gaps can give it: eight tones take up what is missing.
    rest = (10 * implied - (lightest - darkest)) / 8
    assert 0 <= rest <= 1
    accuracy = [lightest, *[darkest + rest] * 8, darkest]
    assert skin_fairness(accuracy, [9] * 9 + [1]) == pytest.approx(printed, abs=1e-12)


def test_a_model_that_always_says_person_is_perfectly_fair():
    """The reason for balanced accuracy as a constraint: PAPER row 3."""
    label = [1] * 30 + [0] * 10
    group = [1, 2, 3] * 10 + [None] * 10
    always = table(label, [1] * 40, group, lighting=["dimly_lit"] * 40)
    assert fairness(always) == 1.0
    assert METRICS["equal_opportunity"].function(always) == 0.0
    assert METRICS["worst_group_accuracy"].function(always) == 1.0
    assert METRICS["balanced_accuracy"].function(always) == 0.5
    assert METRICS["robustness"].function(always) == 0.5


def test_soft_groups_are_rows_with_weights():
    """A person that two annotators called 1 and one called 2 counts two thirds and one third."""
    soft = table([1, 1, 1], [1, 1, 0], [1, 2, 2], weight=[2 / 3, 1 / 3, 1.0])
    groups = group_table(soft).set_index("group")
    assert groups.loc[1, "accuracy"] == 1
    assert groups.loc[2, "accuracy"] == pytest.approx(0.25)
    assert minority_group(soft) == 1


@pytest.mark.parametrize(
    ("accuracy", "counts", "options", "message"),
    [
        ([0.9], [1], {}, "at least two"),
        ([0.9, 0.8], [1, 0], {}, "at least two"),
        ([0.9, 0.8], [1, 1, 1], {}, "2 accuracies but 3 counts"),
        ([0.9, 1.8], [1, 1], {}, "not in 0–1"),
        ([0.9, float("nan")], [1, 1], {}, "not in 0–1"),
        ([0.9, 0.8], [1, -1], {}, "negative"),
        ({1: 0.9, 2: 0.8}, {1: 3, 3: 4}, {}, r"Groups \[2, 3\]"),
        ({1: 0.9, 2: 0.8}, [3, 4], {}, "both by name or both in order"),
        ([0.9, 0.8], [1, 1], {"beta": 0}, "beta is 0"),
        ([0.9, 0.8], [1, 1], {"reduction": "max"}, "no reduction 'max'"),
    ],
)
def test_skin_fairness_refuses_nonsense(accuracy, counts, options, message):
    with pytest.raises(DataError, match=message):
        skin_fairness(accuracy, counts, **options)


def test_fairness_without_two_groups_says_what_it_needs():
    for group in (None, [1, 1], [None, None], [1, None]):
        with pytest.raises(DataError, match=r"'fairness'.*at least two groups"):
            fairness(table([1, 0], [1, 0], group))


def test_an_unknown_attribute_lists_the_known_ones():
    with pytest.raises(DataError, match=r"no column 'age'.*lighting"):
        intersection_table(table([1, 0], [1, 0]), ("age",))


def test_rows_without_the_attribute_are_left_out_of_intersections():
    found = intersection_table(table([1, 1, 0], [1, 0, 0], [1, 2, None]))
    assert list(found["group"]) == [1, 2]
    assert pd.isna(found["fpr"]).all()


@pytest.mark.parametrize("name", ["persons", "seen", "right", "index"])
def test_an_attribute_may_have_any_name(name: str) -> None:
    value = [0, 0, 1, 1, 2, 2]
    predictions = table([1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 1, 0], **{name: value})
    found = intersection_table(predictions, (name,))
    assert found[name].tolist() == [0, 1, 2]
    assert found["accuracy"].tolist() == [0.5, 1.0, 0.5]


@pytest.mark.parametrize("name", ["n", "weight", "accuracy"])
def test_an_attribute_named_like_a_result_is_refused(name: str) -> None:
    predictions = table([1, 0], [1, 0], **{name: [1.0, 2.0]})
    with pytest.raises(DataError, match="give it another name"):
        intersection_table(predictions, (name,))
