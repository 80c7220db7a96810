"""Recompute what ``moenas routes`` says, and trace again where model and images are at hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from moenas.analysis.attributes import find_attributes
from moenas.analysis.routes import Routes, routes_of, switch_layers, trace
from moenas.data.cache import cached_images
from moenas.errors import MoENASError
from moenas.models.storage import load_model
from moenas.report.routes_table import read_routes
from moenas.runs import RunFolder, cache_home
from moenas.runtime import pick_device
from moenas.serialisation import read_json
from moenas.workflows.data import open_manifest
from moenas.workflows.routes import compare_routes, usages
from moenas.workflows.verification import Verification

SHARE_TOLERANCE = 0.005
"""Share of tokens that another processor's rounding may send to another expert, mean."""


def verify_routes(folder: RunFolder, result: Verification) -> None:
    """Compare a run's sentences, tests and usage with its table of routes, and that with its model.

    Args:
        folder: Of finished routes.
        result: Gets what differs.

    Raises:
        MoENASError: A file is missing or damaged.
    """
    settings = folder.read_config()["settings"]
    stored = read_json(folder.routes_summary)
    table = read_routes(folder)
    found, frame = routes_of(table)
    chosen = np.stack([each + 1 for each in found.chosen()], axis=1).ravel()
    result.compare("routes.expert", table["expert"].tolist(), chosen.tolist())
    attributes, notes = find_attributes(frame, settings["by"])
    again = compare_routes(found, frame, attributes, notes)
    result.compare("routes", {key: stored[key] for key in again}, again)
    result.compare("routes.images", stored["images"], len(frame))
    result.compare("routes.usage", [layer["usage"] for layer in stored["layers"]], usages(found))
    said = {key: stored[key] for key in ("sentences", "images", "note")}
    result.compare("summary", read_json(folder.summary), said)
    _traced(settings, found, frame["image_id"].tolist(), result)


def _traced(settings: dict[str, Any], found: Routes, ids: list[str], result: Verification) -> None:
    """Trace again, if the model and the images are still there."""
    if not Path(settings["checkpoint"]).exists():
        return
    model, card = load_model(settings["checkpoint"])
    layers = [(layer.number, layer.experts) for layer in switch_layers(model)]
    result.models += 1
    if layers != [(layer.number, layer.experts) for layer in found.layers]:
        result.problems.append("routes: the model has other layers with experts than the table")
        return
    try:
        manifest = open_manifest(settings["data"], card.image_size)
    except MoENASError:
        return  # the data are not here
    place = {name: row for row, name in enumerate(manifest.frame["image_id"])}
    if not all(name in place for name in ids):
        result.problems.append("routes: the table has images that the data do not have")
        return
    images = cached_images(manifest, card.image_size, cache_home() / "images")
    rows = np.array([place[name] for name in ids])
    again = trace(model, images.images, rows, device=pick_device("cpu"))
    for layer, one, two in zip(found.layers, found.shares, again.shares, strict=True):
        result.numbers += one.size
        moved = float(np.abs(one - two).sum(axis=1).mean() / 2)
        if not moved <= SHARE_TOLERANCE:
            result.problems.append(
                f"routes: in layer {layer.number} {moved:.1%} of the tokens go elsewhere than the "
                "table says"
            )
