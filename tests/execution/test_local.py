from __future__ import annotations

import copy
import importlib
import inspect
import os
import pickle
import platform
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import work

import moenas
from moenas.errors import MissingDependencyError, MoENASError
from moenas.execution.executor import EXECUTORS, Executor, WorkerDiedError, portable
from moenas.execution.local import PRELOADED, LocalExecutor

METHODS: list[Any] = (
    [pytest.param("spawn", marks=pytest.mark.slow), "forkserver"]  # imports torch for each worker
    if sys.platform == "linux"
    else ["spawn"]
)


def every_error() -> list[MoENASError]:
    """One of each class of ours, wherever it is defined."""
    for source in Path(moenas.__file__).parent.rglob("*.py"):
        if re.search(r"^class \w+\(MoENASError\)", source.read_text(), re.MULTILINE):
            name = ".".join(source.relative_to(Path(moenas.__file__).parents[1]).parts)
            importlib.import_module(name.removesuffix(".py"))
    found: list[type[MoENASError]] = [MoENASError]
    for kind in found:
        found.extend(kind.__subclasses__())
    values = ("package", "extra", "purpose")
    return [
        kind(*values[: len(inspect.signature(kind).parameters)])
        if kind.__init__ is not Exception.__init__
        else kind("message")
        for kind in found
    ]


SUBCLASSES = every_error()


@pytest.fixture(scope="module", params=METHODS)
def executor(request: pytest.FixtureRequest) -> Iterator[LocalExecutor]:
    with LocalExecutor(2, method=request.param) as started:
        yield started


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def eventually(condition: object, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():  # type: ignore[operator]
            return True
        time.sleep(0.05)
    return False


def test_it_is_registered_and_keeps_the_contract() -> None:
    made = EXECUTORS["local"](1)
    checked: Executor = made
    assert checked.workers == 1
    checked.shutdown()


def test_results_come_back(executor: LocalExecutor) -> None:
    futures = [executor.submit(work.add, n, 1) for n in range(6)]
    assert [future.result(240) for future in futures] == [1, 2, 3, 4, 5, 6]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps what is freed")
def test_a_worker_gives_back_what_its_work_has_freed() -> None:
    with LocalExecutor(1) as alone:
        before = alone.submit(work.memory).result(240)
        alone.submit(work.allocate_and_free, 400).result(240)
        assert alone.submit(work.memory).result(240) < before + 100e6


def test_an_exception_comes_back_as_it_is(executor: LocalExecutor) -> None:
    future = executor.submit(work.fail, "what went wrong")
    with pytest.raises(ValueError, match="what went wrong"):
        future.result(240)
    assert executor.submit(work.add, 1, 1).result(240) == 2  # the worker lives on


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("awkward", RuntimeError, "AwkwardError: The quantum head needs pennylane"),
        ("missing", MissingDependencyError, "The quantum head needs the package 'pennylane'"),
    ],
)
def test_an_error_that_cannot_be_made_again_is_no_death_of_the_worker(
    executor: LocalExecutor, tmp_path: Path, name: str, kind: type[Exception], told: str
) -> None:
    error = executor.submit(work.fail_as, name, str(tmp_path / "calls")).exception(240)
    assert type(error) is kind
    assert str(error).startswith(told)
    assert "in fail_as" in "".join(traceback.format_exception(error))  # where
    assert len((tmp_path / "calls").read_text().split()) == 1


@pytest.mark.parametrize("error", SUBCLASSES, ids=lambda error: type(error).__name__)
def test_each_of_our_errors_survives_the_way_back(error: MoENASError) -> None:
    error.add_note("seen by a worker")
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), portable(error)):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert again.__notes__ == error.__notes__


def test_what_is_no_error_of_ours_stays_none() -> None:
    assert type(portable(work.AwkwardError("a", "b"))) is RuntimeError
    same = ValueError("as it is")
    assert portable(same) is same


@pytest.mark.parametrize("told", ["CUDA error: device-side assert triggered", "out of luck"])
def test_a_worker_whose_gpu_failed_makes_room_for_a_new_one(tmp_path: Path, told: str) -> None:
    with LocalExecutor(1) as executor:
        error = executor.submit(work.fail_as, told, str(tmp_path / "calls")).exception(240)
        assert str(error) == told
        failed = int((tmp_path / "calls").read_text())  # once: the work is not repeated
        assert (executor.submit(work.pid).result(240) != failed) == told.startswith("CUDA")
        assert alive(failed) != told.startswith("CUDA")


def test_workers_are_other_processes_with_one_thread(executor: LocalExecutor) -> None:
    pids = {executor.submit(work.pid, 0.5).result(240) for _ in range(1)}
    both = [executor.submit(work.pid, 0.5) for _ in range(2)]
    pids |= {future.result(240) for future in both}
    assert os.getpid() not in pids
    assert len(pids) == 2  # as many as workers, and they are used again
    assert executor.submit(work.threads).result(240) == 1


def test_workers_have_the_environment_of_now(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forked one, too, whose mother was started long ago."""
    executor.submit(work.add, 1, 1).result(240)
    monkeypatch.setenv("MOENAS_TEST", "now")
    with LocalExecutor(1, method=executor._context.get_start_method()) as later:
        assert later.submit(os.getenv, "MOENAS_TEST").result(240) == "now"
    monkeypatch.delenv("MOENAS_TEST")
    with LocalExecutor(1, method=executor._context.get_start_method()) as later:
        assert later.submit(os.getenv, "MOENAS_TEST").result(240) is None


def test_nothing_touches_cuda_before_a_fork() -> None:
    """What is imported before the fork must leave CUDA alone: it does not survive one."""
    modules = "; ".join(f"import {name}" for name in PRELOADED)
    code = f"import torch\ntorch._C._cuda_getDeviceCount = None\n{modules}\n"
    code += "assert not torch.cuda.is_initialized()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_killed_worker_does_its_work_again_alone(executor: LocalExecutor, tmp_path: Path) -> None:
    """The neighbour goes on undisturbed: it is called once."""
    neighbour = executor.submit(work.wait_for, str(tmp_path / "go"), str(tmp_path / "neighbour"))
    assert eventually((tmp_path / "neighbour").exists)
    dying = executor.submit(work.once_then_die, str(tmp_path / "dying"), 2)
    assert dying.result(240) == 3
    assert len(set((tmp_path / "dying").read_text().split())) == 3  # three processes
    (tmp_path / "go").touch()
    assert neighbour.result(240) == "waited"
    assert len((tmp_path / "neighbour").read_text().split()) == 1


def test_a_worker_killed_too_often_is_told(executor: LocalExecutor, tmp_path: Path) -> None:
    future = executor.submit(work.once_then_die, str(tmp_path / "dying"), 99)
    with pytest.raises(WorkerDiedError, match=r"died 3 times at the same work.*fewer --workers"):
        future.result(240)
    assert len((tmp_path / "dying").read_text().split()) == 3
    assert executor.submit(work.add, 1, 2).result(240) == 3


def test_an_idle_worker_that_was_killed_is_replaced(executor: LocalExecutor) -> None:
    for _ in range(2):
        os.kill(executor.submit(work.pid).result(240), signal.SIGKILL)
    assert [executor.submit(work.add, n, n).result(240) for n in range(3)] == [0, 2, 4]


def test_shutdown_lets_work_end(tmp_path: Path) -> None:
    executor = LocalExecutor(1)
    first = executor.submit(work.pid, 0.3)
    second = executor.submit(work.add, 1, 1)
    executor.shutdown()
    assert first.result(0) != os.getpid()
    assert second.result(0) == 2
    assert not alive(first.result(0))


def test_shutdown_now_ends_work_at_once(tmp_path: Path) -> None:
    executor = LocalExecutor(1)
    note = tmp_path / "started"
    endless = executor.submit(work.wait_for, str(tmp_path / "never"), str(note))
    waiting = executor.submit(work.add, 1, 1)
    assert eventually(note.exists)
    start = time.monotonic()
    executor.shutdown(now=True)
    assert time.monotonic() - start < 10
    assert endless.exception(0) is not None
    assert waiting.cancelled()
    assert not alive(int(note.read_text()))


def test_shutdown_now_ends_though_a_worker_was_killed() -> None:
    executor = LocalExecutor(2)
    for _ in range(2):
        os.kill(executor.submit(work.pid).result(240), signal.SIGKILL)
    assert executor.submit(work.add, 1, 1).result(240) == 2
    ending = threading.Thread(target=executor.shutdown, kwargs={"now": True}, daemon=True)
    ending.start()
    ending.join(20)
    assert not ending.is_alive()


def test_leaving_by_an_error_ends_work_at_once(tmp_path: Path) -> None:
    note = tmp_path / "started"
    start = time.monotonic()

    def interrupted() -> None:
        with LocalExecutor(1) as executor:
            executor.submit(work.wait_for, str(tmp_path / "never"), str(note))
            assert eventually(note.exists)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert time.monotonic() - start < 40
    assert not alive(int(note.read_text()))


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import work
from moenas.execution.local import PRELOADED, LocalExecutor
if __name__ == "__main__":
    executor = LocalExecutor(1, method=sys.argv[4])
    executor.submit(work.wait_for, sys.argv[2], sys.argv[3]).result()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_their_parent(tmp_path: Path, method: str, how: signal.Signals) -> None:
    script, note = tmp_path / "parent.py", tmp_path / "started"
    script.write_text(SCRIPT)
    arguments = [str(Path(__file__).parent), str(tmp_path / "never"), str(note), method]
    with subprocess.Popen([sys.executable, str(script), *arguments]) as parent:
        try:
            assert eventually(note.exists, 60)
            worker = int(note.read_text())
            assert alive(worker)
        finally:
            parent.send_signal(how)
    assert eventually(lambda: not alive(worker), 10)
