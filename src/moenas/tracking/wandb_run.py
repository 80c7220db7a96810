"""Weights & Biases: a run of the project that ``WANDB_PROJECT`` names."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moenas.errors import ConfigError, MissingDependencyError
from moenas.runs import RunFolder
from moenas.tracking.tracker import Point

try:
    import wandb
except ImportError as error:
    raise MissingDependencyError("wandb", "wandb", "Weights & Biases") from error


class WandbRun:
    """Records a run beside one that the user may have open.

    Args:
        folder: The run.
        settings: Its settings, the run's config.

    Raises:
        ConfigError: Nobody is logged in, and a terminal would be asked in the middle of the work.
    """

    def __init__(self, folder: RunFolder, settings: Mapping[str, Any]) -> None:
        offline = os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun")
        if not offline and not wandb.api.api_key:
            raise ConfigError(
                "Weights & Biases knows nobody here: run 'wandb login' first, or set "
                "WANDB_MODE=offline and run 'wandb sync' later."
            )
        self._project = os.environ.get("WANDB_PROJECT", "moenas")
        self.where = f"{os.environ.get('WANDB_BASE_URL', 'cloud')} {self._project}"
        self._folder = folder
        self._settings = settings
        self._run: Any = None
        self._series: set[str] = set()

    def start(self, known: str | None, token: str) -> str:
        """Begin a run, or go on with the known one."""
        self._run = self._run or wandb.init(
            project=self._project,
            id=known or token[:12],
            resume="allow",
            reinit="create_new",
            name=self._folder.name,
            job_type=self._folder.read_config()["kind"],
            config=dict(self._settings),
            dir=str(self._folder.path),
        )
        return str(self._run.id)

    def add(self, points: Sequence[Point]) -> None:
        """Record points; each series counts its own steps, and they may come in any order."""
        for point in points:
            step = f"{point.series}/step"
            if point.series not in self._series:
                self._run.define_metric(step, hidden=True)
                self._run.define_metric(f"{point.series}/*", step_metric=step)
                self._series.add(point.series)
            values = {f"{point.series}/{name}": value for name, value in point.values.items()}
            self._run.log({**values, step: point.step})

    def attach(self, file: Path) -> None:
        """Keep the file with the run."""
        self._run.save(str(file), base_path=str(file.parent), policy="now")

    def end(self, outcome: str) -> None:
        """End the run; W&B tells by an exit code whether it failed."""
        self._run.summary["outcome"] = outcome
        self._run.finish(exit_code=0 if outcome == "finished" else 1)
