"""``moenas doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.config import to_dict
from moenas.console import table
from moenas.workflows import doctor, doctor_run


def doctor_command(
    run: Annotated[
        tyro.conf.Positional[Path | None],
        tyro.conf.arg(help="A run folder whose state is told, too."),
    ] = None,
    json: Json = False,
) -> None:
    """Tell what is installed, what is missing, and how a run stands: what a bug report needs."""
    state = None if run is None else doctor_run.examine(run)
    found = doctor.doctor()
    problems = [*found.problems, *_problems(state)]
    result = {**to_dict(found), "run": None if state is None else to_dict(state)}
    parts: list[Any] = [table("MoENAS", ("", ""), _installation(found))]
    if state is not None:
        parts.append(table(f"Run '{state.run}'", ("", ""), _run(state)))
        parts += [_line(entry) for entry in state.log]
    parts += [f"- {problem}" for problem in problems] or ["Nothing is missing."]
    show(result, json, *parts)


def _installation(found: doctor.Diagnosis) -> list[tuple[str, str]]:
    machine = found.machine
    free, total = found.memory_bytes / 1e9, found.total_memory_bytes / 1e9
    return [
        ("time", found.time),
        ("system", f"{machine.system}, Python {machine.python}"),
        ("device", f"{machine.device}: {found.processor}"),
        ("cores", f"{machine.cores}, load {found.load:g}"),
        ("memory free", f"{free:.1f} of {total:.1f} GB"),
        ("cache", f"{found.cache or 'none'}, {found.disk_bytes / 1e9:.1f} GB free"),
        ("Switch FFN kernel", found.switch_ffn),
        ("Ray cluster", found.cluster or "none"),
        *found.versions.items(),
        *((f"extra '{name}'", _packages(needs)) for name, needs in found.extras.items()),
        *found.variables.items(),
    ]


def _packages(needs: dict[str, str | None]) -> str:
    if not any(needs.values()):
        return "–"
    return ", ".join(f"{name} {version or 'missing'}" for name, version in needs.items())


def _run(state: doctor_run.RunState) -> list[tuple[str, str]]:
    trials = ", ".join(f"{count} {name}" for name, count in sorted(state.trials.items()))
    return [
        ("command", state.kind),
        ("state", "finished" if state.finished else "not finished"),
        ("at work", state.holder or "nobody"),
        ("models", f"{state.models} finished, {state.begun} begun"),
        *([("trials", trials)] if trials else []),
        ("size", f"{state.bytes / 1e6:.1f} MB, {state.disk_bytes / 1e9:.1f} GB free"),
    ]


def _problems(state: doctor_run.RunState | None) -> list[str]:
    if state is None:
        return []
    damaged = [f"'{file}' is damaged: {why}." for file, why in state.damaged.items()]
    left = [f"{len(state.leftovers)} unfinished files of a killed process may be deleted."]
    busy = state.holder is not None
    return [*state.problems, *damaged, *([] if busy or not state.leftovers else left)]


def _line(entry: dict[str, Any]) -> str:
    """An entry of the log: the time to the second, its level where it is not usual, the text."""
    level = entry.get("level", "info")
    mark = "" if level == "info" else f" {level}:"
    text = str(entry.get("message", ""))
    error = f" ({entry['error']})" if "error" in entry else ""
    return f"{str(entry.get('time', ''))[:19]}{mark} {text}{error}"
