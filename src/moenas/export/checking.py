"""How an exported file is held against its model, and scored beside it.

One `Check` serves all files of a model: what the model itself says about an image is asked once.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt
from torch import nn

from moenas.data.cache import ImageStore
from moenas.data.manifest import Manifest
from moenas.errors import DataError
from moenas.evaluation.predict import tabulate
from moenas.export.answers import Answers, Eager, Runner, answers_of, follow, logits_of
from moenas.export.card import ReportHalf, score_both
from moenas.export.metadata import Details
from moenas.export.parity import Agreement, compare, probability_of
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of

SPLITS = ("val", "search")
"""On which an export is held against its model; ``report`` is scored once, for the card."""

Logits = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Checked:
    """What was found of one file: its agreement with the model, and its logits by split."""

    agreement: tuple[Agreement, ...]
    logits: dict[str, Logits]


class Check:
    """Holds files against the model that they were made from.

    Args:
        model: A model of ours; it is not changed.
        details: Its card.
        manifest: Describes the images.
        images: Row i is the manifest's row i; unreadable ones are left out.
    """

    def __init__(
        self, model: nn.Module, details: Details, manifest: Manifest, images: ImageStore
    ) -> None:
        self.model = Eager(model)
        self.details = details
        self.manifest = manifest
        self.images = images
        self._answers: dict[str, Answers] = {}

    def of(self, file: Runner) -> Checked:
        """Hold a file against the model on `SPLITS`.

        Raises:
            DataError: The data have none of them.
        """
        found, logits = [], {}
        for split in SPLITS:
            rows = self._rows(split)
            if not len(rows):
                continue
            if split not in self._answers:
                self._answers[split] = answers_of(self.model, self.images.images, rows)
            ours = self._answers[split]
            theirs = follow(file, self.images.images, rows, ours)
            found.append(compare(self.manifest, rows, ours, theirs, self.details.threshold))
            logits[split] = theirs.logits
        if not found:
            raise DataError(
                "An export is held against its model on the splits 'val' and 'search'; the data "
                "have neither. Name others with --data."
            )
        return Checked(tuple(found), logits)

    def report(self, file: Runner, checked: Checked) -> ReportHalf | None:
        """Look at the report half, once a file; val travels along for overfitting.

        Args:
            file: The file.
            checked: What `of` found of it.

        Returns:
            None where the data have no report half.
        """
        rows = self._rows("report")
        if not len(rows):
            return None
        ours = self._with_val(self._on_report, {s: a.logits for s, a in self._answers.items()})
        theirs = self._with_val(logits_of(file, self.images.images, rows), checked.logits)
        both = np.concatenate([self._rows("val"), rows])
        tables = [
            tabulate(self.manifest, both, probability_of(logits), self.details.threshold)
            for logits in (ours, theirs)
        ]
        macs = macs_of(Architecture.parse(self.details.architecture), self.details.image_size)
        return score_both(tables[0], tables[1], "report", self.details, macs)

    @functools.cached_property
    def _on_report(self) -> Logits:
        """The model's logits on the report half."""
        return logits_of(self.model, self.images.images, self._rows("report"))

    @staticmethod
    def _with_val(report: Logits, others: dict[str, Logits]) -> Logits:
        return np.concatenate([others["val"], report]) if "val" in others else report

    def _rows(self, split: str) -> npt.NDArray[np.integer]:
        """The readable images of a split."""
        wanted = (self.manifest.frame["split"] == split).to_numpy() & self.images.readable
        return np.flatnonzero(wanted)
