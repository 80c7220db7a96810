"""What the search maximises. Any function of `Scores` can be added."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

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


OBJECTIVES: Registry[Objective] = Registry("objective")

for _objective in (
    Objective("balanced_accuracy", lambda s: s.balanced_accuracy, "maximize", "Test accuracy"),
    Objective("fairness", lambda s: s.fairness, "maximize", "Skin fairness"),
    Objective("robustness", lambda s: s.robustness, "maximize", "Robustness to light"),
    Objective("generalisation", lambda s: s.generalisation, "maximize", "Generalisation"),
):
    OBJECTIVES.add(_objective.name, _objective)

PAPER_OBJECTIVES = ("balanced_accuracy", "fairness", "robustness", "generalisation")
"""The paper's four (Section III-B): test accuracy, skin fairness, robustness, generalisation."""


def defined_objectives(scores: Scores, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the objectives that the data can tell: without groups there is no fairness.

    Args:
        scores: Of any model on the search half.
        names: The objectives that are wanted.
    """
    return tuple(name for name in names if OBJECTIVES[name].value(scores) is not None)
