"""Groups by votes, against loops that take an image and a tone at a time."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_tables import table

from moenas.errors import DataError
from moenas.metrics import METRICS
from moenas.metrics.fairness import group_table
from moenas.metrics.votes import (
    GIVEN,
    NEIGHBOURS,
    by_votes,
    sensitivity_table,
    with_neighbours,
)
from moenas.predictions import Predictions
from moenas.votes import RULES, VOTE_COLUMNS, groups_of, votes_of


@st.composite
def voted(draw):
    """Persons with 0 to 3 annotators' votes, and images of nobody without."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(4, 40))
    votes = np.zeros((n, 10), dtype=int)
    for row in range(n):
        for tone in rng.integers(0, 10, rng.integers(0, 4)):
            votes[row, tone] += 1
    votes[:2] = np.eye(10, dtype=int)[[2, 7]]
    label = np.concatenate([np.ones(n, int), np.zeros(5, int)])
    columns = {
        name: pd.array([*votes[:, k], *[None] * 5], dtype="Int16")
        for k, name in enumerate(VOTE_COLUMNS)
    }
    most = [int(v.argmax()) + 1 if v.any() else None for v in votes] + [None] * 5
    weight = rng.integers(1, 9, n + 5) / 4
    answers = rng.integers(0, 2, n + 5)
    return table(label, answers, most, weight=weight, **columns), votes


def naive(predictions, members):
    """Accuracy and weight of each tone; ``members(row)``: its tones and their shares."""
    right, total = {}, {}
    for row, line in enumerate(predictions.frame.itertuples()):
        for tone, share in members(row).items():
            total[tone] = total.get(tone, 0) + share * line.weight
            hit = line.label == line.prediction
            right[tone] = right.get(tone, 0) + share * line.weight * hit
    return {tone: (right[tone] / total[tone], total[tone]) for tone in sorted(total)}


def members_by(rule, votes):
    def members(row):
        if row >= len(votes) or not sum(votes[row]):
            return {}
        own = {tone + 1: int(count) for tone, count in enumerate(votes[row]) if count}
        if rule == "any":
            return dict.fromkeys(own, 1.0)
        if rule == "soft":
            return {tone: count / sum(own.values()) for tone, count in own.items()}
        top = max(own.values())
        return {min(tone for tone, count in own.items() if count == top): 1.0}

    return members


def as_dict(frame):
    return {r.group: (r.accuracy, r.weight) for r in frame.itertuples()}


@pytest.mark.parametrize("rule", RULES)
@given(data=voted())
def test_each_rule_equals_the_loop(rule, data):
    predictions, votes = data
    expected = naive(predictions, members_by(rule, votes))
    found = as_dict(group_table(by_votes(predictions, rule)))
    assert found.keys() == expected.keys()
    for tone, pair in expected.items():
        assert found[tone] == pytest.approx(pair, abs=1e-12)


@given(data=voted())
def test_neighbours_equal_the_loop(data):
    predictions, _ = data
    present = set(predictions.group) - {-1}

    def members(row):
        own = predictions.group[row]
        return {t: 1.0 for t in (own - 1, own, own + 1) if own >= 0 and t in present}

    expected = naive(predictions, members)
    found = as_dict(group_table(with_neighbours(predictions)))
    assert found.keys() == expected.keys()
    for tone, pair in expected.items():
        assert found[tone] == pytest.approx(pair, abs=1e-12)


@given(data=voted())
def test_soft_groups_leave_scores_of_all_images_as_they_are(data):
    predictions, _ = data
    accuracy = METRICS["accuracy"].function
    for rule in ("argmax", "soft"):
        regrouped = by_votes(predictions, rule)
        assert accuracy(regrouped) == pytest.approx(accuracy(predictions), abs=1e-12)
        assert regrouped.frame["weight"].sum() == pytest.approx(predictions.frame["weight"].sum())


@settings(max_examples=8)
@given(data=voted())
def test_the_order_of_rows_does_not_matter(data):
    predictions, _ = data
    mixed = Predictions(predictions.frame.sample(frac=1, random_state=1), predictions.threshold)
    one, other = sensitivity_table(predictions), sensitivity_table(mixed)
    pd.testing.assert_frame_equal(one, other, rtol=0, atol=1e-12)


def test_ties_go_to_the_lowest_tone():
    votes = np.zeros((3, 10), dtype=int)
    votes[0, [4, 6]] = 2
    votes[1, [1, 9]] = [1, 2]
    rows, tones, weights = groups_of(votes, "argmax")
    assert (rows.tolist(), tones.tolist(), weights.tolist()) == ([0, 1], [5, 10], [1, 1])
    rows, tones, weights = groups_of(votes, "soft")
    assert rows.tolist() == [0, 0, 1, 1]
    assert tones.tolist() == [5, 7, 2, 10]
    assert weights == pytest.approx([1 / 2, 1 / 2, 1 / 3, 2 / 3])


def test_a_table_without_votes_has_neighbours_alone():
    predictions = table([1, 1, 1, 0], [1, 0, 1, 0], [1, 2, 5, None])
    found = sensitivity_table(predictions)
    assert set(found["rule"]) == {GIVEN, NEIGHBOURS}
    moved = found[found["rule"] == NEIGHBOURS].set_index("group")
    assert moved["n"].to_dict() == {1: 2, 2: 2, 5: 1}
    assert moved["accuracy"].to_dict() == {1: 0.5, 2: 0.5, 5: 1.0}


def test_what_is_no_vote_is_named():
    zero = {name: [0, 0] for name in VOTE_COLUMNS}
    plain = table([1, 0], [1, 0])
    with pytest.raises(DataError, match="no column 'skin_tone_1'"):
        by_votes(plain, "soft")
    for bad in (-1, 0.5, "many", float("inf")):
        spoilt = table([1, 0], [1, 0], **(zero | {"skin_tone_4": [1, bad]}))
        with pytest.raises(DataError, match=r"predictions table, row 1: skin_tone_4 is .* not a"):
            by_votes(spoilt, "soft")
    with pytest.raises(DataError, match="no rule 'most'"):
        groups_of(votes_of(pd.DataFrame(zero), "x"), "most")
