"""The images that an expert works on most: what it may have specialised in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.analysis.routes import Routes


def typical_images(
    routes: Routes, images: pd.DataFrame, layer: int, expert: int, count: int = 6
) -> npt.NDArray[np.int64]:
    """Return the images of which an expert takes the largest share of tokens, largest first.

    Of a matched set, and of a cluster, only one image is taken: ten tones of one scene would show
    nothing but that scene.

    Args:
        routes: Of n images.
        images: [n rows] with ``cluster`` and ``matched_set``.
        layer: Index in ``routes.layers``.
        expert: Index from 0.
        count: How many at most.

    Returns:
        Their places in ``routes``; none where the expert takes no token.
    """
    share = routes.shares[layer][:, expert]
    order: npt.NDArray[np.int64] = np.argsort(-share, kind="stable")
    frame = images.iloc[order[share[order] > 0]]
    own = pd.Series([f"row-{n}" for n in range(len(frame))], index=frame.index)
    again = frame["matched_set"].fillna(own).duplicated() | frame["cluster"].duplicated()
    kept = order[: len(frame)][~np.asarray(again, dtype=np.bool_)]
    return np.asarray(kept[:count], dtype=np.int64)
