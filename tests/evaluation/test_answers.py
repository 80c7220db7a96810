import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_predictions import at_least, at_most, logistic, photographs, scenes, shuffled
from statsmodels.stats.contingency_tables import mcnemar as peer_mcnemar
from statsmodels.stats.multitest import multipletests

from moenas.errors import ConfigError, DataError
from moenas.evaluation.statistics import clustered_mcnemar, compare_answers, mcnemar
from moenas.metrics.metric import METRICS
from moenas.predictions import Predictions


def altered(predictions, rate, seed, rows=True) -> Predictions:
    """The model with some answers turned round."""
    frame = predictions.frame.copy()
    turned = (np.random.default_rng(seed).random(len(frame)) < rate) & rows
    frame["prediction"] = np.where(turned, 1 - frame["prediction"], frame["prediction"])
    return Predictions(frame)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_clustered_mcnemar_is_the_share_of_all_swaps(net):
    swaps = np.array(list(itertools.product([-1, 1], repeat=len(net)))) @ np.abs(net)
    beyond = (np.abs(swaps) >= abs(sum(net))).mean()
    assert clustered_mcnemar(net, mid_p=False) == pytest.approx(beyond, abs=1e-12)
    case = (swaps == -abs(sum(net))).mean()
    expected = 1.0 if sum(net) == 0 else beyond - case
    assert clustered_mcnemar(net) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_of_single_images_it_is_mcnemar_s_test(one, two):
    net = [1] * one + [-1] * two + [0]
    assert clustered_mcnemar(net) == pytest.approx(mcnemar(one, two), abs=1e-12)
    exact = peer_mcnemar([[5, one], [two, 5]], exact=True).pvalue if one + two else 1.0
    assert clustered_mcnemar(net, mid_p=False) == pytest.approx(exact, abs=1e-12)


def test_weights_that_are_no_whole_numbers_are_tested_by_the_normal_distribution():
    net = np.random.default_rng(0).choice([-1, 0, 1], 400, p=[0.2, 0.65, 0.15])
    exact = clustered_mcnemar(net)
    assert clustered_mcnemar(net * 0.37) == pytest.approx(exact, abs=0.02)


def test_the_table_counts_pairs_and_corrects_all_of_them():
    base = photographs(0, n=900)
    models = {"a": base, "b": shuffled(altered(base, 0.03, 1)), "c": altered(base, 0.1, 2)}
    table = compare_answers(models)
    assert len(table) == 3 * 11
    assert list(table["group"].unique()) == ["all", *map(str, range(1, 11))]
    rejected, adjusted, *_ = multipletests(table["p"], 0.05, method="holm")
    np.testing.assert_allclose(table["p_holm"], adjusted, atol=1e-12)
    assert [value is not None for value in table["better"]] == list(rejected)
    row = table[(table["model"] == "a") & (table["reference"] == "c")].iloc[0]
    alone = (base.correct & ~models["c"].correct).sum(), (models["c"].correct & ~base.correct).sum()
    assert (row["only_model"], row["only_reference"]) == alone
    balanced = METRICS["balanced_accuracy"].function
    assert row["difference"] == pytest.approx(balanced(base) - balanced(models["c"]))
    assert row["low"] < row["difference"] < row["high"]
    assert row["better"] is True
    versus = compare_answers(models, "c")
    assert set(versus["reference"]) == {"c"}
    assert set(versus["model"]) == {"a", "b"}


def test_everyone_is_balanced_so_that_saying_yes_always_is_no_better_than_no_always():
    frame = photographs(0, n=1200).frame.iloc[:1200]
    frame = frame.assign(label=(np.arange(1200) % 6 > 0).astype(int))
    yes, no = (Predictions(frame.assign(prediction=answer)) for answer in (1, 0))
    row = compare_answers({"yes": yes, "no": no}).iloc[0]
    assert (row["only_model"], row["only_reference"]) == (1000, 200)
    assert row["difference"] == pytest.approx(0)
    assert row["p"] > 0.5


def test_one_tone_that_is_served_worse_is_found_in_its_row():
    base = photographs(0, n=3000)
    worse = altered(base, 0.25, 1, rows=base.group == 9)
    table = compare_answers({"base": base, "new": worse}, "base").set_index("group")
    assert table.loc["9", "better"] is False
    others = table.drop(index=["9", "all"])
    assert (others["difference"] == 0).all()
    assert others["detectable"].isna().all()
    assert (others["p"] == 1).all()


def clustered_pair(seed, gap=0.0, photos=150):
    """Two models whose answers agree within a photograph of three persons."""
    rng = np.random.default_rng(seed)
    photo = np.repeat(np.arange(photos), 3)
    tables = []
    for extra in (0.0, gap):
        logit = 1.5 - extra + rng.normal(0, 2, photos)[photo]
        frame = pd.DataFrame({"image_id": np.arange(len(photo)).astype(str), "label": 1})
        frame["prediction"] = (rng.random(len(photo)) < logistic(logit)).astype(int)
        tables.append(Predictions(frame.assign(cluster=photo.astype(str))))
    return tables


def test_clusters_keep_their_level_and_coverage_where_single_images_would_not():
    trials = 60
    alarms = naive = hits = 0
    for seed in range(trials):
        one, two = clustered_pair(seed)
        row = compare_answers({"one": one, "two": two}).iloc[0]
        alarms += row["p"] <= 0.05
        hits += row["low"] <= 0 <= row["high"]
        naive += mcnemar(row["only_model"], row["only_reference"]) <= 0.05
    assert alarms / trials <= at_most(0.05, trials)
    assert hits / trials >= at_least(0.95, trials)
    assert naive > 1.5 * alarms


def test_the_detectable_difference_is_found_with_its_power():
    """The gap in logits is tuned to the detectable difference of the mean table."""
    known = np.mean(
        [compare_answers(dict(zip("ab", clustered_pair(s), strict=True)))["detectable"].iloc[0]
         for s in range(10)]
    )  # fmt: skip
    effect = np.random.default_rng(0).normal(0, 2, 100_000)
    grid = np.linspace(0, 2, 81)
    drop = [(logistic(1.5 + effect) - logistic(1.5 - g + effect)).mean() for g in grid]
    gap, trials = float(np.interp(known, drop, grid)), 60
    found = [
        compare_answers(dict(zip("ab", clustered_pair(500 + s, gap), strict=True)))["p"].iloc[0]
        for s in range(trials)
    ]
    power = np.mean(np.array(found) <= 0.05)
    assert at_least(0.76, trials) <= power <= at_most(0.84, trials)


def test_what_cannot_be_compared_is_refused():
    one = scenes(0, concepts=3)
    with pytest.raises(DataError, match="1 models: a comparison needs two"):
        compare_answers({"a": one})
    with pytest.raises(ConfigError, match=r"no model 'bass' here. Did you mean 'base'"):
        compare_answers({"base": one, "new": one}, "bass")
    with pytest.raises(DataError, match="no column 'gender'"):
        compare_answers({"a": one, "b": one}, by="gender")


def test_no_image_is_told():
    empty = scenes(0).split("nowhere")
    with pytest.raises(DataError, match="hold no image"):
        compare_answers({"a": empty, "b": empty})
