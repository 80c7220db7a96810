"""Tables that an audit says it wrote and that are not there any more."""

from __future__ import annotations

import dataclasses

from moenas.report.results import read_part
from moenas.runs import RunFolder


@dataclasses.dataclass(frozen=True)
class _Listed:
    tables: tuple[str, ...] = ()


def lost_tables(run: RunFolder) -> list[str]:
    """Return a sentence for each table that ``summary.json`` lists and the run folder lacks.

    Without them a part is left out of the page as if nothing had been measured.

    Raises:
        RunFolderError: The summary is damaged.
    """
    listed = read_part(run.summary, _Listed) or _Listed()
    return [
        f"{name}: the audit wrote this table, and it is no longer in '{run.name}'. Run the same "
        "command again to make it anew."
        for name in listed.tables
        if not (run.path / name).exists()
    ]
