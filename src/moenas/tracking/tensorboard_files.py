"""TensorBoard: event files in the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moenas.errors import MissingDependencyError
from moenas.runs import RunFolder
from moenas.tracking.tracker import Point

try:
    from torch.utils.tensorboard import SummaryWriter
except ImportError as error:
    raise MissingDependencyError("tensorboard", "tensorboard", "TensorBoard") from error


class TensorBoardFiles:
    """Writes event files; ``tensorboard --logdir runs`` shows all runs beside each other.

    Args:
        folder: The run.
        settings: Its settings, shown as text.
    """

    def __init__(self, folder: RunFolder, settings: Mapping[str, Any]) -> None:
        self.where = folder.tensorboard.name
        self._folder = folder.tensorboard
        self._settings = settings
        self._writer: SummaryWriter | None = None

    def start(self, known: str | None, token: str) -> str:
        """Open a new file beside those of before; where they were deleted it is another run."""
        goes_on = any(self._folder.glob("events.out.tfevents.*"))
        self._writer = self._writer or SummaryWriter(str(self._folder))
        if known is not None and goes_on:
            return known
        text = "    " + json.dumps(self._settings, indent=2).replace("\n", "\n    ")
        self._writer.add_text("settings", text)
        self._writer.flush()
        return token

    def add(self, points: Sequence[Point]) -> None:
        """Write points and have them on disk."""
        writer = self._open()
        for point in points:
            for name, value in point.values.items():
                writer.add_scalar(f"{point.series}/{name}", value, point.step, point.time)
        writer.flush()

    def attach(self, file: Path) -> None:
        """Write where the file is."""
        self._open().add_text(file.stem, str(file))
        self._open().flush()

    def end(self, outcome: str) -> None:
        """Close the file."""
        self._open().add_text("outcome", outcome)
        self._open().close()

    def _open(self) -> SummaryWriter:
        assert self._writer is not None
        return self._writer
