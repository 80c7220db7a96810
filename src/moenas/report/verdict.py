"""The verdict's badge: a rule that a reader can check against the table of differences."""

from __future__ import annotations

import dataclasses
from typing import Literal

from moenas.report.measures import HEADLINE
from moenas.report.results import ComparedModel, Comparison

Outcome = Literal["better", "mixed", "not better", "undecided", "not compared"]

EXPLANATION = {
    "better": "A finalist beats the base model and the wider dense model in at least one of the "
    "four objectives and loses to neither in any.",
    "mixed": "A finalist wins in some objectives, but not against both dense models or not without "
    "losing elsewhere.",
    "not better": "No finalist beats the base model or the wider dense model in any objective, and "
    "at least one loses to one of them.",
    "undecided": "No difference is larger than what seeds and chance explain, in either direction.",
    "not compared": "No finalist was compared with the base model in this run.",
}
"""What each badge means."""


@dataclasses.dataclass(frozen=True)
class Badge:
    """The outcome and what it means."""

    outcome: Outcome

    @property
    def meaning(self) -> str:
        """One sentence."""
        return EXPLANATION[self.outcome]


def _outcome(model: ComparedModel) -> Outcome:
    references = [model.versus[name] for name in ("base", "wider") if model.versus.get(name)]
    if not references:
        return "not compared"
    decided = {
        measure: [
            reference[measure].better if measure in reference else None for reference in references
        ]
        for measure in HEADLINE
    }
    won_all = any(outcomes and all(outcomes) for outcomes in decided.values())
    won = any(True in outcomes for outcomes in decided.values())
    lost = any(False in outcomes for outcomes in decided.values())
    if won_all and not lost:
        return "better"
    if won:
        return "mixed"
    return "not better" if lost else "undecided"


def badge(comparison: Comparison | None) -> Badge:
    """Return the badge of the best finalist, after Holm's correction (``better`` in the file).

    Args:
        comparison: The run's comparison, or None.
    """
    models = comparison.models if comparison else ()
    outcomes = {_outcome(model) for model in models if model.role == "finalist"}
    order: tuple[Outcome, ...] = ("better", "mixed", "not better", "undecided")
    for outcome in order:
        if outcome in outcomes:
            return Badge(outcome)
    return Badge("not compared")
