"""What ``comparison.json`` says of models: estimates, and differences corrected for their number.

All p-values that a reader may pick the smallest of are one family: see `against` and `adjusted`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from moenas.evaluation.comparison import DESCRIBED, LEVEL, RECALLS, TESTED, Comparison
from moenas.evaluation.statistics.paired import holm

Record = dict[str, Any]


def records(
    comparison: Comparison, references: Sequence[str] = ("base", "wider")
) -> dict[str, Record]:
    """Return what is known of each model, by name.

    ``report`` (metric → mean, low, high, values), ``groups``, ``lights``, ``noise_floor`` (with
    ``p_holm``, see `adjusted`) and ``versus`` (reference → metric → difference, low, high, p,
    p_holm, better). Undefined metrics are left out; fractions are 0–1.

    Args:
        comparison: The models.
        references: Models that the others are compared with, where present.
    """
    result: dict[str, Record] = {}
    for name in comparison.models:
        found = {m: comparison.estimate(name, m) for m in (*TESTED, *DESCRIBED, *RECALLS)}
        result[name] = {
            "report": {
                metric: {
                    "mean": value.mean,
                    "low": value.low,
                    "high": value.high,
                    "values": list(value.values),
                }
                for metric, value in found.items()
                if value is not None
            },
            "groups": comparison.groups(name),
            "lights": comparison.lights(name),
            "noise_floor": comparison.noise_floor(name),
            "versus": {},
        }
    for reference in references:
        if reference in result:
            for name, entries in against(comparison, reference).items():
                result[name]["versus"][reference] = entries
    return adjusted(result)


def adjusted(found: dict[str, Record]) -> dict[str, Record]:
    """Give every noise floor ``p_holm``: Holm's correction over all models that have one.

    Whoever asks of several models which is unfair has as many chances to be wrong.
    """
    floors = [record["noise_floor"] for record in found.values() if record["noise_floor"]]
    for floor, p in zip(floors, holm([floor["p_value"] for floor in floors]), strict=True):
        floor["p_holm"] = p
    return found


def is_unfair(record: Mapping[str, Any]) -> bool:
    """Whether a model is unfair beyond chance, among all that it was looked at with."""
    floor = record["noise_floor"]
    return bool(floor) and floor["p_holm"] < LEVEL


def against(comparison: Comparison, reference: str) -> dict[str, dict[str, Record]]:
    """All other models against one: model → metric → difference with ``p_holm``, ``better``.

    Holm's families: `TESTED` metrics of all models, and `DESCRIBED` ones. ``better`` is None
    where the difference may be chance.
    """
    found = [(name, reference) for name in comparison.models if name != reference]
    return {name: entries for (name, _), entries in pairs(comparison, found).items()}


def pairs(
    comparison: Comparison, chosen: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], dict[str, Record]]:
    """First minus second model of each pair; families, ``p_holm`` and ``better`` as `against`.

    Args:
        comparison: The models.
        chosen: Before these images were looked at: all pairs are corrected for.
    """
    result: dict[tuple[str, str], dict[str, Record]] = {pair: {} for pair in chosen}
    for family in (TESTED, DESCRIBED):
        entries: list[Record] = []
        for (first, second), rows in result.items():
            for metric in family:
                found = comparison.difference(first, second, metric)
                if found is None:
                    continue
                entry = dataclasses.asdict(found) | {"p_holm": None, "better": None}
                rows[metric] = entry
                if found.p is not None:
                    entries.append(entry)
                    entry["better"] = comparison.better(first, second, metric)
        for entry, p in zip(entries, holm([e["p"] for e in entries]), strict=True):
            entry["p_holm"] = p
            if p >= LEVEL:
                entry["better"] = None
    return result
