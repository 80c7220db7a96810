"""What the statistics say of models whose worth is known (PAPER row 3)."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from simulated_predictions import at_most

from moenas.evaluation.scores import Scores, score
from moenas.evaluation.statistics import compare_answers
from moenas.predictions import LIGHTS, Predictions

TONES = 10


def world(seed=0, persons=1500) -> pd.DataFrame:
    """Photographs with persons of ten tones and without, in all lights; two of each a cluster."""
    rng = np.random.default_rng(seed)
    n = 2 * persons
    frame = pd.DataFrame({"image_id": [f"i{i}" for i in range(n)]})
    frame["label"] = np.repeat([1, 0], persons)
    group = pd.array(rng.integers(1, TONES + 1, n), dtype="Int16")
    group[persons:] = pd.NA
    frame["group"], frame["lighting"] = group, rng.choice(LIGHTS, n)
    frame["cluster"] = [f"c{i // 2}" for i in range(n)]
    frame["split"] = "report"
    return frame


def answering(frame, person, nothing, seed=0) -> Predictions:
    """A model that is right with these probabilities about persons [n] and about none."""
    rng = np.random.default_rng(seed + 1)
    chance = np.where(frame["label"] == 1, person, nothing)
    right = rng.random(len(frame)) < chance
    return Predictions(frame.assign(prediction=np.where(right, frame["label"], 1 - frame["label"])))


def scored(predictions, draws=499) -> Scores:
    validation = Predictions(predictions.frame.assign(split="val")).frame
    validation["image_id"] = "v" + validation["image_id"]
    both = Predictions(pd.concat([predictions.frame, validation], ignore_index=True))
    return score(both, split="report", parameters=1, macs=1, draws=draws)


def test_always_person_looks_fair_robust_and_general_but_is_worth_a_coin():
    scores = scored(answering(world(), 1.0, 0.0))
    assert (scores.fairness, scores.fairness_sum, scores.overfitting) == (1.0, 1.0, 0.0)
    assert (scores.equal_opportunity, scores.gap_lightest_darkest) == (0.0, 0.0)
    assert scores.tpr == 1.0
    # What gives it away: all balanced numbers are a coin's, with no doubt about them.
    assert scores.balanced_accuracy == scores.robustness == 0.5
    assert scores.intervals["balanced_accuracy"][1] < 0.51
    assert scores.fairness_p_value == 1.0
    assert scores.noise_floor_sd == 0.0
    assert all(group.tpr == 1.0 for group in scores.groups)
    assert scores.objectives["balanced_accuracy"] == 0.5


def test_fair_by_being_bad_is_told_from_a_good_model_by_all_but_fairness():
    """Sees half of the persons of every tone; the other one nine in ten, a little unevenly."""
    frame = world()
    bad = answering(frame, 0.5, 0.6)
    tone = frame["group"].fillna(1).to_numpy(dtype=float)
    good = answering(frame, 0.97 - 0.008 * tone, 0.95)
    poor, fine = scored(bad), scored(good)
    assert poor.fairness_p_value > 0.05
    assert poor.balanced_accuracy < 0.6 < 0.85 < fine.balanced_accuracy
    assert poor.worst_group_accuracy < 0.6 < 0.75 < fine.worst_group_accuracy
    # Where answers are a coin's, tones differ most by chance: little unfairness could be shown.
    assert poor.detectable_gap > 1.5 * fine.detectable_gap
    assert poor.noise_floor_mean < fine.noise_floor_mean
    table = compare_answers({"bad": bad, "good": good}, "good")
    assert len(table) == 1 + TONES
    assert all(value is False for value in table["better"])  # for no tone is it the better one


def test_a_perfectly_fair_model_lies_on_its_noise_floor():
    trials, alarms, opportunity, measured, debiased, floors = 40, 0, 0, [], [], []
    for seed in range(trials):
        scores = scored(answering(world(seed, 500), 0.85, 0.85, seed), draws=199)
        alarms += scores.fairness_p_value <= 0.05
        opportunity += scores.equal_opportunity_p_value <= 0.05
        measured.append(scores.fairness)
        debiased.append(scores.fairness_debiased)
        floors.append(scores.noise_floor_mean)
    assert alarms / trials <= at_most(0.05, trials)
    assert opportunity / trials <= at_most(0.05, trials)
    error = np.std(measured) / trials**0.5
    assert np.mean(measured) == pytest.approx(np.mean(floors), abs=4 * error)
    # Measured, it seems unfair; that is chance, and debiasing takes most of it away.
    assert np.mean(measured) < 0.85
    assert 1 - np.mean(debiased) < 0.55 * (1 - np.mean(measured))  # (cut at 1)


def test_an_unfair_model_is_called_so_and_its_gap_was_detectable():
    frame = world()
    tone = frame["group"].fillna(1).to_numpy(dtype=float)
    scores = scored(answering(frame, 0.95 - 0.02 * tone, 0.9))
    assert scores.fairness_p_value < 0.01
    assert scores.equal_opportunity_p_value < 0.01
    assert scores.detectable_gap < 0.18
    assert scores.intervals["fairness"][1] < 1.0
