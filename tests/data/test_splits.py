from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moenas.data.splits import joined_clusters, split_by_cluster
from moenas.errors import DataError

FRACTIONS = {"train": 0.5, "val": 0.1, "search": 0.2, "report": 0.2}


def _frame(clusters: list[int], labels: list[int]) -> pd.DataFrame:
    names = [f"c{number}" for number in clusters]
    return pd.DataFrame({"cluster": names, "label": labels, "image_id": range(len(names))})


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), min_size=1, max_size=200))
def test_no_cluster_in_two_splits_and_none_empty(rows):
    frame = _frame([c for c, _ in rows], [y for _, y in rows])
    if frame["cluster"].nunique() < 4:
        with pytest.raises(DataError, match="cannot be split into 4 parts"):
            split_by_cluster(frame, FRACTIONS, 0)
        return
    splits = split_by_cluster(frame, FRACTIONS, 0)
    assert splits.groupby(frame["cluster"]).nunique().max() == 1
    assert set(splits) == set(FRACTIONS)


def test_shares_hold_in_each_stratum():
    frame = _frame(list(range(1000)), [int(i % 4 == 0) for i in range(1000)])
    splits = split_by_cluster(frame, FRACTIONS, 3)
    for label in (0, 1):
        shares = splits[frame["label"] == label].value_counts(normalize=True)
        for name, share in FRACTIONS.items():
            assert shares[name] == pytest.approx(share, abs=0.01)


def test_seed_and_row_order():
    frame = _frame([i // 3 for i in range(300)], [i // 3 % 2 for i in range(300)])
    splits = split_by_cluster(frame, FRACTIONS, 0)
    shuffled = split_by_cluster(frame.sample(frac=1, random_state=1), FRACTIONS, 0)
    pd.testing.assert_series_equal(splits, shuffled.sort_index())
    assert not splits.equals(split_by_cluster(frame, FRACTIONS, 1))


def test_zero_share_is_left_out_and_bad_shares_refused():
    frame = _frame(list(range(10)), [1] * 10)
    assert set(split_by_cluster(frame, {"train": 1, "val": 0}, 0)) == {"train"}
    for bad in ({"train": -1, "val": 2}, {"train": 0}, {"train": float("nan")}):
        with pytest.raises(DataError, match="fractions must be positive"):
            split_by_cluster(frame, bad, 0)


def test_image_id_stands_in_for_cluster():
    frame = pd.DataFrame({"image_id": [f"i{n}" for n in range(40)]})
    splits = split_by_cluster(frame, {"train": 0.5, "val": 0.5}, 0)
    assert splits.value_counts().to_dict() == {"train": 20, "val": 20}


def test_clusters_are_joined_by_any_value_in_common():
    names = pd.Series(["b", "a", "c", "d", "e"], index=[5, 6, 7, 8, 9])
    films = pd.Series(["x", "x", "y", None, None], index=names.index)
    sets = pd.Series([1, 2, 2, pd.NA, 3], index=names.index, dtype="Int64")
    joined = joined_clusters(names, films, sets)
    assert joined.to_dict() == {5: "a", 6: "a", 7: "a", 8: "d", 9: "e"}
    assert joined_clusters(names).equals(names)
