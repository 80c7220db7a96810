"""Where a run's images come from: from its summary, or from its manifest where it has none."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from moenas.atomic import is_there
from moenas.data.counts import OWN, count_images, in_words, sources_of
from moenas.data.sources.emoji import note_on
from moenas.errors import RunFolderError
from moenas.report.results import DataSummary, SplitCounts, Summary, read_part
from moenas.runs import RunFolder
from moenas.serialisation import read_parquet


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """What is known of a run's images.

    Attributes:
        sources: Names such as ``emoji``; empty for a user's own images.
        counts: By split; empty where they are not known.
        note: What has to be said wherever their numbers are shown.
        fingerprint: 16 hex digits; equal ones mean equal data.
    """

    sources: tuple[str, ...] = ()
    counts: Mapping[str, SplitCounts] = dataclasses.field(default_factory=dict)
    note: str | None = None
    fingerprint: str | None = None

    @property
    def source(self) -> str:
        """In words."""
        return in_words(self.sources)


def data_facts(run: RunFolder) -> DataFacts:
    """Read what a run tells of its images.

    Raises:
        RunFolderError: A file is damaged.
    """
    summary: Summary | None = read_part(run.summary, Summary)
    told: DataSummary | None = summary.data if summary else None
    if told is not None:
        names = [] if told.source == OWN else told.source.split(", ")
        mark = told.fingerprint or run.fingerprint
        return DataFacts(tuple(names), told.counts, told.note, mark)
    if not is_there(run.manifest):
        return DataFacts()
    try:
        frame = read_parquet(run.manifest)
        names = sources_of(frame)
        counts = {name: SplitCounts(**part) for name, part in count_images(frame).items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFolderError(f"'{run.manifest}' cannot be read: {error}.") from error
    return DataFacts(tuple(names), counts, note_on(names), run.fingerprint)
