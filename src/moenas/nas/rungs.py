"""The rungs of a study's trials: what each measured after short trainings, and who goes on.

Everything is kept in the trials' user attributes, so that a search that starts again knows it.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import optuna

from moenas.models.architecture import Architecture
from moenas.nas.halving import Halving, extrapolated
from moenas.nas.observations import signs
from moenas.training.outcome import JobResult

RUNGS = "rungs"
"""Trial user attribute: ``values``, ``accuracy`` and ``seconds`` by rung, and whether it
``stopped`` at the last of them."""

FULL_LENGTH = "full_length"
"""Constraint: rungs that a trial was not trained for; above zero it is no candidate."""


@dataclasses.dataclass(frozen=True)
class Rungs:
    """Decides which trials go on.

    Attributes:
        study: Of the trials.
        halving: The rule.
        margin: How far below the first trial's (the base model's) balanced accuracy at the same
            rung an architecture may be.
    """

    study: optuna.Study
    halving: Halving
    margin: float

    def reached(self, attributes: dict[str, Any]) -> int:
        """The rung that a trial is to be trained for, from its user attributes."""
        noted = attributes.get(RUNGS)
        return 0 if noted is None else len(noted["values"]) - noted["stopped"]

    def climbs(
        self,
        trial: optuna.Trial,
        architecture: Architecture,
        values: list[float],
        result: JobResult,
    ) -> bool:
        """Note what a trial measured at its rung; return whether it goes on to the next.

        Dense models always do: the others are held against them, and are ranked without them.

        Args:
            trial: One that is running.
            architecture: What it trains.
            values: Of the objectives, as they would be told.
            result: Of its training.
        """
        rung = self.reached(trial.user_attrs)
        accuracy = result.scores["search"].balanced_accuracy
        others = [t for t in self._at(rung) if t["number"] != trial.number]
        first = next((t["accuracy"] for t in others if t["number"] == 0), -np.inf)
        peers = [t for t in others if not t["dense"]]
        rows = np.array([*(peer["values"] for peer in peers), values])
        rows = rows * signs(self.study.directions)
        accuracies = np.array([*(peer["accuracy"] for peer in peers), accuracy])
        best = architecture.dense or self.halving.goes_on(rows, accuracies >= first - self.margin)
        on = rung < self.halving.last and best
        noted = trial.user_attrs.get(RUNGS, {})
        now = {"values": values, "accuracy": accuracy, "seconds": result.seconds}
        lists = {key: [*noted.get(key, [])[:rung], value] for key, value in now.items()}
        trial.set_user_attr(RUNGS, lists | {"stopped": not on})
        return on

    def seconds(self, attributes: dict[str, Any]) -> float:
        """What all of a trial's trainings took."""
        return float(sum(attributes[RUNGS]["seconds"]))

    def guess(self, values: list[float], rung: int) -> list[float]:
        """What the objectives would be after the full length: see `extrapolated`."""
        short, full = [], []
        last = self.halving.last
        for peer in self._at(rung):
            if len(peer["all"]) > last:
                short.append(peer["values"])
                full.append(peer["all"][last])
        shape = (-1, len(values))
        guess = extrapolated(
            np.array(values), np.array(short).reshape(shape), np.array(full).reshape(shape)
        )
        return [float(value) for value in guess]

    def _at(self, rung: int) -> list[dict[str, Any]]:
        """What trials measured at a rung, by number."""
        found = []
        for trial in self.study.get_trials(deepcopy=False):
            noted = trial.user_attrs.get(RUNGS)
            if noted is not None and len(noted["values"]) > rung:
                found.append(
                    {
                        "number": trial.number,
                        "dense": Architecture.parse(trial.user_attrs["architecture"]).dense,
                        "values": noted["values"][rung],
                        "accuracy": noted["accuracy"][rung],
                        "all": noted["values"],
                    }
                )
        return found
