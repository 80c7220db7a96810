"""Images of weight 0 count nowhere: a group or light of such images alone is not there.

And weights have no unit: a table says the same whether they are shares or numbers of persons.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moenas.errors import DataError
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.degradation import degradation
from moenas.evaluation.scores import score
from moenas.evaluation.statistics import compare_answers, intersections
from moenas.metrics.votes import sensitivity_table
from moenas.predictions import Predictions


def frame(seed: int = 0, n: int = 240) -> pd.DataFrame:
    label = np.tile([0, 1], n // 2)
    wrong = np.random.default_rng(seed).random(n) < 0.2
    return pd.DataFrame(
        {
            "image_id": [f"i{i:03d}" for i in range(n)],
            "label": label,
            "prediction": label ^ wrong,
            "group": np.repeat([1, 2, 3, 4], n // 4),
            "lighting": np.array(["well_lit", "dimly_lit", "underexposed"])[np.arange(n) % 3],
        }
    )


@pytest.mark.parametrize(
    ("column", "value"), [("group", 1), ("group", 4), ("lighting", "well_lit")]
)
def test_as_if_the_rows_were_not_there(column: str, value: object) -> None:
    frames = [frame(seed) for seed in (0, 1)]
    gone = frames[0][column] == value
    weightless = [Predictions(each.assign(weight=np.where(gone, 0.0, 1.0))) for each in frames]
    without = [Predictions(each[~gone]) for each in frames]
    cost = {"split": "report", "parameters": 1, "macs": 1}
    one, two = (score(tables[0], **cost) for tables in (weightless, without))
    assert one.groups == two.groups if column == "group" else len(one.groups) == 4
    assert [(x.lighting, x.n) for x in one.lights] == [(x.lighting, x.n) for x in two.lights]
    assert one.fairness == pytest.approx(two.fairness)
    for table in (intersections, sensitivity_table):
        pd.testing.assert_frame_equal(
            table(weightless[0]), table(without[0]), check_exact=False, rtol=0.1
        )
    ours, theirs = (compare_answers({"a": t[0], "b": t[1]}, "a") for t in (weightless, without))
    assert list(ours["group"]) == list(theirs["group"])
    ours, theirs = (Comparison({"a": each}) for each in (weightless, without))
    assert [g["group"] for g in ours.groups("a")] == [g["group"] for g in theirs.groups("a")]
    assert [(x["lighting"], x["n"]) for x in ours.lights("a")] == [
        (x["lighting"], x["n"]) for x in theirs.lights("a")
    ]


@pytest.mark.parametrize("label", [0, 1])
def test_a_class_of_no_weight_is_told(label: int) -> None:
    table = frame()
    weightless = Predictions(table.assign(weight=np.where(table["label"] == label, 0.0, 1.0)))
    with pytest.raises(DataError, match="or none of any weight"):
        score(weightless, split="report", parameters=1, macs=1)


def test_validation_of_no_weight_is_as_none() -> None:
    held = frame(1).assign(split="val", image_id=[f"v{i}" for i in range(240)], weight=0.0)
    table = pd.concat([frame().assign(split="report", weight=1.0), held], ignore_index=True)
    found = score(Predictions(table), split="report", parameters=1, macs=1)
    assert found.overfitting is None
    assert Comparison({"a": [Predictions(table)]}).estimate("a", "overfitting") is None


@pytest.mark.parametrize("unit", [1e-11, 1e-3, 250.0])
def test_weights_have_no_unit(unit: float) -> None:
    """Survey weights often sum to 1, which is no reason to know nothing."""
    rows = frame()
    weight = np.random.default_rng(5).integers(1, 4, len(rows)).astype(float)
    one = Predictions(rows.assign(weight=weight))
    two = Predictions(rows.assign(weight=weight * unit))
    cost = {"split": "report", "parameters": 1, "macs": 1}
    whole, scaled = (score(table, **cost) for table in (one, two))
    assert scaled.minority_group == whole.minority_group
    assert scaled.fairness_p_value == pytest.approx(whole.fairness_p_value, abs=0.05)
    before, after = whole.intervals, scaled.intervals
    assert before.keys() == after.keys()
    for name, bounds in before.items():
        assert after[name] == pytest.approx(bounds, abs=1e-6), name
    other = Predictions(frame(1).assign(weight=weight))
    again = Predictions(frame(1).assign(weight=weight * unit))
    for find in (answered, degraded):
        for column in ("low", "high"):
            ours, theirs = find(one, other)[column], find(two, again)[column]
            np.testing.assert_allclose(ours, theirs, atol=1e-9)


def answered(one: Predictions, two: Predictions) -> pd.DataFrame:
    return compare_answers({"a": one, "b": two}, "a")


def degraded(one: Predictions, two: Predictions) -> pd.DataFrame:
    return degradation({0: one, 1: two})


def test_one_image_that_weighs_most_is_not_many() -> None:
    """All right, and nearly all of the weight is one image's: little is known."""
    rows = frame()
    weight = np.where(np.arange(len(rows)) < 2, 1000.0, 1.0)
    heavy = Predictions(rows.assign(prediction=rows["label"], weight=weight))
    low, _ = score(heavy, split="report", parameters=1, macs=1).intervals["tpr"]
    assert low < 0.5
