"""Routes of images that nobody drew: what they depend on is known."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moenas.analysis.routes import Routes, SwitchLayer


def simulate(
    rng: np.random.Generator, cluster: np.ndarray, push: np.ndarray, experts: tuple[int, ...]
) -> Routes:
    """Draw routes: each cluster prefers an expert of its own; ``push`` [n] pulls to the first."""
    shares = []
    for count in experts:
        taste = rng.normal(0, 1.0, (cluster.max() + 1, count))[cluster]
        logits = taste + rng.normal(0, 0.5, (len(cluster), count))
        logits[:, 0] += push
        share = np.exp(logits)
        shares.append((share / share.sum(1, keepdims=True)).astype(np.float32))
    layers = tuple(SwitchLayer(n, f"l{n}", count) for n, count in enumerate(experts, start=1))
    return Routes(layers, tuple(shares), np.zeros(len(cluster)))


def table(cluster: np.ndarray, matched: np.ndarray | None = None) -> pd.DataFrame:
    """The columns that relabelling reads; ``matched`` [n] is -1 for none."""
    sets = None if matched is None else [None if m < 0 else f"s{m}" for m in matched]
    return pd.DataFrame({"cluster": cluster.astype(str), "matched_set": sets})
