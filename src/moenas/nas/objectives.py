"""What the search optimises: any function of `Scores`, or what an architecture costs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from moenas.evaluation.scores import Scores
from moenas.registry import Registry


@dataclasses.dataclass(frozen=True)
class Objective:
    """One objective of the search.

    Attributes:
        name: Its name in studies, tables and figures.
        value: From the scores of the search half to a number; None where it is undefined.
        direction: ``maximize`` or ``minimize``.
        title: For people.
    """

    name: str
    value: Callable[[Scores], float | None]
    direction: str
    title: str

    def measure(self, scores: Scores, costs: Mapping[str, Any]) -> float | None:
        """Return its value for a trained model; None where it is undefined."""
        return self.value(scores)


@dataclasses.dataclass(frozen=True)
class CostObjective:
    """An objective that an architecture has before it is trained.

    Attributes:
        name: Its name in studies, tables and figures.
        cost: Which of `SearchSpace.costs`.
        direction: ``maximize`` or ``minimize``.
        title: For people.
    """

    name: str
    cost: str
    direction: str
    title: str

    def measure(self, scores: Scores, costs: Mapping[str, Any]) -> float | None:
        """Return the cost; None where it is not known."""
        return costs.get(self.cost)


OBJECTIVES: Registry[Objective | CostObjective] = Registry("objective")

for _objective in (
    Objective("balanced_accuracy", lambda s: s.balanced_accuracy, "maximize", "Test accuracy"),
    Objective("fairness", lambda s: s.fairness, "maximize", "Skin fairness"),
    Objective("robustness", lambda s: s.robustness, "maximize", "Robustness to light"),
    Objective("generalisation", lambda s: s.generalisation, "maximize", "Generalisation"),
):
    OBJECTIVES.add(_objective.name, _objective)

LATENCY = "latency"
OBJECTIVES.add(LATENCY, CostObjective(LATENCY, "latency_ms", "minimize", "Latency, ms"))

PAPER_OBJECTIVES = ("balanced_accuracy", "fairness", "robustness", "generalisation")
"""The paper's four (Section III-B): test accuracy, skin fairness, robustness, generalisation."""


def defined_objectives(
    scores: Scores, names: tuple[str, ...], costs: Mapping[str, Any] | None = None
) -> tuple[str, ...]:
    """Return the objectives that the data can tell: without groups there is no fairness.

    Args:
        scores: Of any model on the search half.
        names: The objectives that are wanted.
        costs: Of that model's architecture.
    """
    known = costs or {}
    return tuple(name for name in names if OBJECTIVES[name].measure(scores, known) is not None)
