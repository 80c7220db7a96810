"""Which images int8 takes its ranges from: of the training split, as many of each group and light.

Ranges that were taken from the most frequent kind of image cut off what the others need: a dark
face in poor light has activations of its own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moenas.data.cache import ImageStore
from moenas.data.manifest import Manifest
from moenas.errors import DataError

IMAGES = 256
"""Number of images, fewer where the split has fewer."""

SPLIT = "train"
BALANCED = ["label", "group", "lighting"]


def calibration_images(
    manifest: Manifest, images: ImageStore, count: int = IMAGES
) -> npt.NDArray[np.uint8]:
    """Return training images ``[n, height, width, 3]``, in turn from each label, group and light.

    A kind with fewer images than its part gives all it has, and the others fill up.

    Args:
        manifest: Describes the images.
        images: All of them.
        count: Most images to return.

    Raises:
        DataError: The data have no readable training image.
    """
    wanted = (manifest.frame["split"] == SPLIT).to_numpy() & images.readable
    rows = np.flatnonzero(wanted)
    if not len(rows):
        raise DataError(
            f"int8 takes its ranges from images of the split '{SPLIT}', and the data have none. "
            "Name others with --data."
        )
    rows = np.random.default_rng(0).permutation(rows)
    kinds = manifest.frame[BALANCED].iloc[rows].reset_index(drop=True)
    turn = kinds.groupby(BALANCED, dropna=False).cumcount().to_numpy()
    chosen = np.sort(rows[np.argsort(turn, kind="stable")[:count]])
    result: npt.NDArray[np.uint8] = np.array(images.images[chosen])
    return result
