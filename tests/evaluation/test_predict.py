"""Predictions keep what their manifest knows of an image, so that scores can be grouped by it."""

import numpy as np
import pandas as pd
import pytest
import torch

from moenas.data.manifest import Manifest
from moenas.errors import ModelError
from moenas.evaluation.predict import probabilities, tabulate
from moenas.evaluation.scores import score
from moenas.metrics.fairness import intersection_table
from moenas.metrics.votes import by_votes, sensitivity_table, with_neighbours
from moenas.votes import RULES, VOTE_COLUMNS


@pytest.fixture(scope="module")
def manifest():
    """Persons of ten tones, some with votes on two, and as many images of nobody."""
    rng = np.random.default_rng(0)
    n = 600
    tone = np.concatenate([rng.integers(0, 10, n), np.zeros(n, int)])
    votes = 2 * np.eye(10, dtype=int)[tone]
    votes[::3, :] += np.eye(10, dtype=int)[(tone[::3] + 1) % 10]
    votes[n:] = 0
    frame = pd.DataFrame(votes, columns=list(VOTE_COLUMNS)).astype("Int16")
    frame.loc[n:] = pd.NA
    frame["group"] = pd.Series(tone + 1, dtype="Int16").mask(np.arange(2 * n) >= n)
    frame["label"] = (np.arange(2 * n) < n).astype(int)
    frame["path"] = [f"{i // 2}.jpg" for i in range(2 * n)]
    frame["cluster"] = frame["path"]
    frame["gender"] = ["masc", "fem"] * n
    return Manifest(
        frame.assign(split="report", lighting="well_lit", x=0, y=0, width=9, height=9), "."
    )


@pytest.fixture(scope="module")
def predictions(manifest):
    rng = np.random.default_rng(1)
    rows = rng.permutation(len(manifest))[:1100]
    right = rng.random(len(manifest)) < 0.9
    label = manifest.frame["label"].to_numpy() == 1
    return tabulate(manifest, rows, np.where(right == label, 0.9, 0.1)[rows]), rows


def test_further_columns_stay_and_boxes_go(manifest, predictions):
    table, rows = predictions
    expected = manifest.frame.iloc[np.sort(rows)].reset_index(drop=True)
    for name in (*VOTE_COLUMNS, "gender", "group", "cluster", "lighting"):
        assert table.frame[name].equals(expected[name]), name
    assert not {"path", "x", "y", "width", "height", "source"} & set(table.frame)


def test_scores_can_be_told_by_each_rule_and_attribute(predictions):
    table, _ = predictions
    assert len(intersection_table(table, ("group", "gender"))) == 20
    given = score(table, split="report", parameters=0, macs=0, draws=50)
    found = {
        rule: score(by_votes(table, rule), split="report", parameters=0, macs=0, draws=50)
        for rule in RULES
    }
    assert found["argmax"].fairness == pytest.approx(given.fairness)
    assert found["soft"].balanced_accuracy == pytest.approx(given.balanced_accuracy)
    assert sum(g.n for g in found["any"].groups) > sum(g.n for g in given.groups)
    assert 0 < found["soft"].fairness_p_value <= 1
    shown = sensitivity_table(table)
    for rule, scores in found.items():
        part = shown[shown["rule"] == rule]
        assert part["n"].tolist() == [g.n for g in scores.groups]
        assert part["accuracy"].tolist() == pytest.approx([g.accuracy for g in scores.groups])
    near = score(with_neighbours(table), split="report", parameters=0, macs=0, draws=50)
    assert near.groups[0].n == given.groups[0].n + given.groups[1].n


@pytest.mark.parametrize("classes", [1, 3])
def test_a_model_of_other_classes_is_refused(classes):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, classes))
    images = np.zeros((2, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(ModelError, match="two classes are needed"):
        probabilities(model, images, device=torch.device("cpu"))
