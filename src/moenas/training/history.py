"""What a training writes of each epoch, a line each: its history."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from moenas.atomic import write_text
from moenas.config import from_dict
from moenas.errors import ConfigError, RunFolderError
from moenas.parsing import parse_json
from moenas.runs import ModelFolder


@dataclasses.dataclass(frozen=True)
class EpochRecord:
    """One line of ``history.jsonl``.

    Attributes:
        epoch: From 1.
        loss: Mean over the epoch's steps.
        accuracy_val: Balanced accuracy on validation, 0–1.
        learning_rate: At its end.
        seconds: It took.
        least_used: See `EpochLog`; None for a dense model, like the next.
        router_entropy: See `EpochLog`.
    """

    epoch: int
    loss: float
    accuracy_val: float
    learning_rate: float
    seconds: float
    least_used: float | None = None
    router_entropy: float | None = None


def write_history(folder: ModelFolder, history: Sequence[EpochRecord]) -> None:
    """Write the epochs that a model was trained so far."""
    lines = [json.dumps(dataclasses.asdict(record)) + "\n" for record in history]
    write_text(folder.history, "".join(lines))


def read_history(folder: ModelFolder) -> list[EpochRecord]:
    """Return the epochs that a model was trained so far; none where none is finished.

    Raises:
        RunFolderError: The file is damaged.
    """
    try:
        lines = folder.history.read_bytes().splitlines()
    except OSError:
        return []
    return [_record(folder.history, number, line) for number, line in enumerate(lines, 1)]


def _record(path: Path, number: int, line: bytes) -> EpochRecord:
    with contextlib.suppress(ValueError, ConfigError):
        found = parse_json(line)
        if isinstance(found, dict):
            return from_dict(EpochRecord, found)
    raise RunFolderError(
        f"'{path}' is damaged: line {number} is not the record of an epoch. Delete it and run the "
        "same command: the next epoch writes all of it anew."
    )
