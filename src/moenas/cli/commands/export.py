"""``moenas export``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.config import to_dict
from moenas.console import table
from moenas.errors import ConfigError
from moenas.export.formats import FORMATS
from moenas.runs import ModelFolder, find_checkpoint
from moenas.workflows import export


def export_command(
    checkpoint: Annotated[tyro.conf.Positional[Path | None], tyro.conf.arg(help="A model.")] = None,
    format: tuple[str, ...] = ("onnx",),
    out: Path | None = None,
    data: tuple[str, ...] = (),
    force: bool = False,
    list: bool = False,
    json: Json = False,
) -> None:
    """Write a model for devices, and check that it is still the same model.

    Args:
        checkpoint: A model.
        format: Names of formats; --list shows them.
        out: Folder; by default 'exports' beside the model.
        data: Images to check with; by default those of the model's run.
        force: Write a file although it differs from the model; its card says so.
        list: Show the formats.
        json: JSON.
    """
    if list:
        _show_formats(json)
        return
    if checkpoint is None:
        raise ConfigError("Name a model to export, or --list the formats.")
    cards = export.export(checkpoint, format, out, data=data or None, force=force)
    folder = out or ModelFolder(find_checkpoint(checkpoint).parent).exports
    rows = [
        (
            card.format,
            f"{card.bytes / 1e6:.2f} MB",
            f"{card.share_of_parameters:.2f}",
            f"{max(each.probability or 0 for each in card.agreement):.0e}",
            f"{min(each.decisions for each in card.agreement):.2%}",
            "beyond tolerance, forced" if card.forced else "equal",
        )
        for card in cards
    ]
    columns = ("format", "size", "of parameters", "probability differs", "same decisions", "status")
    show(
        [to_dict(card) for card in cards],
        json,
        table("Exported", columns, rows),
        *(f"{folder / card.file} (its card: {card.file}.md)" for card in cards),
    )


def _show_formats(as_json: bool) -> None:
    rows = [
        (
            kind.name,
            kind.suffix,
            kind.runtime,
            kind.routing,
            "any" if kind.dynamic_batch else "1",
            "yes" if kind.missing is None else "no",
        )
        for kind in FORMATS.values()
    ]
    columns = ("name", "file", "runs in", "experts", "batch", "here")
    lines = [f"{kind.name}: {kind.note}" for kind in FORMATS.values() if kind.note]
    lines += [
        f"{kind.name} is not here: pip install 'moenas[{kind.extra}]'"
        for kind in FORMATS.values()
        if kind.missing is not None
    ]
    plain = [
        {**dataclasses.asdict(kind), "installed": kind.missing is None} for kind in FORMATS.values()
    ]
    show(plain, as_json, table("Formats", columns, rows), *lines)
