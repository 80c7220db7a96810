from __future__ import annotations

import pytest

from moenas.report.results import ComparedModel, Comparison, Difference
from moenas.report.verdict import badge


def finalist(base: dict[str, bool | None], wider: dict[str, bool | None] | None) -> ComparedModel:
    versus = {"base": base} | ({"wider": wider} if wider is not None else {})
    return ComparedModel(
        name="f", role="finalist", architecture="a", parameters=1, report={},
        versus={
            reference: {key: Difference(0.01, better=better) for key, better in outcomes.items()}
            for reference, outcomes in versus.items()
        },
    )  # fmt: skip


@pytest.mark.parametrize(
    ("base", "wider", "outcome"),
    [
        ({"fairness": True}, {"fairness": True}, "better"),
        ({"fairness": True}, None, "better"),
        ({"fairness": True}, {"fairness": None}, "mixed"),
        ({"fairness": True}, {"robustness": True}, "mixed"),
        ({"fairness": True, "robustness": False}, {"fairness": True}, "mixed"),
        ({"fairness": None}, {"fairness": False}, "not better"),
        ({"fairness": None}, {"fairness": None}, "undecided"),
        ({"worst_group_accuracy": True}, {"worst_group_accuracy": True}, "undecided"),
        ({}, {}, "not compared"),
    ],
)
def test_badge_follows_its_rule(base, wider, outcome):
    assert badge(Comparison((finalist(base, wider),))).outcome == outcome


def test_best_finalist_counts_and_only_finalists():
    better = finalist({"fairness": True}, {"fairness": True})
    worse = finalist({"fairness": False}, {"fairness": False})
    assert badge(Comparison((worse, better))).outcome == "better"
    assert badge(Comparison(())).outcome == "not compared"
    assert badge(None).outcome == "not compared"
