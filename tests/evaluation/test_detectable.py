import numpy as np
import pandas as pd
import pytest
from simulated_predictions import at_least, at_most, photographs

from moenas.errors import DataError
from moenas.evaluation.statistics import (
    Clusters,
    detectable_gap,
    equal_opportunity_floor,
    noise_floor,
)
from moenas.metrics import METRICS
from moenas.predictions import Predictions


def served(rates, each, seed) -> Predictions:
    """Persons of groups 1, 2, ... that are seen at these rates."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(1, len(rates) + 1), each)
    frame = pd.DataFrame({"group": group, "label": 1})
    frame["prediction"] = rng.random(len(group)) < np.asarray(rates)[group - 1]
    frame["image_id"] = [f"i{i}" for i in range(len(group))]
    return Predictions(frame)


@pytest.mark.parametrize("shape", ["trend", "alone"])
def test_the_fairness_test_finds_the_detectable_gap_with_80_percent(shape):
    groups, each, trials = 4, 150, 100
    known = detectable_gap(Clusters([served([0.85] * groups, each, 0)]), draws=2000)
    gap = known.trend if shape == "trend" else known.alone[2]
    losses = np.linspace(0, gap, groups) if shape == "trend" else gap * (np.arange(groups) == 1)
    rates = 0.85 - losses + losses.mean()
    found = [noise_floor(served(rates, each, s), 199).p_value <= 0.05 for s in range(trials)]
    assert at_least(0.75, trials) <= np.mean(found) <= at_most(0.85, trials)


def test_more_images_show_smaller_gaps_and_clusters_larger_ones():
    few, many = (detectable_gap(Clusters([served([0.9] * 3, n, 0)])).trend for n in (100, 1600))
    assert many == pytest.approx(few / 4, rel=0.25)
    alone = photographs(0, n=1000, together=3.0, alike=1.0)
    apart = Predictions(alone.frame.assign(cluster=alone.frame["image_id"]))
    assert detectable_gap(Clusters([alone])).trend > 1.05 * detectable_gap(Clusters([apart])).trend


def test_one_group_has_no_gap_to_detect():
    with pytest.raises(DataError, match="at least two groups"):
        detectable_gap(Clusters([served([0.9], 50, 0)]))


def test_equal_opportunity_s_floor_is_a_fair_model_s_spread():
    trials, rates = 80, [0.85] * 5
    found = [equal_opportunity_floor(served(rates, 60, s), 199, s) for s in range(trials)]
    alarms = np.mean([f.p_value <= 0.05 for f in found])
    assert alarms <= at_most(0.05, trials)
    assert np.mean([f.mean for f in found]) == pytest.approx(
        np.mean([f.spread for f in found]), rel=0.06
    )
    one = served(rates, 60, 0)
    assert found[0].spread == pytest.approx(METRICS["equal_opportunity"].function(one), abs=1e-12)
    assert found[0].mean < found[0].high
    unfair = equal_opportunity_floor(served([0.9, 0.9, 0.6], 100, 0), 999)
    assert unfair.p_value == 1 / 1000


def test_equal_opportunity_looks_at_persons_alone():
    persons = served([0.9, 0.7], 100, 0)
    nothing = persons.frame.assign(label=0, prediction=0)
    nothing["image_id"] = "n" + nothing["image_id"]
    both = Predictions(pd.concat([persons.frame, nothing], ignore_index=True))
    assert equal_opportunity_floor(both, 500) == equal_opportunity_floor(persons, 500)
    with pytest.raises(DataError, match="persons of at least two groups"):
        equal_opportunity_floor(Predictions(nothing))
