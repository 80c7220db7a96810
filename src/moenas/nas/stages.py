"""Running many training jobs with a progress bar: parents and finalists."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Sequence

from moenas.console import progress
from moenas.errors import MoENASError
from moenas.execution.executor import Executor
from moenas.models.architecture import Architecture
from moenas.models.cost import count_macs
from moenas.training.job import TrainingJob, run_job
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult


def run_jobs(executor: Executor, jobs: Sequence[TrainingJob], title: str) -> list[JobResult]:
    """Run jobs, the costliest first, and return their results in the order given.

    Args:
        executor: Where.
        jobs: Finished ones return at once.
        title: Of the progress bar.

    Raises:
        OutOfTime: At least one job reached its deadline; all that run were let end before.
        MoENASError: A job failed; the message names its folder. The others were finished first.
    """
    order = sorted(range(len(jobs)), key=lambda i: -_work(jobs[i]))
    futures = {executor.submit(run_job, jobs[i]): i for i in order}
    results: dict[int, JobResult] = {}
    failed: dict[int, BaseException] = {}
    with progress() as bar:
        task = bar.add_task(title, total=len(jobs), note="")
        for future in concurrent.futures.as_completed(futures):
            index = futures[future]
            error = future.exception()
            if error is None:
                results[index] = future.result()
            else:
                failed[index] = error
            bar.update(task, advance=1, note=jobs[index].architecture)
    for index, error in failed.items():
        if isinstance(error, OutOfTime):
            continue
        raise MoENASError(f"Training in '{jobs[index].folder}' failed: {error}") from error
    if failed:
        raise OutOfTime("The time limit came. What was finished is kept; run it again to go on.")
    return [results[i] for i in range(len(jobs))]


def _work(job: TrainingJob) -> float:
    architecture = Architecture.parse(job.architecture)
    macs = count_macs(architecture.base, architecture.experts, job.data.image_size)
    return float(job.scheme.epochs * macs)
