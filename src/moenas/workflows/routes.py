"""``moenas routes``: which experts each image goes to, and whether that depends on skin tone."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from moenas.analysis.attributes import Attribute, find_attributes
from moenas.analysis.dependence import dependence
from moenas.analysis.examples import example_images
from moenas.analysis.routes import Routes, switch_layers, trace
from moenas.analysis.sentences import describe
from moenas.analysis.typical import typical_images
from moenas.config import to_dict
from moenas.data.cache import ImageStore, cached_images
from moenas.data.counts import sources_of
from moenas.data.sources.emoji import note_on
from moenas.data.sources.opening import names_of
from moenas.errors import DataError, did_you_mean
from moenas.models.storage import load_model
from moenas.report.figures import save_figures
from moenas.report.pictures import data_uri
from moenas.report.routes_page import render_routes
from moenas.run_log import working
from moenas.runs import RunFolder, cache_home, find_checkpoint
from moenas.runtime import pick_device
from moenas.serialisation import write_json, write_parquet
from moenas.workflows.data import open_manifest
from moenas.workflows.explain import find_maps

KEPT = ("image_id", "split", "label", "group", "lighting", "cluster", "matched_set")
"""The manifest's columns that the table of routes keeps, besides those asked for."""

MAP_SIDE, TYPICAL_SIDE = 128, 64
"""Longest sides of the page's pictures, in pixels."""


def routes(
    checkpoint: Path | str,
    data: str | Sequence[str],
    run: Path | str,
    *,
    split: str = "report",
    by: Sequence[str] = (),
    device: str = "auto",
) -> dict[str, Any]:
    """Find each image's route and what it depends on; leave tables, figures and a page.

    Args:
        checkpoint: A model of ours with experts.
        data: See `open_manifest`.
        run: The run folder.
        split: The split whose images are looked at.
        by: Columns to compare by, besides skin tone, light and class.
        device: Where to compute.

    Returns:
        What ``routes.json`` holds.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        ModelError: The model has no experts.
        DataError: The data cannot be used, lack the split, or cannot be compared by a column.
    """
    where = pick_device(device)
    checkpoint = find_checkpoint(Path(checkpoint))
    model, card = load_model(checkpoint)
    layers = switch_layers(model)
    manifest = open_manifest(data, card.image_size)
    here = manifest.frame["split"] == split
    if not here.any():
        splits = set(manifest.frame["split"])
        raise DataError(f"The data have no split '{split}'. {did_you_mean(split, splits)}")
    manifest.validate(check_images=False, need_splits=())
    find_attributes(manifest.frame[here], by)  # refuses a column before anything is computed
    settings = {
        "checkpoint": str(checkpoint),
        "data": list(names_of(data)),
        "split": split,
        "by": list(by),
    }
    folder = RunFolder.create(run, "routes", settings)
    with working(folder, settings):
        images = cached_images(manifest, card.image_size, cache_home() / "images")
        rows = np.flatnonzero(images.readable & here.to_numpy(dtype=np.bool_))
        if not len(rows):
            raise DataError(f"No image of the split '{split}' can be read.")
        frame = manifest.frame.iloc[rows].reset_index(drop=True)
        attributes, notes = find_attributes(frame, by)
        found = trace(model, images.images, rows, device=where)
        table = found.to_frame(frame[list(dict.fromkeys((*KEPT, *by)))])
        record: dict[str, Any] = {
            "checkpoint": str(checkpoint),
            "architecture": card.architecture,
            "image_size": card.image_size,
            "split": split,
            "images": len(frame),
            "note": note_on(sources_of(frame)),
            "layers": [
                {**dataclasses.asdict(layer), "usage": usage}
                for layer, usage in zip(layers, usages(found), strict=True)
            ],
            **compare_routes(found, frame, attributes, notes),
        }
        write_parquet(folder.routes, table)
        write_json(folder.routes_pictures, _pictures(model, found, frame, images, rows, where))
        write_json(folder.routes_summary, record)
        write_json(folder.summary, {key: record[key] for key in ("sentences", "images", "note")})
        for kind in ("pdf", "png"):
            save_figures(folder, kind)
        render_routes(folder)
    return record


def usages(found: Routes) -> list[list[float]]:
    """Return for each layer the share of all tokens that each expert takes."""
    return [[float(x) for x in share.mean(axis=0)] for share in found.shares]


def compare_routes(
    found: Routes, frame: pd.DataFrame, attributes: Sequence[Attribute], notes: list[str]
) -> dict[str, Any]:
    """Return what the routes depend on, in numbers and sentences.

    Args:
        found: The routes.
        frame: What is known of their images.
        attributes: `find_attributes`, as are the notes.
        notes: What could not be compared.
    """
    compared = [_compare(found, frame, attribute) for attribute in attributes]
    return {
        "attributes": compared,
        "notes": notes,
        "sentences": [one["sentence"] for one in compared] + notes,
    }


def _compare(found: Routes, frame: pd.DataFrame, attribute: Attribute) -> dict[str, Any]:
    result = dependence(found, frame, attribute.index)
    count = np.bincount(attribute.index[attribute.index >= 0], minlength=len(attribute.values))
    return {
        "column": attribute.column,
        "title": attribute.title,
        "sentence": describe(attribute.title, result),
        "beyond_chance": result.beyond_chance,
        "values": [
            {"value": value, "images": int(n)}
            for value, n in zip(attribute.values, count, strict=True)
        ],
        **to_dict(result),
    }


def _pictures(
    model: nn.Module,
    found: Routes,
    frame: pd.DataFrame,
    images: ImageStore,
    rows: npt.NDArray[np.int64],
    device: torch.device,
) -> dict[str, Any]:
    """What ``routes-pictures.json`` holds: maps of a few images, typical images of each expert."""
    shown = example_images(frame, found.probability)
    found_maps = find_maps(model, np.array(images.images[rows[shown]]), device=device)
    maps = []
    for place, mine in zip(shown, found_maps, strict=True):
        layers = [
            {
                "layer": number,
                "shares": [float(x) for x in share[place]],
                "places": None if places is None else places.tolist(),
            }
            for (number, places), share in zip(mine, found.shares, strict=True)
        ]
        maps.append(_shown(frame, images, rows, int(place), MAP_SIDE) | {"layers": layers})
    typical = []
    for index, layer in enumerate(found.layers):
        for expert in range(layer.experts):
            chosen = typical_images(found, frame, index, expert)
            pictures = [
                _shown(frame, images, rows, int(place), TYPICAL_SIDE)
                | {"share": float(found.shares[index][place, expert])}
                for place in chosen
            ]
            typical.append({"layer": layer.number, "expert": expert + 1, "images": pictures})
    return {"maps": maps, "typical": typical}


def _shown(
    frame: pd.DataFrame, images: ImageStore, rows: npt.NDArray[np.int64], place: int, side: int
) -> dict[str, Any]:
    row = frame.iloc[place]
    words = ["person" if row["label"] == 1 else "no person"]
    if pd.notna(row["group"]):
        words.append(f"tone {int(row['group'])}")
    if pd.notna(row["lighting"]):
        words.append(str(row["lighting"]).replace("_", " "))
    picture = data_uri(images.images[rows[place]], side)
    return {"image_id": str(row["image_id"]), "text": ", ".join(words), "image": picture}
