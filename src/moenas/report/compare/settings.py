"""The settings in which runs differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from moenas.report.compare.entrants import ReadRun

UNKNOWN = "–"
"""Where a run does not tell."""


def differing_settings(runs: Sequence[ReadRun]) -> pd.DataFrame:
    """Return ``setting`` and a column a run: only what differs.

    Settings that only one kind of run has are no difference between runs of different kinds: they
    are left out. The kind, the data and the versions are told like settings.
    """
    tables = {run.label: _told(run) for run in runs}
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    rows = []
    for name in names:
        kinds = {run.kind for run in runs if name in tables[run.label]}
        compared = [run.label for run in runs if run.kind in kinds]
        values = {label: table.get(name, UNKNOWN) for label, table in tables.items()}
        if len({values[label] for label in compared}) > 1:
            rows.append({"setting": name, **values})
    return pd.DataFrame(rows, columns=["setting", *tables])


def _told(run: ReadRun) -> dict[str, str]:
    summary = run.summary
    told = {"kind of run": run.kind}
    if run.data.fingerprint:
        told["fingerprint of the data"] = run.data.fingerprint
    if summary:
        told |= {f"version of {name}": str(value) for name, value in summary.versions.items()}
        if device := summary.machine.get("device"):
            told["device"] = str(device)
    return told | flat(run.settings)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Write nested settings as ``outer.inner`` and text."""
    result: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            result |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            result[f"{prefix}{name}"] = ", ".join(map(str, value)) or "none"
        else:
            words = {None: "none", True: "yes", False: "no"}
            plain = isinstance(value, bool) or value is None
            result[f"{prefix}{name}"] = words[value] if plain else str(value)
    return result
