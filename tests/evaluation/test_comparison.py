import json

import numpy as np
import pandas as pd
import pytest
from simulated_predictions import logistic, scenes

from moenas.errors import ConfigError, DataError
from moenas.evaluation.comparison import (
    DESCRIBED,
    RECALLS,
    TESTED,
    Comparison,
    compare,
    mean_interval,
)
from moenas.evaluation.estimates import LIMITS
from moenas.evaluation.records import against, is_unfair, records
from moenas.evaluation.scores import score
from moenas.evaluation.statistics import compare_answers, debiased_fairness, holm
from moenas.metrics import METRICS
from moenas.predictions import Predictions

FRAME = scenes(0, scenes=8, negatives=12).frame
FRAME = pd.concat(
    [FRAME, scenes(1, split="val").frame.assign(group=pd.NA, matched_set=None)], ignore_index=True
)


def seeds(k, first_seed=0, *, accuracy=0.85, gap=0.0, spread=0.1, frame=FRAME):
    """A model's seeds on the same images: clusters' difficulty is shared by all models."""
    rng = np.random.default_rng(99)
    names, cluster = np.unique(frame["cluster"], return_inverse=True)
    ease = rng.normal(0, 0.5, len(names))[cluster]
    tone = frame["group"].fillna(1).to_numpy(dtype=float)
    rng = np.random.default_rng(first_seed)
    found = []
    for _ in range(k):
        logit = (
            np.log(accuracy / (1 - accuracy)) + rng.normal(0, spread) + ease - gap * (tone - 1) / 9
        )
        right = rng.random(len(frame)) < logistic(logit)
        label = frame["label"].to_numpy()
        found.append(Predictions(frame.assign(prediction=np.where(right, label, 1 - label))))
    return found


@pytest.fixture(scope="module")
def models():
    return {
        "base": seeds(3, 1, gap=4, spread=0.02),
        "wider": seeds(3, 2, gap=4, spread=0.02),
        "finalist": seeds(3, 3, accuracy=0.95, spread=0.02),
        "pruned": seeds(1, 4, accuracy=0.95, spread=0.02),
    }


@pytest.fixture(scope="module")
def report(models):
    return records(Comparison(models, draws=300))


def test_the_report_has_what_its_readers_count_on(report):
    assert set(report) == {"base", "wider", "finalist", "pruned"}
    for name, model in report.items():
        assert set(model) == {"report", "groups", "lights", "noise_floor", "versus"}
        assert set(model["report"]) == {*TESTED, *DESCRIBED, *RECALLS}
        for value in model["report"].values():
            assert set(value) == {"mean", "low", "high", "values"}
            assert value["low"] <= value["mean"] <= value["high"]
            assert len(value["values"]) == (1 if name == "pruned" else 3)
        assert [group["group"] for group in model["groups"]] == list(range(1, 11))
        assert len(model["lights"]) == 4
        for row in (*model["groups"], *model["lights"]):
            assert 0 <= row["low"] <= row["mean"] <= row["high"] <= 1
            assert row["n"] > 0
        assert set(model["noise_floor"]) == {"mean", "sd", "low", "p_value", "p_holm"}
        assert set(model["versus"]) == {"base", "wider"} - {name}
    json.dumps(report, allow_nan=False)


def test_values_are_the_metrics_of_each_seed(models, report):
    for metric, value in report["finalist"]["report"].items():
        for number, predictions in zip(value["values"], models["finalist"], strict=True):
            test = predictions.split("report")
            if metric == "overfitting":
                expected = METRICS[metric].function(predictions)
            elif metric == "fairness_debiased":
                expected = min(1, debiased_fairness(test))
            else:
                expected = METRICS[metric].function(test)
            assert number == pytest.approx(expected, abs=1e-12)
    rows = {row["group"]: row["mean"] for row in report["finalist"]["groups"]}
    accuracies = [
        next(g.accuracy for g in _score(p).groups if g.group == 4) for p in models["finalist"]
    ]
    assert rows[4] == pytest.approx(np.mean(accuracies))
    lights = {row["lighting"]: row["mean"] for row in report["finalist"]["lights"]}
    accuracies = [_score(p).lights[1].balanced_accuracy for p in models["finalist"]]
    assert lights["dimly_lit"] == pytest.approx(np.mean(accuracies))


def _score(predictions):
    return score(predictions, split="report", parameters=1, macs=1, draws=1)


def test_a_better_model_is_found_better_and_an_equal_one_is_not(report):
    versus = report["finalist"]["versus"]["base"]
    for metric in ("balanced_accuracy", "fairness"):
        entry = versus[metric]
        assert 0 < entry["low"] < entry["difference"] < entry["high"]
        assert 0 < entry["p"] <= entry["p_holm"]
        assert entry["p"] < 0.05
        assert entry["better"] is (True if entry["p_holm"] < 0.05 else None)
    assert versus["balanced_accuracy"]["better"] is True
    worse = Comparison({"a": seeds(5, 1, gap=1.5), "b": seeds(5, 3, accuracy=0.95)}, draws=300)
    for metric in ("balanced_accuracy", "fairness", "robustness"):
        assert against(worse, "b")["a"][metric]["better"] is False
    assert report["wider"]["versus"]["base"]["balanced_accuracy"]["better"] is None


def test_p_values_are_adjusted_within_their_family(report):
    for family in (TESTED, DESCRIBED):
        rows = [
            report[name]["versus"]["base"][metric]
            for name in ("wider", "finalist", "pruned")
            for metric in family
        ]
        smallest = min(rows, key=lambda row: row["p"])
        assert smallest["p_holm"] == pytest.approx(min(1, smallest["p"] * len(rows)))


def test_a_model_trained_once_is_compared_with_the_others_spread(report):
    entry = report["pruned"]["versus"]["base"]["balanced_accuracy"]
    paired = report["finalist"]["versus"]["base"]["balanced_accuracy"]
    assert entry["high"] - entry["low"] > 0
    assert entry["p"] is not None
    assert paired["p"] is not None


def test_two_single_trainings_cannot_be_told_apart():
    found = compare(seeds(1, 1), seeds(1, 2, accuracy=0.99), "balanced_accuracy", draws=50)
    assert found.difference < 0
    assert found.low is found.high is found.p is None
    rows = against(Comparison({"a": seeds(1, 1), "b": seeds(1, 2)}, draws=50), "b")["a"]
    assert all(row["p_holm"] is None and row["better"] is None for row in rows.values())
    single = Comparison({"a": seeds(1, 1), "b": seeds(1, 2)}, draws=50)
    assert single.better("a", "b", "overfitting") is None


def test_overfitting_is_better_nearer_to_zero():
    """Models that differ on validation only; too low is as bad as too high."""
    ones = seeds(4, 1, accuracy=0.85, spread=0.02)

    def on_validation(accuracy):
        others = seeds(4, 9, accuracy=accuracy, spread=0.02)
        frames = []
        for one, other in zip(ones, others, strict=True):
            val = one.frame["split"] == "val"
            answer = np.where(val, other.frame["prediction"], one.frame["prediction"])
            frames.append(Predictions(one.frame.assign(prediction=answer)))
        return frames

    models = {"fit": ones, "over": on_validation(0.99), "under": on_validation(0.68)}
    found = Comparison(models, draws=300)
    assert against(found, "over")["fit"]["overfitting"]["better"] is True
    assert against(found, "fit")["over"]["overfitting"]["better"] is False
    opposite = against(found, "over")["under"]["overfitting"]
    assert opposite["p"] < 0.05
    assert opposite["better"] is None


def test_models_of_other_images_are_named():
    shifted = [Predictions(table.frame.iloc[1:]) for table in seeds(2, 3)]
    with pytest.raises(DataError, match=r"of 'a' \(training 1\) and of 'b' \(training 1\) differ"):
        Comparison({"a": seeds(2, 1), "b": shifted}, draws=10)
    ours, theirs = seeds(1, 1)[0].split("report"), shifted[0].split("report")
    with pytest.raises(DataError, match="of 'a' and of 'b' differ in column 'image_id'"):
        compare_answers({"a": ours, "b": theirs})


def test_more_seeds_and_pairing_make_intervals_shorter():
    few = mean_interval(seeds(3, 1), "balanced_accuracy", draws=200)
    many = mean_interval(seeds(12, 1), "balanced_accuracy", draws=200)
    assert many.high - many.low < few.high - few.low
    both = compare(seeds(6, 1), seeds(6, 1), "balanced_accuracy", draws=200)
    assert (both.difference, both.p) == (0, 1)


def test_single_seeds_have_the_interval_of_the_images():
    found = mean_interval(seeds(1, 1), "tpr", draws=3000)
    low, high = _score(seeds(1, 1)[0]).intervals["tpr"]
    assert found.high - found.low == pytest.approx(high - low, rel=0.12)


def test_comparisons_cover_and_do_not_cry_wolf():
    """Two equal models, three seeds each, on new images every time."""
    trials, hits, alarms = 20, 0, 0
    for trial in range(trials):
        frame = scenes(trial, concepts=12, scenes=3, negatives=12).frame
        frame["cluster"] += f"-{trial}"
        one, two = (seeds(3, 2 * trial + i, frame=frame, spread=0.3) for i in (0, 1))
        both = Comparison({"a": one, "b": two}, draws=200)
        accuracy = both.difference("a", "b", "balanced_accuracy")
        fairness = both.difference("a", "b", "fairness")
        hits += accuracy.low <= 0 <= accuracy.high
        alarms += fairness.p < 0.05
    assert hits >= 15
    assert alarms <= 4


def test_metrics_without_groups_or_validation_are_left_out():
    frame = FRAME[FRAME["split"] == "report"].assign(group=None)
    found = Comparison({"a": seeds(2, 1, frame=frame), "b": seeds(2, 2, frame=frame)}, draws=50)
    rows = records(found, ["b"])["a"]
    assert set(rows["versus"]["b"]) == {"balanced_accuracy", "robustness"}
    assert set(rows["report"]) == {*rows["versus"]["b"], *RECALLS}
    assert rows["groups"] == []
    assert rows["noise_floor"] is None


@pytest.mark.parametrize("metric", ["fairness", "fairness_debiased", "overfitting"])
def test_an_undefined_metric_is_an_error_when_asked_for(metric):
    frame = FRAME[FRAME["split"] == "report"].assign(group=None)
    with pytest.raises(DataError, match=f"'{metric}' is not defined"):
        compare(seeds(2, 1, frame=frame), seeds(2, 2, frame=frame), metric, draws=20)


def test_errors_say_what_is_wrong(monkeypatch):
    one = seeds(2, 1)
    with pytest.raises(DataError, match="Model 'b' has no predictions"):
        Comparison({"a": one, "b": []})
    with pytest.raises(DataError, match="no image of split 'search'"):
        Comparison({"a": one}, split="search")
    with pytest.raises(ConfigError, match="Did you mean 'fairness'"):
        mean_interval(one, "fairnes", draws=10)
    with pytest.raises(ConfigError, match="no model 'c' here: a"):
        Comparison({"a": one}, draws=10).estimate("c", "fairness")
    other = [Predictions(p.frame.iloc[5:]) for p in one]
    with pytest.raises(DataError, match="same images"):
        compare(one, other, "tpr", draws=10)


def test_every_metric_with_a_vectorised_form_can_be_estimated():
    found = Comparison({"a": seeds(2, 1)}, draws=50)
    for name in METRICS:
        value = found.estimate("a", name)
        assert value.low <= value.mean <= value.high
        low, high = LIMITS[name]
        assert low <= value.low <= value.high <= high


def test_one_training_has_the_intervals_of_its_scores():
    (table,) = seeds(1, 1)
    found, scores = records(Comparison({"a": [table]}, draws=50))["a"], _score(table)
    for name in ("balanced_accuracy", "tpr", "tnr", "robustness"):
        entry = found["report"][name]
        assert (entry["low"], entry["high"]) == pytest.approx(scores.intervals[name])
    for entry, group in zip(found["groups"], scores.groups, strict=True):
        assert (entry["low"], entry["high"]) == pytest.approx((group.low, group.high))
        assert entry["too_few"] == group.too_few


def test_what_is_all_right_is_not_known_for_sure():
    """A bootstrap of right answers alone has no width."""
    frame = seeds(1, 1)[0].frame
    frame = frame.assign(probability=frame["label"].astype(float), prediction=frame["label"])
    perfect = [Predictions(frame), Predictions(frame)]
    found = records(Comparison({"a": perfect}, draws=50))["a"]
    for entry in (found["report"]["balanced_accuracy"], *found["groups"], *found["lights"]):
        assert entry["mean"] == entry["high"] == 1
        assert entry["low"] < 1
    few, many = (max(found["groups"], key=lambda g: sign * g["n"]) for sign in (-1, 1))
    assert few["low"] <= many["low"]


def test_unfairness_is_corrected_for_the_number_of_models():
    models = {f"m{n}": seeds(1, n, gap=0) for n in range(5)} | {"bad": seeds(1, 9, gap=5)}
    found = records(Comparison(models, draws=300), references=())
    raw = [record["noise_floor"]["p_value"] for record in found.values()]
    assert [r["noise_floor"]["p_holm"] for r in found.values()] == pytest.approx(holm(raw))
    assert [name for name, record in found.items() if is_unfair(record)] == ["bad"]
