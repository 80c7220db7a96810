"""How lists are written in the sentences that verdicts are made of."""

from __future__ import annotations

from collections.abc import Sequence


def listed(parts: Sequence[str]) -> str:
    """Write one or more parts as ``a, b and c``."""
    *most, last = parts
    return f"{', '.join(most)} and {last}" if most else last
