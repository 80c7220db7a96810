"""Device, threads, precision and seeds: everything about the machine that a run depends on."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import hashlib
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from moenas.errors import ConfigError

if TYPE_CHECKING:
    import torch

# torch takes seconds and 500 MB to import, and scores need only seeds: it is imported where used.


def pick_device(name: str = "auto") -> torch.device:
    """Return the device to compute on: ``auto`` takes CUDA, then MPS, then the CPU.

    A GPU that has a number (``cuda:1``) becomes the process's own; ``cuda`` means that one. Of
    processes that a launcher started, each gets the GPU of its rank.

    Raises:
        ConfigError: The device is unknown or absent.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return pick_device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    reason = ""
    try:
        device = torch.device(name)
        reason = ": {}"
        if device.type == "cuda" and torch.cuda.is_available():
            own = int(os.environ.get("LOCAL_RANK", 0)) if launched() else None
            if device.index is not None or own is not None:
                torch.cuda.set_device(own if device.index is None else device.index)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0].partition(". ")[0].rstrip(".")
        raise ConfigError(
            f"The device '{name}' cannot be used here{reason.format(why)}. There are: "
            f"{', '.join(_kinds())}; 'auto' takes the fastest."
        ) from error
    return device


def _kinds() -> tuple[str, ...]:
    """Names of the kinds of devices that this machine has."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    return ("cpu", *(("cuda",) if cuda else ()), *(("mps",) if mps else ()))


def best_precision(device: torch.device) -> str:
    """Return ``bf16`` where a device gains from it without losing range, else ``no`` (float32).

    Cards older than NVIDIA's Ampere only emulate it, slower than float32.
    """
    if device.type != "cuda":
        return "no"
    import torch

    with torch.cuda.device(device):  # the current one is asked
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "no"


@contextlib.contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Have float32 be float32 while the context is open: CUDA's convolutions round it otherwise.

    Where they round (TF32), a model's tokens go to other experts than on another device; with
    routers drawn at random, one in eight did on an H100.
    """
    import torch

    if device.type != "cuda":
        yield
        return
    settings: tuple[Any, ...] = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [each.allow_tf32 for each in settings]
    for each in settings:
        each.allow_tf32 = False
    try:
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            each.allow_tf32 = value


def seed_everything(seed: int, device: torch.device | None = None) -> None:
    """Seed Python, NumPy and torch.

    Args:
        seed: Of all of them.
        device: The only one that is used beside the CPU, if it is not the CPU; all by default.
            Those that nobody uses take a fifth of a millisecond, too much for each step.
    """
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - third parties draw from the global generator
    if device is not None and device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def derived_seed(seed: int, *keys: int | str) -> int:
    """Return an independent 31-bit seed for a purpose, e.g. ``derived_seed(0, "epoch", 3)``."""
    names = (int(seed), *(key if isinstance(key, str) else int(key) for key in keys))
    digest = hashlib.blake2b(repr(names).encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *keys: int | str) -> np.random.Generator:
    """Return NumPy's generator for a purpose; the same arguments give the same numbers."""
    return np.random.default_rng(derived_seed(seed, *keys))


def keep_freed_memory() -> None:
    """Have glibc keep freed buffers instead of giving them back to the kernel (Linux only).

    A training step allocates and frees the same large buffers each time; with the default settings
    each of them is mapped and page-faulted anew, which takes a third of the time of a small model.
    Call it once at the start of a process that trains.
    """
    libc = _glibc()
    if libc is None:
        return
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # malloc.h
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
    libc.mallopt(top_pad, 1 << 26)


def return_freed_memory() -> None:
    """Have glibc give freed buffers back now: the next training needs others (Linux only)."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    """This process's C library where it is glibc: to find out reads the interpreter's file."""
    return ctypes.CDLL(None) if platform.libc_ver()[0] == "glibc" else None


def fastest_threads(work: Callable[[], object], candidates: tuple[int, ...] | None = None) -> int:
    """Set and return the number of torch threads at which ``work`` runs fastest.

    Small models on a small or shared CPU are often several times faster with one thread.

    Args:
        work: One short piece of the work to come; it is called a few times.
        candidates: Numbers of threads to try; by default 1, half and all of the cores.
    """
    import torch

    cores = available_cores()
    options = sorted(set(candidates or (1, max(1, cores // 2), cores)))
    best = (float("inf"), options[0])
    for threads in options:
        torch.set_num_threads(threads)
        work()
        times = []
        for _ in range(3):
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
        best = min(best, (min(times), threads))
    torch.set_num_threads(best[1])
    return best[1]


def launched() -> bool:
    """Whether `accelerate launch` or torchrun started this process, alone or with others."""
    return "WORLD_SIZE" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ


def process_index() -> int:
    """Which of the processes that a launcher started this one is; 0 without one."""
    return int(os.environ.get("RANK", 0)) if process_count() > 1 else 0


def process_count() -> int:
    """How many processes a launcher has started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", 1))


def peak_memory() -> int:
    """Largest memory in bytes that this process and, together, its current children have used.

    On Linux each process's own peak is summed: an upper bound of what was used at once.
    """
    total = 0
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        with contextlib.suppress(psutil.Error, OSError):
            status = Path(f"/proc/{process.pid}/status")
            if status.exists():
                line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
                total += int(line.split()[1]) * 1024
            else:
                total += process.memory_info().rss
    return total


def available_cores() -> int:
    """Number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_sharing = 1


def share_cores(processes: int) -> None:
    """Tell this process that so many like it compute on this machine; see `own_cores`."""
    global _sharing
    _sharing = max(1, processes)


def own_cores() -> int:
    """Number of CPU cores that are this process's part, at least 1."""
    return max(1, available_cores() // _sharing)


@functools.cache
def device_name(device: torch.device) -> str:
    """Name of what computes: the card's, or the processor's as its maker calls it."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return f"{device.type} of {platform.processor() or platform.machine()}"
    listing = Path("/proc/cpuinfo")
    with contextlib.suppress(OSError):
        for line in listing.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a run's numbers were measured on; stored with them."""

    system: str
    processor: str
    cores: int
    device: str
    python: str
    torch_version: str

    @classmethod
    def here(cls, device: torch.device | None = None) -> Machine:
        """Describe this machine."""
        import torch

        device = device or pick_device()
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        return cls(
            system=f"{platform.system()} {platform.machine()}",
            processor=platform.processor() or platform.machine(),
            cores=available_cores(),
            device=name,
            python=platform.python_version(),
            torch_version=torch.__version__,
        )
