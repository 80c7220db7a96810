"""What all tests share: an own cache, one thread, no network, small drawn scenes, one tiny search.

Tests that need images use `scenes`; those that need a finished run use `tiny_run`. Both are made
once a session and must not be changed: copy them.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # read when numpy and torch are imported
    os.environ[_name] = "1"

import psutil  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from filelock import FileLock  # noqa: E402

from moenas.nas.settings import SearchConfig  # noqa: E402
from moenas.runtime import keep_freed_memory  # noqa: E402

IMAGE_SIZE = 32


TOGETHER = (
    "tests/execution/test_ray.py",
    "tests/export/test_benchmark_formats.py",
    "tests/training/test_processes.py",
    "tests/workflows/test_routes_workflow.py",
    "tests/workflows/test_search_rungs.py",
    "tests/workflows/test_search_supernet.py",
)
"""Files whose tests share a long fixture: they run on one worker, and before all others."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Keep freed memory, as the command line does; write to memory, as disks keep tests waiting."""
    keep_freed_memory()
    memory = Path("/dev/shm")
    known = config.option.basetemp is not None or "PYTEST_XDIST_WORKER" in os.environ
    if known or not memory.is_dir() or shutil.disk_usage(memory).free < PLENTY:
        return
    folder = tempfile.mkdtemp(prefix="moenas-tests-", dir=memory)
    config.option.basetemp = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


PLENTY = 8 << 30
"""Bytes; all tests together write about one GB."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each worker a test at a time, or such a file."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return file if file in TOGETHER else nodeid

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a session share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", autouse=True)
def own_cache(session_folder: Path) -> Iterator[Path]:
    """A cache that lives as long as the session; subprocesses inherit it."""
    cache = session_folder / "cache"
    cache.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MOENAS_CACHE", str(cache))
        yield cache


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: databases wait for the disk at each write."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    path = Path(tempfile.mkdtemp(dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """More threads than free cores make small models many times slower."""
    torch.set_num_threads(1)
    monkeypatch.setattr("moenas.workflows.train.fastest_threads", lambda work: 1)


def is_here(address: object) -> bool:
    own = {each.address for found in psutil.net_if_addrs().values() for each in found}
    return isinstance(address, tuple) and str(address[0]) in {"localhost", *own}


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Whatever reaches beyond this machine fails."""
    connect = socket.socket.connect

    def refuse(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(address):
            raise OSError(f"tests have no network: {address}")
        connect(self, address)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="session")
def scenes(own_cache: Path) -> Path:
    """The manifest of a few drawn scenes: 32 train, 16 val, 72 search and 72 report images."""
    from moenas.data.sources.emoji import EmojiConfig
    from moenas.workflows.data import make_manifest

    config = EmojiConfig(
        size=IMAGE_SIZE, train_scenes=16, val_scenes=8, search_scenes=6, report_scenes=6
    )
    with FileLock(own_cache / "scenes.lock"):
        return make_manifest("emoji", own_cache / "data", config=config)


@pytest.fixture(scope="session")
def tiny_config(scenes: Path) -> SearchConfig:
    """A whole search in seconds: each training sees 32 images once."""
    return SearchConfig(
        data=str(scenes),
        image_size=IMAGE_SIZE,
        trials=4,
        max_parameters=1_500_000,
        parent_epochs=1,
        trial_epochs=1,
        finalist_epochs=1,
        batch_size=16,
        augmentation="light",
        accuracy_margin=1.0,
        seeds=2,
    )


@pytest.fixture(scope="session")
def tiny_run(tiny_config: SearchConfig, session_folder: Path) -> Path:
    """The run folder of a finished tiny search; read it, or copy it."""
    from moenas.workflows.search import search
    from moenas.workflows.settings import Resources

    run, done = session_folder / "tiny", session_folder / "tiny.done"
    with FileLock(session_folder / "tiny.lock"):
        if not done.exists():
            search(tiny_config, run, Resources(workers=2))
            done.touch()
    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands train in this process: no worker has to start."""
    from inline_executor import Inline

    monkeypatch.setattr("moenas.workflows.settings.LocalExecutor", Inline)
