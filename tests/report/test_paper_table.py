from __future__ import annotations

import pytest

from moenas.report.paper_table import paper_table


def test_table_is_the_papers():
    table = paper_table()
    assert table["category"].value_counts().to_dict() == {"edge": 9, "hw-nas": 5, "moenas": 3}
    row = table.set_index("model").loc["MoENAS-S"]
    assert row["accuracy"] == 0.9033
    assert row["fairness"] == 0.9313
    assert row["parameters_millions"] == 2.71
    baselines = table[table["category"] != "moenas"]
    assert baselines["accuracy"].mean() == pytest.approx(0.8539, abs=5e-5)
    assert baselines["robustness"].mean() == pytest.approx(0.7970, abs=5e-5)


def test_fairness_is_possible_as_a_mean_and_impossible_as_a_sum():
    """PAPER.md row 1: lightest minus darkest alone exceeds the SPD that the fairness implies."""
    table = paper_table()
    implied = 0.2 * (1 - table["fairness"])
    gap = table["accuracy_lightest"] - table["accuracy_darkest"]
    assert (gap > implied).all()
