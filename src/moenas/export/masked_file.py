"""How files of masked models are written: one image in, one converter, the card behind."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from moenas.errors import ConfigError
from moenas.export.deployed import Deployed
from moenas.export.exported import first_line
from moenas.export.formats import FORMATS
from moenas.export.metadata import Details
from moenas.export.quiet import quiet
from moenas.export.seal import seal


def write_masked(
    model: nn.Module,
    details: Details,
    path: Path,
    kind: str,
    convert: Callable[[nn.Module, tuple[Tensor]], bytes],
    works: str,
) -> None:
    """Write a model for a runtime that takes one image at a time, weights in float32.

    Args:
        model: A model of ours; it is not changed.
        details: Its card, stored behind the content.
        path: Of the file.
        kind: Name of the format; the first of its packages converts.
        convert: Makes the file's content of a module and an example of its inputs.
        works: What is known to work, said where it does not.

    Raises:
        ConfigError: The installed converter and torch cannot convert it.
    """
    size = details.image_size
    module = Deployed(model, size, "masked", watch=True).eval()
    image = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    try:
        with torch.no_grad(), quiet():
            content = convert(module, (image,))
    except Exception as error:  # a converter of another time than torch fails anywhere
        packages = (FORMATS[kind].packages[0][1], "torch")
        versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
        raise ConfigError(
            f"{' and '.join(versions)} cannot convert this model: {first_line(error)} {works}"
        ) from error
    path.write_bytes(seal(content, details, module.layers, kind))
