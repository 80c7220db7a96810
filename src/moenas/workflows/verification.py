"""What `moenas verify` has compared so far."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

TOLERANCE = 1e-9
"""Largest difference between a stored and a recomputed number."""


class _Gone:
    def __repr__(self) -> str:
        return "nothing"


GONE = _Gone()
"""In place of a value whose key is missing: null is a value."""


@dataclasses.dataclass
class Verification:
    """What was recomputed and what did not agree.

    Attributes:
        numbers: How many numbers were compared.
        models: How many models were scored anew from their predictions.
        problems: Every number that differs and every file that cannot be used.
    """

    numbers: int = 0
    models: int = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def compare(self, where: str, stored: Any, again: Any) -> None:
        """Compare two JSON values, number by number."""
        if isinstance(stored, dict) and isinstance(again, dict):
            for key in sorted(stored.keys() | again.keys()):
                self.compare(f"{where}.{key}", stored.get(key, GONE), again.get(key, GONE))
        elif isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
            for index, (one, two) in enumerate(zip(stored, again, strict=True)):
                self.compare(f"{where}[{index}]", one, two)
        else:
            self.numbers += 1
            if not _equal(stored, again):
                self.problems.append(f"{where}: stored {stored!r}, recomputed {again!r}")


def _equal(one: Any, two: Any) -> bool:
    if isinstance(one, float) or isinstance(two, float):
        if not isinstance(one, int | float) or not isinstance(two, int | float):
            # JSON has no NaN: it is stored as null.
            return one is None and isinstance(two, float) and not math.isfinite(two)
        return abs(one - two) <= TOLERANCE * max(1.0, abs(one))
    return bool(one == two)
