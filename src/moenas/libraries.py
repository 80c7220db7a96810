"""The libraries that nothing works without: which of them cannot be imported here, and why."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform

CORE = ("torch", "torchvision", "timm", "accelerate", "optuna", "xgboost", "moocore", "pandas")
"""Results depend on them. Each is imported by the name that it is installed by."""


def broken_libraries() -> dict[str, str]:
    """Import each of `CORE`; return those that cannot be, each with its error in one line."""
    broken = {}
    for name in CORE:
        try:
            importlib.import_module(name)
        except Exception as error:  # one built for another torch raises anything
            broken[f"{name} {version_of(name) or '(not installed)'}"] = (
                f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            )
    return broken


def explain_broken(broken: dict[str, str]) -> str:
    """Say what cannot be imported, beside what, and what to do; ``broken`` is not empty."""
    versions = ", ".join(f"{name} {version_of(name)}" for name in CORE if version_of(name))
    told = "; ".join(f"{name} ({why})" for name, why in broken.items())
    return (
        f"Libraries that moenas needs cannot be imported: {told}. Here are Python "
        f"{platform.python_version()}, {versions}. Install versions that fit each other: "
        "pip install --force-reinstall moenas, in an environment of its own."
    )


def version_of(package: str) -> str | None:
    """Return the version of an installed package, None where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
