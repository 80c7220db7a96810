"""What all exported files that moenas runs have in common: how they are read, fed and asked."""

from __future__ import annotations

import abc
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moenas.errors import CheckpointError, DataError
from moenas.export.metadata import Details

MAX_BYTES = 1 << 30
"""Of the largest file that is read."""

Experts = dict[str, npt.NDArray[np.integer]]
"""Layer -> each token's expert ``[B, tokens]``."""


class ExportedModel(abc.ABC):
    """An exported file, ready to run on the CPU.

    Attributes:
        path: The file.
        details: Its card.
        layers: Names of the Switch FFNs whose experts `run` tells.
    """

    path: Path
    details: Details
    layers: list[str]

    @abc.abstractmethod
    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and each layer's experts ``[B, tokens]``.

        Args:
            images: uint8 ``[B, image_size, image_size, 3]``, RGB.

        Raises:
            DataError: They have another shape or type.
            CheckpointError: The file cannot run.
        """

    def check(self, images: npt.NDArray[np.uint8]) -> None:
        """Refuse images of another shape or type."""
        size = self.details.image_size
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
            raise DataError(
                f"'{self.path}' takes uint8 images [batch, {size}, {size}, 3], not "
                f"{images.dtype} {list(images.shape)}."
            )

    def logits(self, found: object, count: int) -> npt.NDArray[np.float32]:
        """Return what a file gave as logits, once it is ``[count, K]`` and of a float type.

        The hash of a file tells that it is whole, not that moenas made it.

        Args:
            found: The output.
            count: Images that were answered.

        Raises:
            CheckpointError: It is something else.
        """
        wanted = (count, len(self.details.classes))
        if isinstance(found, np.ndarray) and found.shape == wanted and found.dtype.kind == "f":
            return found.astype(np.float32, copy=False)
        what = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else "other"
        raise CheckpointError(
            f"'{self.path}' is no file of moenas, whatever its card says: its output 'logits' is "
            f"{what}, not float32 {list(wanted)}."
        )

    def probabilities(
        self, images: npt.NDArray[np.uint8], batch_size: int = 32
    ) -> npt.NDArray[np.float64]:
        """Return the probability of a person for each of ``[n, height, width, 3]`` images.

        Raises:
            CheckpointError: The file has not two classes, or answers with no numbers.
        """
        if (count := len(self.details.classes)) != 2:  # of more, nobody knows which is a person
            raise CheckpointError(
                f"'{self.path}' has {count} class{'es' * (count > 1)}: two are needed, no person "
                "and person."
            )
        parts = []
        for start in range(0, len(images), batch_size):
            logits = self.run(np.ascontiguousarray(images[start : start + batch_size]))[0]
            if not np.isfinite(logits).all():
                raise CheckpointError(
                    f"'{self.path}' cannot be used: it answers with logits that are infinite or "
                    "no numbers."
                )
            parts.append(person(logits))
        return np.concatenate(parts) if parts else np.empty(0)


class OneByOne(ExportedModel):
    """A file that takes one image at a time, and tells each layer's experts beside the logits."""

    @abc.abstractmethod
    def answer(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """Return all outputs for ``[height, width, 3]``: logits, probabilities, experts."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """See `ExportedModel`."""
        self.check(images)
        if not len(images):
            empty = np.empty((0, len(self.details.classes)), np.float32)
            return empty, {layer: np.empty((0, 0), np.int64) for layer in self.layers}
        answers = [self.answer(np.ascontiguousarray(image)) for image in images]
        for found in answers:
            if len(found) != 2 + len(self.layers) or found[0].size != len(self.details.classes):
                raise CheckpointError(f"'{self.path}' has other outputs than its card says.")
        logits = self.logits(np.stack([found[0].reshape(-1) for found in answers]), len(images))
        experts: Experts = {
            layer: np.stack([np.rint(found[index].reshape(-1)) for found in answers]).astype(
                np.int64
            )
            for index, layer in enumerate(self.layers, start=2)
        }
        return logits, experts


def person(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the probability of the second class, ``[B]``."""
    values = logits.astype(np.float64)
    values = np.exp(values - values.max(axis=1, keepdims=True))
    result: npt.NDArray[np.float64] = values[:, 1] / values.sum(axis=1)
    return result


def read_file(path: Path) -> bytes:
    """Return the bytes of an exported file.

    Raises:
        CheckpointError: It is missing, unreadable or too large.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise CheckpointError(f"'{path}' is too large for a model of moenas: {size} bytes.")
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def first_line(error: Exception) -> str:
    """Return the first line of what a library says went wrong."""
    return str(error).strip().partition("\n")[0]
