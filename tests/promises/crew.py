"""Work for children of the nursery: processes that search together, of which leaders are killed."""

from __future__ import annotations

import os
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inline_executor import Inline
from moenas.config import from_dict
from moenas.nas import leases, stages
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.serialisation import read_json
from moenas.training import job as job_module
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult
from moenas.workflows import settings, shared_search
from moenas.workflows.settings import Resources

PATIENCE = 0.05


def search_with_dying_leaders(settings: dict[str, Any], path: str) -> None:
    """The first leader dies in a parent's training, the next one in a finalist's.

    A third process helps both of them, and is the one that is left.
    """
    run = RunFolder(Path(path))
    first = _fork(lambda: _search(settings, path, dies_in="parents"))
    while _holder(run) != first:
        time.sleep(PATIENCE)
    fallen = Path(f"{path}.fallen")
    helper = _fork(lambda: _search(settings, path, waits_for=fallen))
    assert _end(first) == -signal.SIGKILL
    second = _fork(lambda: _search(settings, path, dies_in="finalists"))
    assert _end(second) == -signal.SIGKILL
    fallen.touch()
    assert _end(helper) == 0


def _search(
    config: dict[str, Any], path: str, dies_in: str = "", waits_for: Path | None = None
) -> Any:
    settings.LocalExecutor = Inline  # type: ignore[assignment, misc]
    leases.PATIENCE = PATIENCE
    train, run_job = job_module._run, stages.run_job

    def noted(job: TrainingJob, *rest: Any) -> JobResult:
        _note(path, f"begins {job.folder}")
        result = train(job, *rest)
        _note(path, f"ends {job.folder}")
        return result

    def run(job: TrainingJob) -> JobResult:
        stage = Path(job.folder).parent.name
        while waits_for is not None and stage == "finalists" and not waits_for.exists():
            time.sleep(PATIENCE)  # or there would be nothing left to die in
        return run_job(job, (lambda _: os.kill(os.getpid(), 9)) if stage == dies_in else None)

    job_module._run = noted
    stages.run_job = run
    return shared_search.search_together(
        from_dict(SearchConfig, config), path, f"{path}.log", Resources(workers=1)
    )


def _note(path: str, line: str) -> None:
    with Path(f"{path}.notes").open("a") as notes:
        notes.write(f"{line}\n")


def _holder(run: RunFolder) -> int | None:
    path = run.path / ".lock-holder.json"
    return int(read_json(path)["pid"]) if path.exists() else None


def _fork(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() is not None else 3)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
    return child


def _end(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
