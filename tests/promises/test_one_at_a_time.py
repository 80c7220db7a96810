"""Two processes on one folder, clocks that jump, limits of time, ways to start workers."""

from __future__ import annotations

import datetime
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fake_search
import filelock
import pytest

from moenas.errors import RunFolderError
from moenas.execution.local import LocalExecutor
from moenas.export.backends import BACKENDS, Backend
from moenas.export.checking import Check, Checked
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import save_model
from moenas.nas import budget
from moenas.nas import driver as driver_module
from moenas.nas.settings import SearchConfig
from moenas.runs import RunFolder
from moenas.training import loop
from moenas.workflows.audit import AuditConfig, audit
from moenas.workflows.export import export
from moenas.workflows.prune import prune
from moenas.workflows.search import search
from moenas.workflows.settings import Resources
from moenas.workflows.train import TrainConfig, train

HOLD = """
import sys
from moenas.runs import RunFolder
with RunFolder(__import__("pathlib").Path(sys.argv[1])).locked():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder that another process holds, and that process's number."""
    path = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield path, process.pid
        process.kill()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    dense = build_model("mobilevitv2_050", seed=1)
    save_model(path, upcycle(dense, (1, 2, 1, 1, 1, 1, 1, 1, 1), seed=1), image_size=32)
    return path


def test_the_second_process_is_told_of_the_first(
    held: tuple[Path, int], scenes: Path, checkpoint: Path
) -> None:
    path, pid = held
    told = rf"Another process works in '.*': process {pid} on '{socket.gethostname()}'"
    before = sorted(p.name for p in path.iterdir())
    commands: tuple[Any, ...] = (
        lambda: search(SearchConfig(data=str(scenes), image_size=32), path, Resources(workers=1)),
        lambda: audit(AuditConfig(data=str(scenes), image_size=32), path, Resources(workers=1)),
        lambda: train(TrainConfig(data=(str(scenes),), image_size=32), path),
        lambda: prune(checkpoint, str(scenes), path, device="cpu"),
    )
    for command in commands * 2:  # a refusal takes nothing from the next one's message
        with pytest.raises(RunFolderError, match=told):
            command()
    assert sorted(p.name for p in path.iterdir()) == before


def test_of_two_exports_into_one_folder_the_second_writes_after_the_first(
    checkpoint: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a file would lie beside the card of another one."""
    waits = threading.Event()
    monkeypatch.setattr("moenas.data.waiting.logger.info", lambda *_: waits.set())
    monkeypatch.setitem(
        BACKENDS, "pt2", Backend(lambda _, path: path.write_bytes(b"0"), lambda _: None)
    )  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(Check, "of", lambda *_: Checked((), {}))
    monkeypatch.setattr(Check, "report", lambda *_: None)
    with ThreadPoolExecutor(1) as other:
        with filelock.FileLock(tmp_path / ".lock"):  # by a process that writes its files
            second = other.submit(export, checkpoint, ("pt2",), tmp_path, data=str(scenes))
            assert waits.wait(60)
            assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        (card,) = second.result()
    assert {f".lock {card.file} {card.file}.json {card.file}.md"} == {
        " ".join(sorted(path.name for path in tmp_path.iterdir()))
    }


def test_clocks_that_jump(memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day forward, two back: the same search, and no limit of time comes early or late."""
    monkeypatch.setattr(driver_module, "run_trial", fake_search.fake_job)
    fake_search.drive(memory / "whole", 5)
    real, jumps = time.time, iter([86400.0, -172800.0] * 10**6)

    class Jumping(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    monkeypatch.setattr(datetime, "datetime", Jumping)
    clock = budget.Clock(1000)
    fake_search.drive(memory / "jumped", 5)
    assert clock.has(900)
    assert 0 <= clock.elapsed < 100
    with RunFolder.open(memory / "jumped").locked():
        pass
    assert fake_search.archive(memory / "jumped") == fake_search.archive(memory / "whole")


def test_the_sources_ask_the_wall_clock_for_dates_only() -> None:
    """Deadlines, waits and ages are of the monotonic clock; a cluster alone shares a date.

    The doctor compares the disk's clock, and a tracker is told when a number came.
    """
    source = Path(loop.__file__).parents[1]
    asking = {
        path.relative_to(source).as_posix()
        for path in source.rglob("*.py")
        if "time.time()" in path.read_text(encoding="utf-8")
    }
    assert asking <= {"execution/ray.py", "tracking/recording.py", "workflows/doctor.py"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "spawn"])
def test_however_workers_start_the_archive_is_the_same(
    method: str, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    with LocalExecutor(1, method=method) as executor:
        run = RunFolder.create(memory / "run", "search", {})
        monkeypatch.setattr(driver_module, "run_trial", fake_search.fake_job)
        fake_search.make_driver(run, executor=executor).run(4)
    fake_search.drive(memory / "whole", 4)
    assert fake_search.archive(run.path) == fake_search.archive(memory / "whole")
