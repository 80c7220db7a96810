"""``moenas predict --explain``: draw one image's path through a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moenas.analysis.positions import token_places
from moenas.analysis.routes import switch_layers, trace_tokens
from moenas.atomic import write_bytes
from moenas.report.figure_routes import path_of_image
from moenas.report.figures import encode

Maps = list[tuple[int, npt.NDArray[np.uint8] | None]]
"""For each layer with experts its number and [side, side] the expert (from 0) at each position."""


def find_maps(
    model: nn.Module, images: npt.NDArray[np.uint8], *, device: torch.device
) -> list[Maps]:
    """Return for each image which expert took each of its positions, layer by layer.

    Args:
        model: A model of ours with experts.
        images: [n, size, size, 3] RGB, as the model sees them.
        device: Where to compute.

    Raises:
        ModelError: The model has no experts.
    """
    result: list[Maps] = [[] for _ in images]
    tokens = trace_tokens(model, images, device=device)
    for layer, chosen in zip(switch_layers(model), tokens, strict=True):
        places = token_places(model, layer.name, chosen.shape[1])
        for maps, mine in zip(result, chosen, strict=True):
            maps.append((layer.number, None if places is None else mine[places]))
    return result


def draw_paths(
    model: nn.Module,
    images: npt.NDArray[np.uint8],
    titles: Sequence[str],
    names: Sequence[str],
    folder: Path,
    *,
    device: torch.device,
    taken: Sequence[Path] = (),
) -> list[Path]:
    """Write a PNG of each image's path and return the files.

    Args:
        model: See `find_maps`.
        images: See `find_maps`.
        titles: Above each picture.
        names: Of the files, without endings.
        folder: Where they go.
        device: Where to compute.
        taken: Files of images before these, which stay.

    Raises:
        ModelError: The model has no experts.
        RunFolderError: A file cannot be written.
    """
    paths: list[Path] = []
    found = find_maps(model, images, device=device)
    for image, maps, title, name in zip(images, found, titles, names, strict=True):
        path = _free_name(folder, name, [*taken, *paths])
        write_bytes(path, encode(path_of_image(image, maps, title), "png"))
        paths.append(path)
    return paths


def _free_name(folder: Path, name: str, taken: Sequence[Path]) -> Path:
    """Give a path's picture a number where an image of another folder has that name."""
    path, number = folder / f"{name}-path.png", 1
    while path in taken:
        number += 1
        path = folder / f"{name}-{number}-path.png"
    return path
