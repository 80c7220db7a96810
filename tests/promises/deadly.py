"""Work for children of the nursery: what real commands do, in a second."""

from __future__ import annotations

from pathlib import Path

import fake_search

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.data.sources.emoji import EmojiConfig
from moenas.nas import driver as driver_module
from moenas.runs import RunFolder
from moenas.serialisation import write_json
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult
from moenas.workflows.data import make_manifest
from moenas.workflows.export import export as export_checkpoint
from moenas.workflows.prune import PruneConfig
from moenas.workflows.prune import prune as prune_checkpoint


def search(path: str, trials: int, rungs: int) -> None:
    """A search with the folder's lock, whose trials write a file as real ones do."""
    driver_module.run_trial = _trial  # type: ignore[assignment]
    run = RunFolder.create(path, "search", {})
    with run.locked():
        fake_search.make_driver(run, rungs=rungs).run(trials)


def _trial(job: TrainingJob) -> JobResult:
    result = fake_search.fake_job(job)
    write_json(Path(job.folder) / "history.json", list(range(2000)))
    return result


def cache(manifest: str, folder: str) -> None:
    """Decode images into a cache."""
    cached_images(Manifest.load(manifest), 48, Path(folder), progress=False)


def draw(folder: str) -> None:
    """Draw scenes and write their manifest."""
    config = EmojiConfig(size=32, train_scenes=6, val_scenes=4, search_scenes=2, report_scenes=2)
    make_manifest("emoji", Path(folder), config=config)


def prune(checkpoint: str, manifest: str, folder: str) -> None:
    """Prune to one expert a layer."""
    config = PruneConfig(keep_above={"balanced_accuracy": 1.0}, curve=True)
    prune_checkpoint(checkpoint, manifest, folder, config, device="cpu")


def export(checkpoint: str, manifest: str, folder: str) -> None:
    """Write a checkpoint in another format, held against the model."""
    export_checkpoint(checkpoint, ("pt2",), folder, data=manifest, force=True)
