"""Work for children of the nursery: what real commands do, in a second."""

from __future__ import annotations

from pathlib import Path

import fake_search

from moenas.nas import study as study_module
from moenas.runs import RunFolder, write_json
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult


def search(path: str, trials: int, rungs: int) -> None:
    """A search with the folder's lock, whose trials write a file as real ones do."""
    study_module.run_trial = _trial  # type: ignore[assignment]
    run = RunFolder.create(path, "search", {})
    with run.locked():
        fake_search.make_driver(run, rungs=rungs).run(trials)


def _trial(job: TrainingJob) -> JobResult:
    result = fake_search.fake_job(job)
    write_json(Path(job.folder) / "history.json", list(range(2000)))
    return result
