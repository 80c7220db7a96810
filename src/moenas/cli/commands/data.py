"""``moenas data``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import group_counts, show
from moenas.console import table
from moenas.data.counts import describe
from moenas.data.manifest import Manifest
from moenas.data.sources.coco import Rule
from moenas.data.sources.facet import Unit
from moenas.workflows import data


def data_command(
    source: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(
            help="'emoji', your folder of images, CSV or manifest, or a folder of COCO, FACET, "
            "Wake Vision or CIFAR-100. FACET needs a second one, to train on."
        ),
    ],
    out: Path = Path("data"),
    rule: Rule = "vww",
    unit: Unit = "person",
    json: Json = False,
) -> None:
    """Make a manifest and check all of it: unreadable images, leaks between splits, missing groups.

    Args:
        source: Where images come from.
        out: Where the manifest goes.
        rule: COCO: which image has a person.
        unit: FACET: show each person's box, or the whole image.
        json: JSON.
    """
    path = data.make_manifest(source, out, rule=rule, unit=unit)
    manifest = Manifest.load(path)
    counts = describe(manifest)
    rows = [
        (split, part["n"], part["positives"], len(part["groups"]), len(part["lights"]))
        for split, part in counts.items()
    ]
    columns = ("split", "images", "with a person", "groups", "lights")
    show(
        {"manifest": str(path), "counts": counts},
        json,
        table("Images", columns, rows),
        *group_counts(counts),
        *([f"Labels: {manifest.labelling}"] if manifest.labelling else []),
        f"Manifest: {path}",
    )
