"""Which few images show best where an image's positions go."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd


def example_images(
    images: pd.DataFrame, probability: npt.NDArray[np.float64], scenes: int = 2
) -> npt.NDArray[np.int64]:
    """Return images of both classes that the model is right about, each of another cluster.

    A matched set is shown by its lowest and its highest group: what differs is the group's doing.

    Args:
        images: [n rows] with ``label``, ``group``, ``cluster``, ``matched_set``.
        probability: [n] of a person.
        scenes: How many of each class.

    Returns:
        Their places in ``images``, persons first.
    """
    frame = images.reset_index(drop=True)
    right = np.where(frame["label"] == 1, probability, 1 - probability)
    order = frame.iloc[np.argsort(-right, kind="stable")]
    result: list[int] = []
    for label in (1, 0):
        best = order[order["label"] == label].drop_duplicates("cluster").head(scenes)
        for place, row in best.iterrows():
            members = frame[frame["matched_set"] == row["matched_set"]].dropna(subset=["group"])
            members = members.sort_values("group")
            if len(members) and members["group"].iloc[0] != members["group"].iloc[-1]:
                result += [int(members.index[0]), int(members.index[-1])]
            else:
                result.append(int(place))
    return np.array(result, dtype=np.int64)
