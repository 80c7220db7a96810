"""Which architectures are retrained and reported: one a size class, chosen on the search half."""

from __future__ import annotations

import dataclasses

import numpy as np
import optuna
from optuna.trial import TrialState

from moenas.models.architecture import Architecture
from moenas.nas.front import contributions
from moenas.nas.study import architecture_of, maximised

SIZE_CLASSES = ("XXS", "XS", "S")
"""Named as the paper names its three models: under a small, a middle and the full size limit."""


@dataclasses.dataclass(frozen=True)
class Finalist:
    """An architecture that goes into the final."""

    name: str
    size_class: str
    architecture: Architecture
    trial: int


def size_limits(smallest: int, largest: int) -> dict[str, float]:
    """Split the room between the base model's size and the limit into three classes."""
    room = largest - smallest
    return {
        name: smallest + room * (index + 1) / len(SIZE_CLASSES)
        for index, name in enumerate(SIZE_CLASSES)
    }


def choose_finalists(
    study: optuna.Study, base: str, smallest: int, largest: int, count: int = 3
) -> list[Finalist]:
    """Choose the best architecture under each size limit by hypervolume contribution.

    The base model itself is not a candidate: it is reported anyway. With fewer candidates than
    classes there are fewer finalists; each architecture is chosen once.

    Args:
        study: The finished search; values and constraints are of the search half.
        base: Base model.
        smallest: Parameters of the base model.
        largest: Size limit.
        count: How many to choose, the largest classes first.
    """
    trials = [
        trial
        for trial in study.get_trials(states=(TrialState.COMPLETE,))
        if not architecture_of(trial, base).dense
    ]
    values, feasible = maximised(study, trials)
    sizes = np.array([trial.user_attrs["parameters"] for trial in trials])
    chosen: list[Finalist] = []
    for name, limit in list(size_limits(smallest, largest).items())[len(SIZE_CLASSES) - count :]:
        eligible = feasible & (sizes <= limit)
        eligible[[t.number in {f.trial for f in chosen} for t in trials]] = False
        if not eligible.any():
            continue
        gain = np.where(eligible, contributions(values, eligible), -1.0)
        trial = trials[int(gain.argmax())]
        architecture = architecture_of(trial, base)
        chosen.append(Finalist(f"MoENAS-{name}", name, architecture, trial.number))
    return chosen
