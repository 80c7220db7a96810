"""Search on a Slurm cluster: several jobs on one run folder, by submitit.

Each job is the same ``moenas search``. They share the dense parents, the trials and the finalists,
one of them prunes and writes the report, and any may be killed. Without Slurm on this machine, two
processes here play the jobs, on a few tiny drawings: the numbers mean nothing. Needs ``pip install
submitit`` and the extra ``demo``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from moenas.data.sources.emoji import EmojiConfig
from moenas.runs import RunFolder
from moenas.serialisation import read_json
from moenas.workflows.data import make_manifest

try:
    import submitit
except ImportError:
    sys.exit("This example needs submitit: pip install submitit")

JOBS = 2
TINY = ["--image-size", "32", "--batch-size", "16", "--trials", "4", "--accuracy-margin", "1"]
TINY += ["--parent-epochs", "1", "--trial-epochs", "1", "--finalist-epochs", "1", "--seeds", "2"]
TINY += ["--finalists", "1", "--wider", "None", "--no-widths", "--max-parameters", "1500000"]


class Search:
    """A ``moenas search`` that Slurm may stop and start again: it goes on where it was."""

    def __init__(self, *options: str) -> None:
        self.command = [sys.executable, "-m", "moenas", "search", *options]

    def __call__(self) -> None:
        """Search until all is done, or this job's part of it."""
        subprocess.run(self.command, check=True)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called by submitit before the job's time is over, or a more urgent one comes."""
        return submitit.helpers.DelayedSubmission(self)


def main(shared: Path) -> None:
    """Search.

    Args:
        shared: A folder that all machines see.
    """
    scenes = EmojiConfig(size=32, train_scenes=16, val_scenes=8, search_scenes=4, report_scenes=4)
    images = make_manifest("emoji", shared / "data", config=scenes)  # or your own
    run = shared / "run"

    cluster = "slurm" if shutil.which("sbatch") else "local"
    executor = submitit.AutoExecutor(folder=shared / "jobs", cluster=cluster)
    executor.update_parameters(name="moenas", timeout_min=240, cpus_per_task=2)
    if cluster == "slurm":
        executor.update_parameters(gpus_per_node=1)
    search = Search(
        *("--data", str(images), "--run", str(run), "--workers", "1"),
        *("--storage", str(shared / "study.log")),
        *TINY,
    )
    jobs = [executor.submit(search) for _ in range(JOBS)]
    for job in jobs:
        job.result()  # raises with the job's log when it failed

    trials = read_json(RunFolder.open(run).trials)
    different = len({trial["architecture"] for trial in trials})
    print(f"{len(jobs)} jobs, {len(trials)} trials, {different} architectures")
    print(*read_json(RunFolder.open(run).comparison)["verdict"], sep="\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
