"""Tallies: how many images of each label, light and group a model got right.

Every metric of MoENAS but those that read probabilities is a function of these counts. That makes
metrics vectorised: the same formula serves one table and 10,000 resampled ones, whose counts come
from one matrix product.

Axes: ``Y`` label (none, person), ``L`` light (the last one: unknown), ``G`` group in ascending
order (lightest tone first) and, last on the axis of cells, the images of no group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moenas.errors import DataError
from moenas.predictions import LIGHTS, POOR_LIGHT, Predictions

F64 = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells that images are counted in: label × light × group.

    Args:
        groups: The groups that have images of any weight, ascending.
        lights: The classes of light that have such images.
        reference: Index of the minority group in ``groups`` (fewest images; ties go to the
            darker, that is the higher, tone: PAPER row 2), None without groups.
    """

    groups: tuple[int, ...]
    lights: tuple[str, ...]
    reference: int | None

    @classmethod
    def of(cls, predictions: Predictions) -> Cells:
        """The cells of a table; raises `DataError` where it holds no image."""
        if len(predictions) == 0:
            raise DataError("The predictions hold no image: check the name of the split.")
        group, weight = predictions.group, weights(predictions)
        groups = np.unique(group[group >= 0])
        sizes = np.array([weight[group == g].sum() for g in groups])
        present = set(predictions.frame.loc[weight > 0, "lighting"].dropna().unique())
        known = [light for light in LIGHTS if light in present]
        others = sorted(str(light) for light in present - set(LIGHTS))
        reference = minority(sizes) if len(groups) else None
        return cls(tuple(int(g) for g in groups), (*known, *others), reference)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(labels, lights + unknown, groups + none)."""
        return 2, len(self.lights) + 1, len(self.groups) + 1

    def index(self, predictions: Predictions) -> npt.NDArray[np.int64]:
        """[n] the number of each image's cell.

        Raises:
            DataError: A group or light is not among these cells.
        """
        _, lights, groups = self.shape
        group = predictions.group
        column = np.searchsorted(self.groups, group)
        column[group < 0] = groups - 1
        name = predictions.frame["lighting"]
        row = np.full(len(predictions), lights - 1)
        for number, light in enumerate(self.lights):
            row[np.asarray(name == light, dtype=np.bool_)] = number
        known = np.isin(group, [*self.groups, -1]) & ((row < lights - 1) | np.asarray(name.isna()))
        known |= predictions.frame["weight"].to_numpy() == 0  # counts for nothing, wherever it is
        if not known.all():
            bad = int(np.flatnonzero(~known)[0])
            raise DataError(
                f"Row {bad} of the predictions: group {group[bad]} or light {name.iloc[bad]!r} "
                "is not in the table it is compared with. Compare models on the same images."
            )
        index: npt.NDArray[np.int64] = (predictions.label * lights + row) * groups + column
        return index


def weights(predictions: Predictions) -> F64:
    """[n] weight of each image, at least 0; raises `DataError` where none is above."""
    weight: F64 = predictions.frame["weight"].to_numpy(dtype="float64")
    if len(weight) and not weight.any():
        raise DataError("All weights of the predictions are 0.")
    return weight


def minority(sizes: npt.ArrayLike) -> int:
    """Index of the smallest of ``sizes`` [G] that is not 0; the last one of equals."""
    size = np.asarray(sizes, dtype=np.float64)
    equal = (size / (size.max() or 1.0)).round(9)  # weights have no unit
    size = np.where(size > 0, equal, np.inf)
    return int(len(size) - 1 - np.argmin(size[::-1]))


def share(correct: F64, total: F64) -> F64:
    """``correct / total``, NaN where there is nothing."""
    result: F64 = np.divide(correct, total, out=np.full(np.shape(total), np.nan), where=total > 0)
    return result


@dataclasses.dataclass(frozen=True)
class Tally:
    """Weighted counts of images, ``[..., Y, L, G + 1]``; leading axes are draws or models."""

    cells: Cells
    total: F64
    correct: F64

    @classmethod
    def of(cls, predictions: Predictions, cells: Cells | None = None) -> Tally:
        """Count a table; raises `DataError` where it holds no image."""
        cells = cells or Cells.of(predictions)
        index, weight = cells.index(predictions), weights(predictions)
        size = int(np.prod(cells.shape))
        total = np.bincount(index, weight, size).astype(np.float64)
        right = np.bincount(index, weight * predictions.correct, size).astype(np.float64)
        return cls(cells, total.reshape(cells.shape), right.reshape(cells.shape))

    def by_label(self) -> F64:
        """[..., Y] share of right answers among images without and with a person."""
        return share(self.correct.sum((-2, -1)), self.total.sum((-2, -1)))

    def by_group(self, label: int | None = None) -> tuple[F64, F64]:
        """Share of right answers and weight of each group, [..., G] each; of one label or both."""
        correct, total = self.correct[..., :-1].sum(-2), self.total[..., :-1].sum(-2)
        if label is None:
            correct, total = correct.sum(-2), total.sum(-2)
        else:
            correct, total = correct[..., label, :], total[..., label, :]
        return share(correct, total), total

    def in_lights(self, lights: Sequence[str]) -> Tally:
        """The tally of the images in one of ``lights``."""
        keep = [number for number, name in enumerate(self.cells.lights) if name in lights]
        names = tuple(self.cells.lights[number] for number in keep)
        cells = dataclasses.replace(self.cells, lights=names)
        rows = [*keep, -1]
        total, correct = self.total[..., rows, :].copy(), self.correct[..., rows, :].copy()
        total[..., -1, :] = 0
        correct[..., -1, :] = 0
        return Tally(cells, total, correct)

    def poorly_lit(self) -> Tally:
        """The tally of the images that robustness looks at (PAPER row 6)."""
        return self.in_lights(POOR_LIGHT)
