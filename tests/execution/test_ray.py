"""A real Ray cluster of two machines (two raylets on this one): workers, machines, the driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import work

from moenas.errors import ConfigError, MissingDependencyError, MoENASError, RunFolderError
from moenas.execution.executor import EXECUTORS, Executor, Share, WorkerDiedError
from moenas.execution.ray import RayExecutor
from moenas.runs import RunFolder

ray = pytest.importorskip("ray", reason="needs the extra 'ray'")
cluster_utils = pytest.importorskip("ray.cluster_utils")

TESTS = Path(__file__).parents[1]
MODULES = [TESTS / name for name in ("execution", "nas", "promises", "")] + [
    *filter(None, sys.path)
]
"""Where workers and drivers find what they run."""

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One machine that stays, of one core; tests add others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, MODULES)))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        found = cluster_utils.Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "include_dashboard": False},
        )
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture
def executor(cluster: Any) -> Iterator[RayExecutor]:
    started = RayExecutor(address=cluster.address)
    yield started
    started.shutdown(now=True)


def until(condition: Any, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.1)
    return False


def test_it_keeps_the_contract_of_executors(executor: RayExecutor) -> None:
    checked: Executor = executor
    assert EXECUTORS["ray"] is RayExecutor
    assert checked.workers == 1
    assert [checked.submit(work.add, n, 1).result(240) for n in range(3)] == [1, 2, 3]
    with pytest.raises(ValueError, match="what went wrong"):
        checked.submit(work.fail, "what went wrong").result(240)
    assert checked.submit(work.threads).result(240) == 1


def test_an_error_that_cannot_be_made_again_comes_back(
    executor: RayExecutor, tmp_path: Path
) -> None:
    note = str(tmp_path / "calls")
    error = executor.submit(work.fail_as, "awkward", note).exception(240)
    assert type(error) is RuntimeError  # no error of ours, as before
    assert str(error) == "AwkwardError: The quantum head needs pennylane"
    assert isinstance(
        executor.submit(work.fail_as, "missing", note).exception(240), MissingDependencyError
    )


def test_a_cluster_that_is_lost_is_told(
    executor: RayExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": False, "Resources": {"CPU": 1}}])
    with pytest.raises(MoENASError, match="cluster is lost"):
        _ = executor.workers
    with pytest.raises(MoENASError, match="cluster is lost"):
        executor.submit(work.add, 1, 1)


def test_a_killed_worker_does_its_work_again(executor: RayExecutor, tmp_path: Path) -> None:
    dying = executor.submit(work.once_then_die, str(tmp_path / "dying"), 2)
    assert dying.result(240) == 3
    lost = executor.submit(work.once_then_die, str(tmp_path / "lost"), 99)
    with pytest.raises(WorkerDiedError, match="died 3 times at the same work"):
        lost.result(240)


def test_machines_come_and_go(cluster: Any, executor: RayExecutor, tmp_path: Path) -> None:
    """What ran on a machine that vanishes is run again on one that stays."""
    assert executor.workers == 1
    other = cluster.add_node(num_cpus=1)
    assert until(lambda: executor.workers == 2)
    notes = [tmp_path / name for name in ("one", "two")]
    running = [executor.submit(work.wait_for, str(tmp_path / "go"), str(note)) for note in notes]
    assert until(lambda: all(note.exists() for note in notes), 60)  # on both machines
    cluster.remove_node(other, allow_graceful=False)
    assert until(lambda: executor.workers == 1)
    (tmp_path / "go").touch()
    assert [future.result(240) for future in running] == ["waited", "waited"]
    assert sorted(len(note.read_text().split()) for note in notes) == [1, 2]


def test_a_deadline_is_the_same_moment_on_every_machine(executor: RayExecutor) -> None:
    """Each counts seconds from its own start."""
    soon = time.monotonic() + 100
    assert executor.submit(work.seconds_left, work.Job(soon)).result(240) == pytest.approx(
        100,
        abs=40,  # imports on a busy machine take some of them
    )
    assert executor.submit(work.seconds_left, work.Job(None)).result(240) is None


def test_a_machine_that_does_not_see_the_run_folder(executor: RayExecutor, tmp_path: Path) -> None:
    job = work.Job(None, folder=str(tmp_path / "run" / "trials" / "0"))
    with pytest.raises(RunFolderError, match=r"does not see .*storage that all machines"):
        executor.submit(work.seconds_left, job).result(240)
    assert not (tmp_path / "run").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").touch()
    assert executor.submit(work.seconds_left, job).result(240) is None


def test_shutdown_now_ends_work_at_once(cluster: Any, tmp_path: Path) -> None:
    executor = RayExecutor(address=cluster.address)
    note = tmp_path / "started"
    endless = executor.submit(work.wait_for, str(tmp_path / "never"), str(note))
    assert until(note.exists)
    start = time.monotonic()
    executor.shutdown(now=True)
    assert time.monotonic() - start < 10
    assert isinstance(endless.exception(10), WorkerDiedError)


DRIVER = """
import sys, time
import work
from moenas.execution.ray import RayExecutor
executor = RayExecutor(address=sys.argv[1])
executor.submit(work.wait_for, sys.argv[2], sys.argv[3]).result()
"""


def test_work_ends_with_its_driver(cluster: Any, tmp_path: Path) -> None:
    """So that the next one, which starts it again, does not find two at one folder."""
    script, note = tmp_path / "driver.py", tmp_path / "started"
    script.write_text(DRIVER)
    command = [sys.executable, str(script), cluster.address, str(tmp_path / "never"), str(note)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as driver:
        assert until(note.exists, 60)
        driver.send_signal(signal.SIGKILL)
    worker = int(note.read_text())
    assert until(lambda: not Path(f"/proc/{worker}").exists())


def test_what_no_machine_has_room_for_is_refused(cluster: Any) -> None:
    with pytest.raises(ConfigError, match=r"1 GPUs.*together have 1 CPUs, 0 GPUs"):
        RayExecutor(address=cluster.address, gpus=1)
    with pytest.raises(ConfigError, match="100000 GiB"):
        RayExecutor(address=cluster.address, memory_gb=1e5)
    with pytest.raises(ConfigError, match="no Ray cluster at 'localhost:1'"):
        RayExecutor(address="localhost:1")


@pytest.mark.parametrize(
    ("share", "machine", "often"),
    [
        (Share(), {"CPU": 8}, 8),
        (Share(gpus=1), {"CPU": 8, "GPU": 4}, 4),
        (Share(gpus=1), {"CPU": 2, "GPU": 4}, 2),
        (Share(gpus=0.25), {"CPU": 64, "GPU": 2}, 8),
        (Share(gpus=0.4), {"CPU": 64, "GPU": 2}, 4),  # not 5: parts of two GPUs are no GPU
        (Share(gpus=0.2), {"CPU": 64, "GPU": 2}, 10),
        (Share(gpus=0.1), {"CPU": 64, "GPU": 1}, 10),
        (Share(gpus=0.05), {"CPU": 64, "GPU": 1}, 20),
        (Share(gpus=2), {"CPU": 8, "GPU": 5}, 2),
        (Share(memory_gb=4), {"CPU": 8, "memory": 17 * 2**30}, 4),
        (Share(gpus=1), {"CPU": 8}, 0),
    ],
)
def test_how_often_a_machine_has_a_share(
    share: Share, machine: dict[str, float], often: int
) -> None:
    assert share.fits(machine) == often


@pytest.mark.parametrize("address", ["1.2.3.4", "ray://head", ":6379", "head:0x1", "head:99999"])
def test_an_address_that_is_none_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match=r"no address of a Ray cluster: write HOST:PORT"):
        RayExecutor(address=address)


@pytest.mark.parametrize("wrong", [{"cpus": 0}, {"gpus": -1}, {"gpus": 1.5}, {"memory_gb": 0}])
def test_shares_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        Share(**wrong)


SEARCH = """
import sys
import deadly, fake_search
from moenas.execution.ray import RayExecutor
from moenas.runs import RunFolder
deadly.driver_module.run_trial = deadly._trial
run = RunFolder.create(sys.argv[2], "search", {})
with run.locked(), RayExecutor(address=sys.argv[1]) as executor:
    fake_search.make_driver(run, executor=executor).run(8)
"""


def test_a_search_on_a_cluster_goes_on_after_its_driver_was_killed(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the storage alone, to the end that it would have had without a cluster or a kill."""
    script, run = tmp_path / "driver.py", tmp_path / "run"
    script.write_text(SEARCH)
    command = [sys.executable, str(script), cluster.address]
    log = tmp_path / "log"
    with log.open("w") as told:
        driver = subprocess.Popen([*command, str(run)], stdout=told, stderr=told)
        trained = run / "trials" / "trained.log"
        assert until(lambda: trained.exists() and len(trained.read_text().split()) > 2, 90), (
            log.read_text()
        )
        driver.kill()
        driver.wait()
        subprocess.run([*command, str(run)], check=True, stdout=told, stderr=told, timeout=120)
    monkeypatch.syspath_prepend(TESTS / "nas")
    import fake_search

    monkeypatch.setattr("moenas.nas.driver.run_trial", fake_search.fake_job)
    fake_search.make_driver(RunFolder.create(tmp_path / "whole", "search", {})).run(8)
    found = fake_search.archive(run)
    assert found == fake_search.archive(tmp_path / "whole")
    assert [entry[1] for entry in found] == ["COMPLETE"] * 8
