"""The pruning stage of a search: the largest finalist loses the experts that it hardly uses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from moenas.atomic import is_there
from moenas.console import progress
from moenas.execution.executor import Executor
from moenas.models.cost import parameters_of
from moenas.models.storage import load_model
from moenas.nas.finalists import Finalist
from moenas.nas.jobs import SEARCH_SEED
from moenas.runs import ModelFolder, RunFolder
from moenas.serialisation import read_json, sha256_of
from moenas.training.job import DataReference
from moenas.workflows.prune import prune_run


@dataclasses.dataclass(frozen=True)
class PruningJob:
    """A pruning that a worker does; see `prune_run`.

    Attributes:
        folder: Where the pruned model goes, in its run.
        source: Folder of the model.
        data: The images.
        name: Of the model.
        device: Name of the device.
        deadline: `time.monotonic` value after which `OutOfTime` is raised.
    """

    folder: str
    source: str
    data: DataReference
    name: str
    device: str
    deadline: float | None


def run_pruning_job(job: PruningJob) -> None:
    """Prune; all that is found is in the run folder.

    Raises:
        OutOfTime: The deadline came; the same call goes on after the last finished step.
    """
    source, run = ModelFolder(Path(job.source)), RunFolder(Path(job.folder).parent)
    prune_run(source, run, job.data, job.name, device=job.device, deadline=job.deadline)


def prune_largest(
    run: RunFolder,
    data: DataReference,
    finalists: list[Finalist],
    models: list[dict[str, Any]],
    folders: dict[str, list[ModelFolder]],
    executor: Executor,
    device: str,
    deadline: float | None = None,
) -> None:
    """Prune the largest finalist's first seed and add it to what is compared, if it is another.

    Args:
        run: The search's folder.
        data: The images.
        finalists: Nothing is done when there is none.
        models: As `comparison_record` takes them; one is added.
        folders: Likewise.
        executor: Where.
        device: Name of the device.
        deadline: As in `PruningJob`.

    Raises:
        OutOfTime: The deadline came; the same call goes on.
    """
    if not finalists:
        return
    largest = max(finalists, key=lambda each: parameters_of(each.architecture))
    target = run.pruned()
    source = folders[largest.name][0]
    if not _is_pruned(run, source):
        job = PruningJob(str(target.path), str(source.path), data, largest.name, device, deadline)
        with progress() as bar:
            bar.add_task("Pruning", total=None, note=largest.name)
            executor.submit(run_pruning_job, job).result()
    pruned = load_model(target.checkpoint)[1].architecture
    if pruned == largest.architecture.id:  # no expert could go: it is the first seed once more
        return
    name = f"{largest.name} pruned"
    models.append(
        {
            "name": name,
            "role": "pruned",
            "size_class": None,
            "architecture": pruned,
            "seeds": [SEARCH_SEED + 1],
        }
    )
    folders[name] = [target]


def _is_pruned(run: RunFolder, source: ModelFolder) -> bool:
    """Whether this very model was pruned: a search that went on may have trained another."""
    if not (run.pruned().finished and is_there(run.pruning_steps)):
        return False
    try:
        pruned = read_json(run.pruning_steps)["of"]["checkpoint"]
    except (KeyError, TypeError):
        return False  # pruning says what is wrong with the file
    return bool(pruned == sha256_of(source.checkpoint))
