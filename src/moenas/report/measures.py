"""How each measure is called, explained and written; one list, so that no page disagrees."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of a model, a fraction in the files and a percentage or points on the page.

    Args:
        key: Its name in the run folder's files.
        label: Its name on the page.
        unit: ``"%"`` or ``"points"`` (percentage points, for differences).
        higher_is_better: The good direction; where false, closer to zero is better.
        meaning: One plain sentence.
    """

    key: str
    label: str
    unit: str
    higher_is_better: bool
    meaning: str


MEASURES: dict[str, Measure] = {
    measure.key: measure
    for measure in (
        Measure(
            "balanced_accuracy",
            "Balanced accuracy",
            "%",
            True,
            "The mean of the share of people found and the share of empty scenes left alone.",
        ),
        Measure(
            "worst_group_accuracy",
            "Worst tone",
            "%",
            True,
            "Accuracy on the skin tone that the model serves worst.",
        ),
        Measure(
            "fairness",
            "Fairness",
            "%",
            True,
            "(0.2 − SPD) / 0.2, where SPD is the mean distance of the tones' accuracies from that "
            "of the smallest group; 100 % means all tones are served alike.",
        ),
        Measure(
            "robustness",
            "Robustness",
            "%",
            True,
            "Balanced accuracy on underexposed and dimly lit images alone.",
        ),
        Measure(
            "overfitting",
            "Overfitting",
            "points",
            False,
            "Balanced accuracy on validation images minus that on the reported ones.",
        ),
        Measure(
            "gap_lightest_darkest",
            "Gap light to dark",
            "points",
            False,
            "Accuracy on the lightest tone minus accuracy on the darkest.",
        ),
        Measure(
            "fairness_debiased",
            "Fairness, debiased",
            "%",
            True,
            "Fairness after taking away the spread that chance alone puts between tones.",
        ),
        Measure(
            "fairness_sum",
            "Fairness, sum form",
            "%",
            True,
            "Fairness with SPD as the sum over tones, Eq. 2 as printed; it may fall below zero.",
        ),
    )
}
"""All measures of ``comparison.json``, in the order of the page."""

HEADLINE = ("balanced_accuracy", "fairness", "robustness", "overfitting")
"""The search's four objectives as they are reported; the verdict's badge counts these."""


def shortened(text: str, most: int) -> str:
    """Cut a text at so many letters; an ellipsis is the last one of a cut text."""
    return text if len(text) <= most else text[: most - 1] + "…"


def number(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write a number with a true minus sign; a missing one, or NaN, is a dash.

    Args:
        value: What to write, already in the unit of the page.
        digits: Decimals.
        signed: Whether a positive number gets a plus.
    """
    if value is None or math.isnan(value):
        return "–"
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def percent(fraction: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Write a fraction in per cent or points, without the unit."""
    return number(None if fraction is None else 100 * fraction, digits, signed=signed)


def span(low: float | None, high: float | None) -> str:
    """Write an interval of fractions in per cent, e.g. ``85.7 to 88.5``; empty when unknown.

    Of a single cluster of images there is none (NaN), and that is said.
    """
    if low is None or high is None:
        return ""
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    return f"{percent(low)} to {percent(high)}"


def probability(value: float | None) -> str:
    """Write a p-value with three decimals; a smaller one as ``< 0.001``."""
    return "< 0.001" if value is not None and value < 0.001 else number(value, 3)


def millions(count: float | None) -> str:
    """Write a count in millions with two decimals, e.g. ``1.11``."""
    return number(None if count is None else count / 1e6, 2)


def duration(seconds: float | None) -> str:
    """Write a duration as a person says it, e.g. ``1 h 5 min``."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def size_of(count: int | None) -> str:
    """Write a number of bytes, e.g. ``4.5 MB``."""
    if count is None:
        return "–"
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    raise AssertionError("unreachable")
