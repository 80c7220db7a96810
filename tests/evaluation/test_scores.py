import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_predictions import at_least, photographs, scenes, shuffled
from sklearn.metrics import balanced_accuracy_score

from moenas import config
from moenas.errors import DataError
from moenas.evaluation.scores import OBJECTIVES, Scores, score
from moenas.evaluation.threshold import best_threshold
from moenas.metrics import METRICS
from moenas.metrics.fairness import group_table
from moenas.predictions import Predictions


def all_splits(seed=0, make=scenes, **options) -> Predictions:
    parts = [make(seed, **options), make(seed + 900, split="val", **options)]
    return Predictions(pd.concat([part.frame for part in parts], ignore_index=True))


def scored(predictions, split="report", **options) -> Scores:
    options = {"parameters": 1_114_000, "macs": 5, "draws": 200} | options
    return score(predictions, split=split, **options)


def test_scores_are_the_metrics():
    predictions = all_splits(gap=1.0)
    report = predictions.split("report")
    scores = scored(predictions)
    names = [name for name in METRICS if hasattr(scores, name) and "general" not in name]
    assert len(names) == 13
    for name in names:
        table = predictions if name == "overfitting" else report
        assert getattr(scores, name) == pytest.approx(METRICS[name].function(table), abs=1e-12)
    validation = METRICS["balanced_accuracy"].function(predictions.split("val"))
    assert scores.validation_accuracy == pytest.approx(validation)
    assert scores.overfitting == pytest.approx(validation - scores.balanced_accuracy)
    assert scores.n == len(report)
    assert scores.minority_group == 10
    worst = group_table(report).sort_values("accuracy").iloc[0]
    assert scores.worst_group == worst["group"]
    assert scores.worst_group_accuracy == pytest.approx(worst["accuracy"])


def test_scores_travel_through_json():
    scores = scored(all_splits())
    text = json.dumps(config.to_dict(scores), allow_nan=False)
    assert config.from_dict(Scores, json.loads(text)) == scores


def test_scores_are_saved_and_shown(tmp_path):
    scores = scored(all_splits())
    scores.save(tmp_path / "scores.json")
    loaded = json.loads((tmp_path / "scores.json").read_text())
    assert config.from_dict(Scores, loaded) == scores
    frame = scores.to_frame().set_index("score")
    assert frame.loc["fairness", "value"] == scores.fairness
    assert np.isnan(frame.loc["fairness", "low"])
    assert frame.loc["fairness_debiased", "low"] == scores.intervals["fairness"][0]
    assert frame.loc["tpr", "low"] < scores.tpr < frame.loc["tpr", "high"]
    assert frame.loc["group 3", "low"] == scores.groups[2].low
    assert frame.loc["light dimly_lit", "value"] == scores.lights[1].balanced_accuracy


def test_scores_do_not_depend_on_row_order():
    predictions = all_splits(make=photographs)
    assert scored(shuffled(predictions)) == scored(predictions)


def test_what_is_undefined_is_none_and_not_nan():
    predictions = scenes(0)
    bare = Predictions(predictions.frame.assign(group=None, lighting=None, matched_set=None))
    scores = scored(bare)
    assert scores.groups == scores.lights == ()
    for name in ("fairness", "spd_sum", "fairness_p_value", "minority_group", "worst_group"):
        assert getattr(scores, name) is None
    assert scores.robustness is scores.overfitting is scores.generalisation is None
    assert set(scores.intervals) == {"accuracy", "balanced_accuracy", "tpr", "tnr"}
    assert not any(isinstance(v, float) and math.isnan(v) for v in vars(scores).values())
    assert config.from_dict(Scores, config.to_dict(scores)) == scores
    with pytest.raises(DataError, match="fairness, robustness, generalisation are not defined"):
        _ = scores.objectives


def test_negatives_without_group_make_a_group_s_accuracy_its_recall():
    for group in scored(all_splits()).groups:
        assert group.accuracy == group.tpr
        assert group.fpr is None
        assert group.low < group.accuracy < group.high


def test_a_light_with_one_label_has_no_balanced_accuracy():
    frame = scenes(0).frame
    frame = frame[(frame["label"] == 1) | (frame["lighting"] != "overexposed")]
    light = scored(Predictions(frame)).lights[3]
    assert light.lighting == "overexposed"
    assert light.balanced_accuracy is light.tnr is light.low is light.high is None
    assert light.tpr is not None


def test_small_groups_are_flagged():
    scores = scored(all_splits(make=photographs, n=4000, together=0.3))
    flags = {group.group: group.too_few for group in scores.groups}
    assert flags[10]
    assert not flags[3]


def test_the_objectives_are_all_to_be_maximised():
    scores = scored(all_splits())
    assert tuple(scores.objectives) == OBJECTIVES
    assert scores.objectives["generalisation"] == -abs(scores.overfitting)


def test_a_model_that_always_says_person_is_fair_and_useless():
    always = all_splits().frame.assign(prediction=1)
    scores = scored(Predictions(always))
    assert scores.fairness == 1
    assert scores.fairness_p_value == 1
    assert scores.overfitting == 0
    assert scores.balanced_accuracy == scores.robustness == 0.5
    assert scores.intervals["fairness"][1] == 1
    assert scores.fairness_debiased == 1


def test_intervals_hold_their_score_and_agree_with_the_fairness_test():
    for gap in (0.0, 3.0):
        scores = scored(all_splits(gap=gap))
        for name, (low, high) in scores.intervals.items():
            if name != "fairness":
                assert low < getattr(scores, name) < high
        assert (scores.intervals["fairness"][1] == 1) == (scores.fairness_p_value >= 0.025)
    assert scores.fairness_p_value < 0.01


def test_intervals_of_balanced_accuracies_cover():
    """The truth is a test set of 1500 concepts."""
    options = {"concepts": 15, "scenes": 4, "negatives": 12, "each": 10}
    truth = scored(all_splits(7, concepts=1500, negatives=1500, scenes=4), draws=1)
    trials, hits = 40, dict.fromkeys(("balanced_accuracy", "robustness", "tpr", "overfitting"), 0)
    for seed in range(trials):
        scores = scored(all_splits(seed, **options), draws=1)
        for name in hits:
            low, high = scores.intervals[name]
            hits[name] += low <= getattr(truth, name) <= high
    assert min(hits.values()) / trials >= at_least(0.94, trials), hits


@pytest.mark.parametrize(("label", "what"), [(1, "without"), (0, "with")])
def test_one_label_alone_cannot_be_scored(label, what):
    frame = scenes(0).frame
    with pytest.raises(DataError, match=f"'report' has no image {what} a person"):
        scored(Predictions(frame[frame["label"] == label]))


def test_an_unknown_split_names_the_known_ones():
    with pytest.raises(DataError, match=r"no split 'test'. They have: report, val"):
        scored(all_splits(), split="test")


@settings(max_examples=12)
@given(st.integers(0, 10_000))
def test_best_threshold_is_the_best_of_all(seed):
    rng = np.random.default_rng(seed)
    label = rng.permutation([1] * 10 + [0] * 15)
    probability = rng.random(25).round(int(rng.integers(1, 4)))
    frame = pd.DataFrame({"image_id": range(25), "label": label, "probability": probability})
    predictions = Predictions(frame)
    if len(set(probability)) == 1:
        return
    candidates = (*probability, *(np.unique(probability)[1:] - 1e-6))
    best = max(balanced_accuracy_score(label, probability >= t) for t in candidates)
    threshold = best_threshold(predictions)
    found = METRICS["balanced_accuracy"].function(predictions.with_threshold(threshold))
    assert found >= best - 1e-12 or best == 0.5
    assert best_threshold(shuffled(predictions)) == threshold


def test_best_threshold_lies_midway_and_ties_go_toward_one_half():
    def best(*pairs):
        frame = pd.DataFrame(pairs, columns=["label", "probability"])
        return best_threshold(Predictions(frame.assign(image_id=range(len(pairs)))))

    assert best((0, 0.2), (1, 0.6)) == pytest.approx(0.4)
    # 0.15 and 0.55 both err once.
    assert best((0, 0.1), (1, 0.2), (0, 0.5), (1, 0.6)) == pytest.approx(0.55)
    assert best((0, 0.7), (1, 0.7)) == 0.5
    # What differs by rounding alone differs on no other machine.
    assert best((0, 0.3), (1, 0.3 + 1e-7)) == 0.5
    assert best((0, 0.3), (1, 0.3 + 1e-7), (1, 0.4)) == pytest.approx(0.35)


def test_the_threshold_needs_both_labels():
    frame = scenes(0).frame
    with pytest.raises(DataError, match="only one of them"):
        best_threshold(Predictions(frame[frame["label"] == 1]))
    weightless = frame.assign(weight=frame["label"].astype(float))
    with pytest.raises(DataError, match="none of any weight"):
        best_threshold(Predictions(weightless))


def test_scores_need_no_torch():
    """It takes seconds and 500 MB: a predictions file alone is scored without."""
    code = "import sys, moenas.evaluation.scores; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_scores_of_older_runs_are_read():
    old = config.to_dict(scored(scenes(0)))
    for name in ("equal_opportunity_floor", "equal_opportunity_p_value", "detectable_gap"):
        assert old.pop(name) is not None
    assert config.from_dict(Scores, old).detectable_gap is None
