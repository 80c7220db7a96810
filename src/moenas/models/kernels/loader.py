"""Which path Switch FFNs take on this machine: the kernel, or torch with one line of notice."""

from __future__ import annotations

import functools
import os

from moenas.console import logger
from moenas.models.kernels.build import BuildError, library
from moenas.models.kernels.library import Kernel

SWITCH = "MOENAS_KERNEL"
"""Environment variable: ``0`` switches the kernel off."""


@functools.cache
def _load() -> tuple[Kernel | None, str]:
    """Return the kernel, or None and why there is none. The first call may build it."""
    try:
        kernel = Kernel(*library())
    except (BuildError, OSError) as error:
        logger.warning("Switch FFNs run on torch alone, which is slower: %s.", error)
        return None, str(error)
    return kernel, kernel.description


def kernel() -> Kernel | None:
    """Return the kernel, built on first use; None where it is off or cannot be had (said once)."""
    if os.environ.get(SWITCH) == "0":
        return None
    return _load()[0]


def kernel_status() -> str:
    """Say which path runs and why, in one line; may build the kernel."""
    if os.environ.get(SWITCH) == "0":
        return f"torch path ({SWITCH}=0)"
    found, text = _load()
    return f"compiled ({text})" if found else f"torch path ({text})"


def forget() -> None:
    """Look again on the next use, as a new process does."""
    _load.cache_clear()
