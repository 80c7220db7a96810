"""Running many training jobs with a progress bar: parents and finalists."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from moenas.console import note, progress
from moenas.errors import MoENASError, RunFolderError
from moenas.execution.executor import Executor, WorkerDiedError
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of
from moenas.nas.leases import NEWS, Alone, Leases, wait_for_others
from moenas.training.job import TrainingJob, run_job
from moenas.training.loop import OutOfTime, check_deadline
from moenas.training.outcome import JobResult

OnResult = Callable[[TrainingJob, JobResult], None]
"""Called with each training that is done, in the order in which they end."""


def run_jobs(
    executor: Executor,
    jobs: Sequence[TrainingJob],
    title: str,
    on_result: OnResult | None = None,
    leases: Leases | None = None,
) -> list[JobResult]:
    """Run jobs, the costliest first, and return their results in the order given.

    Args:
        executor: Where.
        jobs: Finished ones return at once.
        title: Of the progress bar.
        on_result: See there.
        leases: Which jobs other processes work on: they are waited for, and taken up when their
            process dies. None: all are this one's.

    Raises:
        OutOfTime: At least one job reached its deadline; all that run were let end before.
        MoENASError: A job failed; the message names its folder. The others were finished first.
    """
    outcomes = _outcomes(executor, jobs, title, on_result, leases or Alone())
    results = []
    for job, outcome in zip(jobs, outcomes, strict=True):
        if isinstance(outcome, JobResult):
            results.append(outcome)
        elif not isinstance(outcome, OutOfTime):
            raise MoENASError(f"Training in '{job.folder}' failed: {outcome}") from outcome
    check_time(outcomes)
    return results


def attempt_jobs(
    executor: Executor,
    jobs: Sequence[TrainingJob],
    title: str,
    on_result: OnResult | None = None,
) -> list[JobResult | MoENASError]:
    """Run jobs as `run_jobs` does, and return errors of trainings in their places.

    Raises:
        OutOfTime: As there.
        Exception: What no other training of the same model would have spared: a worker that was
            killed, a full disk, a fault of ours.
    """
    outcomes = _outcomes(executor, jobs, title, on_result, Alone())
    told: list[JobResult | MoENASError] = []
    for outcome in outcomes:
        if isinstance(outcome, FATAL) or not isinstance(outcome, JobResult | MoENASError):
            raise outcome
        told.append(outcome)
    check_time(outcomes)
    return told


FATAL = (WorkerDiedError, RunFolderError)
"""Errors that say nothing of the training that they ended."""


def _outcomes(
    executor: Executor,
    jobs: Sequence[TrainingJob],
    title: str,
    on_result: OnResult | None,
    leases: Leases,
) -> list[JobResult | BaseException]:
    waiting = sorted(range(len(jobs)), key=lambda i: -_work(jobs[i]))
    running: dict[Future[JobResult], int] = {}
    outcomes: dict[int, JobResult | BaseException] = {}
    with progress() as bar:
        task = bar.add_task(title, total=len(jobs), note="")
        try:
            while waiting or running:
                for index in list(waiting):
                    if len(running) < executor.workers and leases.take(_lease(jobs[index])):
                        waiting.remove(index)
                        running[executor.submit(run_job, jobs[index])] = index
                if not running:
                    wait_for_others()
                    check_deadline(jobs[waiting[0]].deadline, f"'{jobs[waiting[0]].folder}'")
                    continue
                done, _ = concurrent.futures.wait(
                    running, timeout=NEWS, return_when=concurrent.futures.FIRST_COMPLETED
                )
                for future in done:
                    index = running.pop(future)
                    job, outcome = jobs[index], future.exception() or future.result()
                    leases.give_back(_lease(job))
                    outcomes[index] = outcome
                    bar.update(task, advance=1, note=job.architecture)
                    _tell(job, outcome)
                    if on_result and isinstance(outcome, JobResult):
                        on_result(job, outcome)
        finally:
            for index in running.values():
                leases.give_back(_lease(jobs[index]))
    return [outcomes[i] for i in range(len(jobs))]


def _lease(job: TrainingJob) -> str:
    """A training's own name in the run, e.g. ``finalists-mobilevitv2_050-e111111111-s1``."""
    return "-".join(Path(job.folder).parts[-2:])


def _tell(job: TrainingJob, outcome: JobResult | BaseException) -> None:
    """Tell the log of the run how a training ended."""
    fields: dict[str, Any] = {"folder": job.folder, "architecture": job.architecture}
    if isinstance(outcome, JobResult):
        fields["seconds"] = outcome.seconds
        note("training", f"{job.architecture} trained", **fields)
    else:
        note("training", f"{job.architecture} not trained: {outcome}", **fields)


def check_time(outcomes: Sequence[object]) -> None:
    """Raise `OutOfTime` where a job among them ended at its deadline."""
    if any(isinstance(outcome, OutOfTime) for outcome in outcomes):
        raise OutOfTime("The time limit came. What was finished is kept; run it again to go on.")


def _work(job: TrainingJob) -> float:
    architecture = Architecture.parse(job.architecture)
    macs = macs_of(architecture, job.data.image_size)
    return float(job.scheme.epochs * macs)
