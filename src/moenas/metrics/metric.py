"""What a metric is, and the registry of all of them.

To add one: write a function from `Predictions` to a number and register it::

    METRICS.add("precision", Metric("precision", precision, "max"))

A metric that also has a ``tally`` form gets intervals and comparisons for free; its plain
function then comes from `Metric.of_tally`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np

from moenas.errors import DataError
from moenas.metrics.tally import F64, Tally
from moenas.predictions import Predictions
from moenas.registry import Registry

Direction = Literal["max", "min", "zero"]
"""What is better: more, less, or nearer to zero."""

TallyFunction = Callable[[Tally, Tally | None], F64]
"""(tally of the test images, tally of the validation images) -> value of each draw, [...]."""


@dataclasses.dataclass(frozen=True)
class Metric:
    """A named measure of a model.

    Args:
        name: As in scores and reports.
        function: From a predictions table to a number; raises `DataError` where undefined.
        direction: What is better.
        tally: The same, vectorised over resampled counts; NaN where undefined. None for metrics
            that need more than counts: they get no intervals.
    """

    name: str
    function: Callable[[Predictions], float]
    direction: Direction
    tally: TallyFunction | None = None

    @classmethod
    def of_tally(
        cls, name: str, direction: Direction, tally: Callable[[Tally], F64], needs: str
    ) -> Metric:
        """A metric of one table's counts.

        Args:
            name: As in scores and reports.
            direction: What is better.
            tally: From counts to values.
            needs: What a table must hold for the metric to exist; the error says so.
        """

        def function(predictions: Predictions) -> float:
            value = float(tally(Tally.of(predictions)))
            if np.isnan(value):
                raise DataError(f"'{name}' is not defined on these predictions: it needs {needs}.")
            return value

        function.__name__ = name
        function.__doc__ = f"'{name}' of a predictions table; `DataError` without {needs}."
        return cls(name, function, direction, lambda test, _validation: tally(test))


METRICS: Registry[Metric] = Registry("metric")
"""All metrics by name."""
