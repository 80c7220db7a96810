"""Whether an exported model is still the model: logits, decisions, routing and each group's part.

Tolerances are stated here and in every card. A token whose two best experts are equal but for
rounding may go to the other one, which changes its image's logits visibly: the largest difference
of a logit is therefore taken over the images whose tokens were all routed alike, and how many
tokens were not is limited by itself. Of a model with experts and 8-bit activations hardly any image
is routed alike: the probabilities of all images are held as well, but for the few that change most.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from moenas.data.manifest import Manifest
from moenas.evaluation.predict import tabulate
from moenas.export.answers import Answers, Followed
from moenas.export.exported import person
from moenas.predictions import Predictions

MOST_IMAGES = 0.95
"""Share of the images whose probability is held to a tolerance; the others may change more."""


@dataclasses.dataclass(frozen=True)
class Tolerances:
    """How far an export may be from its model.

    Attributes:
        logits: Largest difference of a logit, over images routed alike.
        decisions: Least share of images with the same decision.
        routing: Least share of tokens with the same expert.
        groups: Largest change of one group's accuracy, and of the gap between the lightest and the
            darkest group, or two images of the smallest group where those are more.
        probability: Largest change of the probability of a person, over the `MOST_IMAGES` of all
            images that change least; None in older cards.
    """

    logits: float
    decisions: float
    routing: float
    groups: float
    probability: float | None = None


FLOAT = Tolerances(logits=1e-4, decisions=0.999, routing=0.9999, groups=0.002, probability=1e-3)
"""For files with float32 weights."""

INT8 = Tolerances(logits=0.5, decisions=0.98, routing=0.95, groups=0.01, probability=0.05)
"""For files with 8-bit weights and activations."""


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How alike a model and its export are on one split; see `Tolerances`.

    None where nothing can be said: no routed layer, no groups, no image routed alike.

    Attributes:
        alike: Images routed alike; None in older cards.
        probability: None in older cards.
        not_finite: Images of which a logit of the file is infinite or no number.
    """

    split: str
    images: int
    logits: float | None
    decisions: float
    routing: float | None
    group_change: float | None
    gap_change: float | None
    smallest_group: int | None
    alike: int | None = None
    probability: float | None = None
    not_finite: int = 0

    def problems(self, limits: Tolerances) -> list[str]:
        """Return what lies beyond the tolerances, in words."""
        found = []
        if self.not_finite:
            found.append(
                f"logits are infinite or no numbers for {self.not_finite} of {self.images} images"
            )
        if self.logits is not None and not self.logits <= limits.logits:
            found.append(f"logits differ by up to {self.logits:.1e} (allowed {limits.logits:.0e})")
        if (self.probability or 0) > (limits.probability or 1):
            found.append(
                f"the probability of {MOST_IMAGES:.0%} of images changes by up to "
                f"{self.probability:.2g} (allowed {limits.probability:g})"
            )
        if self.decisions < limits.decisions:
            found.append(f"{self.decisions:.2%} of decisions agree (least {limits.decisions:.1%})")
        if self.routing is not None and self.routing < limits.routing:
            found.append(f"{self.routing:.3%} of tokens agree (least {limits.routing:.2%})")
        allowed = max(limits.groups, 2 / (self.smallest_group or 1))
        for name, change in (
            ("a group's accuracy", self.group_change),
            ("the gap between the lightest and the darkest group", self.gap_change),
        ):
            if change is not None and change > allowed + 1e-9:  # exactly two images are allowed
                found.append(f"{name} changes by {change:.1%} (allowed {allowed:.1%})")
        return [f"{each}, on split '{self.split}'" for each in found]


def compare(
    manifest: Manifest,
    rows: npt.NDArray[np.integer],
    model: Answers,
    file: Followed,
    threshold: float,
) -> Agreement:
    """Hold an export's answers on one split against its model's.

    Args:
        manifest: Describes the images.
        rows: ``[n]`` Which of them were answered, all of one split.
        model: What the model says about them.
        file: What the file says.
        threshold: From which probability on a person is seen.
    """
    finite = np.isfinite(file.logits).all(axis=1)
    told = [probability_of(each.logits) for each in (model, file)]
    tables = [tabulate(manifest, rows, each, threshold) for each in told]
    change = np.where(finite, np.abs(told[0] - told[1]), 1.0)
    comparable = file.alike & finite
    difference = np.abs(model.logits[comparable] - file.logits[comparable])
    accuracies = [_accuracies(table) for table in tables]
    first, second = accuracies
    changes = [abs(first[group][0] - second[group][0]) for group in first]
    gaps = [_gap(each) for each in accuracies]
    return Agreement(
        split=str(manifest.frame["split"].iloc[int(rows[0])]),
        images=len(rows),
        logits=float(difference.max()) if difference.size else None,
        decisions=float((tables[0].prediction == tables[1].prediction).mean()),
        routing=file.same / file.tokens if file.tokens else None,
        group_change=max(changes, default=None),
        gap_change=None if gaps[0] is None or gaps[1] is None else abs(gaps[0] - gaps[1]),
        smallest_group=min((count for _, count in first.values()), default=None),
        alike=int(file.alike.sum()),
        probability=float(np.quantile(change, MOST_IMAGES)),
        not_finite=int((~finite).sum()),
    )


def probability_of(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the probability of a person ``[n]``; 0 where logits ``[n, K]`` are not finite.

    What is no number is not at least the threshold: devices see no person there.
    """
    result = np.zeros(len(logits))
    finite = np.isfinite(logits).all(axis=1)
    result[finite] = person(logits[finite])
    return result


def _accuracies(table: Predictions) -> dict[int, tuple[float, int]]:
    """Accuracy and number of images of each group."""
    return {
        int(group): (float(table.correct[table.group == group].mean()), int(count))
        for group, count in zip(*np.unique(table.group, return_counts=True), strict=True)
        if group >= 0
    }


def _gap(accuracies: Mapping[int, tuple[float, int]]) -> float | None:
    if len(accuracies) < 2:
        return None
    return accuracies[min(accuracies)][0] - accuracies[max(accuracies)][0]
