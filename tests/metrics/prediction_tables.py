"""Predictions tables for tests: generated ones, and a few that are known by heart."""

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from moenas.predictions import LIGHTS, Predictions


def table(label, prediction, group=None, **columns) -> Predictions:
    n = len(label)
    frame = pd.DataFrame({"image_id": [f"i{i}" for i in range(n)], "label": label})
    frame["prediction"] = prediction
    if group is not None:
        frame["group"] = pd.array(group, dtype="Int16")
    return Predictions(frame.assign(**columns))


@st.composite
def tables(draw, min_rows=8, weighted=True, groups=4, negatives_have_groups=True) -> Predictions:
    """Tables with both labels in every light, and at least two groups."""
    n = draw(st.integers(min_rows, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    label = rng.integers(0, 2, n)
    group = rng.integers(1, groups + 1, n)
    lighting = rng.choice(LIGHTS, n)
    core = [(y, light) for y in (0, 1) for light in LIGHTS]
    label = np.concatenate([label, [y for y, _ in core]])
    lighting = np.concatenate([lighting, [light for _, light in core]])
    group = np.concatenate([group, rng.permutation([1, 2, 1, 2, 1, 2, 1, 2])])
    # Weights are sums of powers of two, so that sums are exact in any order.
    weight = rng.integers(1, 17, len(label)) / 8 if weighted else np.ones(len(label))
    names = pd.array(group, dtype="Int16")
    if not negatives_have_groups:
        names[label == 0] = pd.NA
    prediction = np.where(rng.random(len(label)) < 0.7, label, 1 - label)
    return table(label, prediction, names, lighting=lighting, weight=weight)
