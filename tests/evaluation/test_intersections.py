import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, false_positive_rate, true_positive_rate
from simulated_predictions import at_least, at_most, photographs, shuffled
from sklearn.metrics import accuracy_score
from statsmodels.stats.proportion import proportion_confint

from moenas.errors import DataError
from moenas.evaluation.statistics import intersections
from moenas.evaluation.statistics.intervals import TOO_FEW
from moenas.predictions import Predictions


def people(seed, n=1200, together=1.0, odd=None) -> Predictions:
    """Persons with two further attributes; ``odd``: what one intersection's accuracy loses."""
    table = photographs(seed, n=n, together=together)
    rng = np.random.default_rng(seed + 7)
    frame = table.frame.assign(
        gender=rng.choice(["f", "m"], len(table)), age=rng.choice(["old", "young"], len(table))
    )
    if odd is not None:
        here = (frame["gender"] == "f") & (frame["age"] == "old")
        turned = (here & table.correct).to_numpy() & (rng.random(len(table)) < odd)
        frame["prediction"] = np.where(turned, 1 - frame["prediction"], frame["prediction"])
    return Predictions(frame)


def test_scores_are_fairlearn_s():
    table = people(0)
    frame = table.frame
    peer = MetricFrame(
        metrics={"accuracy": accuracy_score, "tpr": true_positive_rate, "fpr": false_positive_rate},
        y_true=frame["label"],
        y_pred=frame["prediction"],
        sensitive_features=frame[["gender", "age", "lighting"]],
    ).by_group
    found = intersections(table, ("gender", "age", "lighting"))
    mine = found.set_index(["gender", "age", "lighting"])
    assert len(mine) == 16
    for name in ("accuracy", "tpr", "fpr"):
        np.testing.assert_allclose(mine[name], peer.loc[mine.index, name], atol=1e-12)


def test_intervals_of_single_images_are_wilson_s():
    """Student's quantile and the small-sample factor apart, which vanish with the images."""
    table = people(0, n=20_000)
    table = Predictions(table.frame.assign(cluster=table.frame["image_id"]))
    for row in intersections(table, ("gender", "age")).itertuples():
        low, high = proportion_confint(round(row.accuracy * row.n), row.n, method="wilson")
        assert (row.low, row.high) == pytest.approx((low, high), abs=2e-5)
        assert row.clusters == row.n


def test_small_intersections_are_flagged_and_nothing_depends_on_row_order():
    table = people(0)
    found = intersections(table)
    half = (found["high"] - found["low"]) / 2
    assert (found["too_few"] == (half > TOO_FEW)).all()
    assert found["too_few"].any()
    assert not intersections(people(0, 20_000), ("gender", "age"))["too_few"].any()
    pd.testing.assert_frame_equal(intersections(shuffled(table)), found)


def test_a_hidden_intersection_is_found_though_each_attribute_hides_it():
    table = people(0, n=3000, odd=0.12)
    crossed = intersections(table, ("gender", "age"))
    worst = crossed.loc[crossed["p_holm"].idxmin()]
    assert (worst["gender"], worst["age"]) == ("f", "old")
    assert worst["p_holm"] < 0.001
    assert worst["gap_high"] < 0
    assert abs(worst["gap"]) > worst["detectable"]


def test_fair_models_raise_false_alarms_in_five_percent_and_gaps_are_covered():
    """Twenty intersections, some of ten persons: normal tests call 18 % of such models unfair."""
    trials = 40
    alarms = any_alarm = hits = cells = 0
    for seed in range(trials):
        found = intersections(people(seed, n=500), ("group", "gender"), draws=800)
        alarms += (found["p"] <= 0.05).sum()
        any_alarm += (found["p_holm"] <= 0.05).any()
        hits += ((found["gap_low"] <= 0) & (found["gap_high"] >= 0)).sum()
        cells += len(found)
    assert alarms / cells <= at_most(0.05, cells // 2)  # gaps of a table are dependent
    assert any_alarm / trials <= at_most(0.05, trials)
    assert hits / cells >= at_least(0.94, cells // 2)


def test_the_detectable_gap_is_found_with_its_power():
    trials, n = 50, 400
    known = intersections(people(0, n), ("gender", "age"))
    # An answer that is turned round only where it was right loses this share of accuracy.
    turn = known["detectable"].mean() / known["accuracy"].mean()
    found = []
    for seed in range(trials):
        table = intersections(people(seed, n, odd=turn), ("gender", "age"), draws=300)
        row = table[(table["gender"] == "f") & (table["age"] == "old")]
        found.append(float(row["p"].iloc[0]) <= 0.05)
    assert at_least(0.75, trials) <= np.mean(found) <= at_most(0.85, trials)


def test_a_single_value_has_no_others_and_unknown_columns_are_named():
    row = intersections(Predictions(people(0).frame.assign(gender="f")), ("gender",)).iloc[0]
    assert np.isnan([row["gap"], row["gap_low"], row["p"], row["p_holm"], row["detectable"]]).all()
    assert row["low"] < row["accuracy"] < row["high"]
    with pytest.raises(DataError, match="no column 'race'"):
        intersections(people(0), ("race",))
