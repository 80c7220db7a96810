"""What timm and the Hugging Face Hub read about a stored model: its ``config.json``.

It is made from the checkpoint, which stays the only truth: nothing here is read back by moenas.
"""

from __future__ import annotations

from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from moenas.models.architecture import Architecture
from moenas.models.classifier import find_classifier
from moenas.models.storage import ModelCard
from moenas.models.timm_names import timm_arguments

LABELS = ("no person", "person")
"""Names of two classes, in the order of the logits."""

PREPROCESSING: dict[str, Any] = {
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "crop_mode": "squash",
    "mean": IMAGENET_DEFAULT_MEAN,
    "std": IMAGENET_DEFAULT_STD,
}
"""How moenas prepares images, in timm's words: squeezed to a square, nothing cut away."""


def config_of(model: nn.Module, card: ModelCard) -> dict[str, Any]:
    """Return the JSON values by which timm builds the model and prepares images for it.

    Args:
        model: A model of ours.
        card: As it is stored.
    """
    architecture = Architecture.parse(card.architecture)
    name, arguments = timm_arguments(architecture, card.gate)
    values: dict[str, Any] = {
        "architecture": name,
        "num_classes": card.num_classes,
        "model_args": arguments,
        "pretrained_cfg": data_config(model, card),
        "library_name": "moenas",
    }
    width = getattr(model, "num_features", None)
    if isinstance(width, int):
        values["num_features"] = width
    if card.num_classes == len(LABELS):
        values["label_names"] = list(LABELS)
    return values


def data_config(model: nn.Module, card: ModelCard) -> dict[str, Any]:
    """Return timm's ``pretrained_cfg``: how images were prepared, and where the classifier is.

    Shapes and statistics are tuples; JSON makes lists of them.
    """
    base = Architecture.parse(card.architecture).base
    known = timm.get_pretrained_cfg(base.partition("@")[0])
    classifier = find_classifier(model)
    side = card.image_size
    return {
        **PREPROCESSING,
        "input_size": (3, side, side),
        "fixed_input_size": "@" in base,
        "num_classes": card.num_classes,
        "first_conv": known.first_conv if known else None,
        "classifier": classifier[0] if classifier else known.classifier if known else None,
    }
