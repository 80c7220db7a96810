"""``moenas doctor``."""

from __future__ import annotations

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.console import table
from moenas.workflows import doctor


def doctor_command(json: Json = False) -> None:
    """Tell what is installed, what is missing, and what to do about it."""
    found = doctor.doctor()
    machine = found.machine
    rows = [
        ("system", f"{machine.system}, Python {machine.python}"),
        ("device", f"{machine.device}, {machine.cores} cores"),
        ("memory free", f"{found.memory_bytes / 1e9:.1f} GB"),
        ("disk free", f"{found.disk_bytes / 1e9:.1f} GB"),
        ("Switch FFN kernel", found.switch_ffn),
        *found.versions.items(),
        *((f"extra '{n}'", "installed" if ok else "missing") for n, ok in found.extras.items()),
    ]
    notes = [f"- {problem}" for problem in found.problems] or ["Nothing is missing."]
    show(found, json, table("MoENAS", ("", ""), rows), *notes)
