"""Images of weight 0 count nowhere: a group or light of such images alone is not there."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from moenas.evaluation.comparison import Comparison
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
    assert [light.lighting for light in one.lights] == [light.lighting for light in two.lights]
    assert one.fairness == pytest.approx(two.fairness)
    for table in (intersections, sensitivity_table):
        pd.testing.assert_frame_equal(
            table(weightless[0]), table(without[0]), check_exact=False, rtol=0.1
        )
    ours, theirs = (compare_answers({"a": t[0], "b": t[1]}, "a") for t in (weightless, without))
    assert list(ours["group"]) == list(theirs["group"])
    assert [g["group"] for g in Comparison({"a": weightless}).groups("a")] == [
        g["group"] for g in Comparison({"a": without}).groups("a")
    ]
