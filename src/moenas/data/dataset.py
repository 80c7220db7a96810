"""Images as torch sees them: a dataset of uint8 tensors, and normalisation of whole batches."""

from __future__ import annotations

import functools
import mmap
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from moenas.data.cache import ImageStore
from moenas.errors import DataError
from moenas.runtime import derived_seed

IMAGENET_MEAN = (0.485, 0.456, 0.406)
"""Mean of each channel, of values 0..1."""

IMAGENET_STD = (0.229, 0.224, 0.225)
"""Standard deviation of each channel, of values 0..1."""

Images = ImageStore | npt.NDArray[np.uint8]
Item = tuple[torch.Tensor, int, int]


class _Mapped(NamedTuple):
    """What `numpy.memmap` takes."""

    filename: Any
    dtype: npt.DTypeLike
    mode: Literal["r"]
    offset: int
    shape: tuple[int, ...]


class ImageDataset(Dataset[Item]):
    """Items are (image [3, H, W], label, index); images are uint8 unless a transform says else.

    Args:
        images: A store, or [n, H, W, 3] uint8. Unreadable images of a store are left out.
        labels: [n] 1 = person.
        transform: Applied to each uint8 tensor [3, H, W].
        rows: Rows to use, in this order; all by default. The item's index is the row, so that
            predictions find their row of the manifest.

    Attributes:
        draws: Seed of what the transform draws for each item, whatever was drawn before and
            whichever process asks; None: it draws from torch's global generator as that stands.

    Raises:
        DataError: There are not as many labels as images, or none is readable.
    """

    def __init__(
        self,
        images: Images,
        labels: Sequence[int] | npt.NDArray[np.integer],
        transform: Callable[[torch.Tensor], torch.Tensor] | None = None,
        rows: Sequence[int] | npt.NDArray[np.integer] | None = None,
    ) -> None:
        if len(images) != len(labels):
            raise DataError(f"There are {len(images)} images but {len(labels)} labels.")
        chosen = np.arange(len(images)) if rows is None else np.asarray(rows, dtype=np.int64)
        if isinstance(images, ImageStore):
            chosen = chosen[images.readable[chosen]]
            images = images.images
        if not len(chosen):
            raise DataError("There is no readable image to learn from or to judge.")
        self.images = images
        self.labels = np.asarray(labels, dtype=np.int64)
        self.rows = chosen
        self.transform = transform
        self.draws: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave a cache file's images in the file: a loader's process maps it anew."""
        state = dict(vars(self))
        images = self.images
        if isinstance(images, np.memmap) and isinstance(images.base, mmap.mmap):
            where = (images.filename, images.dtype, "r", images.offset, images.shape)
            state["images"] = _Mapped(*where)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if isinstance(self.images, _Mapped):
            self.images = np.memmap(*self.images)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, item: int) -> tuple[torch.Tensor, int, int]:
        row = int(self.rows[item])
        image = torch.from_numpy(np.array(self.images[row])).permute(2, 0, 1)
        if self.transform is not None and self.draws is None:
            image = self.transform(image)
        elif self.transform is not None:
            with torch.random.fork_rng(devices=[]):  # dropout draws from the same generator
                torch.default_generator.manual_seed(derived_seed(self.draws, item))  # type: ignore[arg-type]
                image = self.transform(image)
        return image, int(self.labels[row]), row


def collate(items: Sequence[Item]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return a batch of a dataset's items: images [B, 3, H, W], labels [B], indices [B].

    The cache keeps a pixel's channels together, and so does the batch (channels_last): torch's own
    `default_collate` would take them apart, only for `normalise` to put them together again.
    """
    images, labels, rows = zip(*items, strict=True)
    pixels_BHWC = torch.stack([image.permute(1, 2, 0) for image in images])
    return pixels_BHWC.permute(0, 3, 1, 2), torch.tensor(labels), torch.tensor(rows)


def normalise(batch: torch.Tensor) -> torch.Tensor:
    """Return what a model takes: float32 [B, 3, H, W], channels_last, ImageNet-normalised.

    Args:
        batch: uint8 [B, 3, H, W] or [B, H, W, 3] (0..255), on any device.

    Raises:
        DataError: It has another shape or type.
    """
    if batch.dtype != torch.uint8 or batch.ndim != 4 or 3 not in (batch.shape[1], batch.shape[3]):
        raise DataError(
            "normalise() takes uint8 [B, 3, H, W] or [B, H, W, 3], "
            f"not {batch.dtype} {list(batch.shape)}."
        )
    if batch.shape[1] != 3:
        batch = batch.permute(0, 3, 1, 2)
    pixels_BHWC = batch.permute(0, 2, 3, 1)
    values_BHWC = pixels_BHWC.to(torch.float32, memory_format=torch.contiguous_format)
    # Row by row: an inner loop over three channels alone would take four times as long.
    count, height, width, _ = values_BHWC.shape
    mean, std = _row(width, batch.device)
    values_BHWC.view(count * height, width * 3).sub_(mean).div_(std)
    return values_BHWC.permute(0, 3, 1, 2)


@functools.lru_cache(maxsize=16)
def _row(width: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of a row's values ``[width * 3]``; kept, for a GPU waits for new ones."""
    with torch.inference_mode(False):  # what is made in that mode cannot be used outside of it
        mean = (255 * torch.tensor(IMAGENET_MEAN, device=device)).repeat(width)
        std = (255 * torch.tensor(IMAGENET_STD, device=device)).repeat(width)
    return mean, std
