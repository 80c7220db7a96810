"""A Ray cluster: many machines, GPUs shared out, machines that come and go."""

from __future__ import annotations

import dataclasses
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from moenas.errors import ConfigError, MissingDependencyError, MoENASError, RunFolderError
from moenas.execution.executor import EXECUTORS, Share, WorkerDiedError, portable

R = TypeVar("R")

GIB = 2**30
SHARED = ("MOENAS_CACHE", "OMP_NUM_THREADS", "PYTHONPATH")
"""Variables of the driver's environment that workers get, where they are set."""


class RayExecutor:
    """Runs functions on a Ray cluster, as many at once as it has room for.

    Ray starts a function anew when its worker or the whole machine dies. Machines that join are
    used, those that leave are not waited for. Run folder and images must be on storage that all
    machines see under the same path; each machine keeps its own cache of decoded images.

    Args:
        workers: At most so many functions at once; None: as many as there is room for.
        address: Of a running cluster; ``auto`` finds it, None starts one on this machine.
        gpus: What each function gets beside a core: GPUs, or a part of one; None: one, where the
            cluster has any.
        memory_gb: Memory that is set aside for each function, GiB; None: not counted.
        retries: How often a function whose worker died is run again.

    Raises:
        MissingDependencyError: Ray is not installed.
        ConfigError: There is no cluster at the address, or none of its machines has the share.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        address: str | None = "auto",
        gpus: float | None = None,
        memory_gb: float | None = None,
        retries: int = 2,
    ) -> None:
        self._ray = ray = _ray()
        self._most = workers
        Share(gpus=gpus or 0, memory_gb=memory_gb)  # refuses before anything is started
        try:
            _answers(address)
            ray.init(
                address=address,
                namespace="moenas",
                log_to_driver=True,
                configure_logging=False,
                include_dashboard=False if address is None else None,
                runtime_env={"env_vars": {k: os.environ[k] for k in SHARED if k in os.environ}},
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"There is no Ray cluster at '{address}': {error}. Start one with 'ray start "
                "--head', and 'ray start --address ...' on the other machines."
            ) from error
        there = ray.cluster_resources()
        some = min(1, there.get("GPU", 0)) if gpus is None else gpus
        self._share = share = Share(gpus=some, memory_gb=memory_gb)
        self._remote = ray.remote(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            memory=None if share.memory_gb is None else int(share.memory_gb * GIB),
            max_retries=retries,
            retry_exceptions=False,
        )(_work)
        self._retries = retries
        self._running: dict[Future[Any], Any] = {}
        if not self._room():
            ray.shutdown()
            raise ConfigError(
                f"No machine of the cluster has room for one training, which asks for {share}. All "
                f"of them together have {there.get('CPU', 0):g} CPUs, "
                f"{there.get('GPU', 0):g} GPUs, {there.get('memory', 0) / GIB:.1f} GiB."
            )

    @property
    def workers(self) -> int:
        """How many functions run at once now; machines come and go."""
        room = max(1, self._room())
        return room if self._most is None else min(room, self._most)

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Run ``function(*arguments)`` on a machine that has room."""
        given = tuple(map(_with_wall_clock, arguments))
        reference = self._remote.remote(function, given, max(1, *self._fits()))
        future: Future[R] = Future()
        future.set_running_or_notify_cancel()
        self._running[future] = reference
        reference.future().add_done_callback(lambda found: self._finish(future, found))
        return future

    def shutdown(self, *, now: bool = False) -> None:
        """End: after the work, or at once."""
        running = dict(self._running)
        for future, reference in running.items():
            if now:
                self._ray.cancel(reference, force=True)
            else:
                future.exception()
        self._ray.shutdown()
        for future in running:  # nobody is left to tell them
            if not future.done():
                future.set_exception(WorkerDiedError("The work was stopped."))

    def __enter__(self) -> RayExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(now=kind is not None)

    def _finish(self, future: Future[Any], found: Future[Any]) -> None:
        """Pass on what a function returned, raised, or died of."""
        self._running.pop(future, None)
        if future.done():
            return
        error = found.exception()
        if error is None:
            value, error = found.result()
            if error is None:
                future.set_result(value)
                return
        elif isinstance(error, self._ray.exceptions.RayError):
            error = WorkerDiedError(
                f"The worker died {self._retries + 1} times at the same work, or was stopped: "
                f"{(str(error).strip() or type(error).__name__).splitlines()[0]} "
                "Where memory ran out, ask for more with --memory-gb."
            )
        future.set_exception(error)

    def _room(self) -> int:
        """How many functions the machines that are there now can run at once."""
        return sum(self._fits())

    def _fits(self) -> list[int]:
        """The same for each machine.

        Raises:
            MoENASError: There is none left, not even this one: work would wait for ever.
        """
        alive = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not alive:
            raise MoENASError(
                "The Ray cluster is lost: none of its machines is there any more. Start it again "
                "and run the same command: what was finished is kept."
            )
        return [self._share.fits(resources) for resources in alive]


def _answers(address: str | None) -> None:
    """Check that something listens there, which Ray itself tries for minutes.

    Raises:
        OSError: Nothing does.
        ConfigError: It is no ``host:port``.
    """
    if address not in (None, "auto", "local"):
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigError(
                f"'{address}' is no address of a Ray cluster: write HOST:PORT, for example "
                "192.168.1.2:6379, or 'auto' on a machine that is part of one."
            )
        socket.create_connection((host, int(port)), timeout=10).close()


def _ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError("ray", "ray", "A cluster") from error
    return ray


def _with_wall_clock(argument: Any) -> Any:
    """Make a deadline, which is on this machine's clock since its start, one that others know."""
    deadline = getattr(argument, "deadline", None)
    if deadline is None or not dataclasses.is_dataclass(argument):
        return argument
    now = time.time() - time.monotonic()
    return _Dated(dataclasses.replace(argument, deadline=None), deadline + now)  # type: ignore[type-var]


@dataclasses.dataclass(frozen=True)
class _Dated:
    """An argument with its deadline in seconds since 1970."""

    argument: Any
    deadline: float

    def here(self) -> Any:
        now = time.time() - time.monotonic()
        return dataclasses.replace(self.argument, deadline=self.deadline - now)


def _work(
    function: Callable[..., Any], arguments: tuple[Any, ...], neighbours: int
) -> tuple[Any, BaseException | None]:
    """Run on a worker, of so many on its machine; errors are returned, to come back as they are."""
    own = _ray().get_runtime_context().get_assigned_resources()
    if not own.get("GPU"):  # it would see the machine's GPUs, which are others'
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    from moenas.runtime import return_freed_memory, share_cores

    share_cores(neighbours)
    torch.set_num_threads(max(1, int(own.get("CPU", 1))))
    try:
        here = [each.here() if isinstance(each, _Dated) else each for each in arguments]
        for each in here:
            _see(getattr(each, "folder", None))
        return function(*here), None
    except Exception as error:
        return None, portable(error)
    finally:
        return_freed_memory()


def _see(folder: str | None) -> None:
    """Check that this machine sees the run folder, and doesn't make one of its own.

    Raises:
        RunFolderError: It doesn't.
    """
    if folder is not None and not any((p / "config.json").exists() for p in Path(folder).parents):
        raise RunFolderError(
            f"The machine '{socket.gethostname()}' does not see '{folder}': put the run folder and "
            "the images on storage that all machines of the cluster share under one path."
        )


EXECUTORS.add("ray", RayExecutor)
