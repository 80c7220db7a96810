"""What an exported model is and how its images are made, stored in the file itself.

Most accuracy that exported models lose is lost in preprocessing: normalisation is part of the
graph, and the one step that is not, resizing, is stated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import TYPE_CHECKING, Any

from moenas.config import from_dict, to_dict
from moenas.errors import CheckpointError, ConfigError, ModelError
from moenas.export.formats import FORMATS
from moenas.models.storage import ModelCard

if TYPE_CHECKING:
    import onnx

KEY = "moenas"
FORMAT = 1


def preprocessing(kind: str) -> dict[str, str]:
    """Return how images are made for the files of a format."""
    return {
        "input": f"{FORMATS[kind].input}, RGB, upright, transparent parts on white",
        "resize": "before the graph: to image_size x image_size without keeping the aspect ratio, "
        "bilinear with antialiasing (Pillow's Image.Resampling.BILINEAR)",
        "normalisation": "inside the graph: ImageNet's mean and standard deviation",
    }


@dataclasses.dataclass(frozen=True)
class Details:
    """The card of an exported model.

    Attributes:
        architecture: Id of the architecture.
        gate: The Switch FFNs' gate.
        classes: What the outputs mean.
        image_size: Side of the images, pixels.
        threshold: Probability of "person" from which an image counts as one.
        parameters: Of the model.
    """

    architecture: str
    gate: str
    classes: tuple[str, ...]
    image_size: int
    threshold: float
    parameters: int

    @classmethod
    def of(cls, card: ModelCard, parameters: int) -> Details:
        """Return the card of a stored model's export."""
        names: tuple[str, ...] = ("no person", "person")
        if card.num_classes != len(names):
            names = tuple(f"class {index}" for index in range(card.num_classes))
        return cls(card.architecture, card.gate, names, card.image_size, card.threshold, parameters)

    @property
    def card(self) -> ModelCard:
        """The stored model's card; making it checks every value."""
        return ModelCard(
            self.architecture, self.gate, len(self.classes), self.image_size, self.threshold
        )


def content_of(details: Details, layers: list[str], kind: str = "onnx") -> dict[str, Any]:
    """Return what is stored in a file, as JSON.

    Args:
        details: The card.
        layers: Names of the Switch FFNs.
        kind: Name of the format.
    """
    return {
        "format": FORMAT,
        "card": to_dict(details),
        "preprocessing": preprocessing(kind),
        "layers": layers,
    }


def layers_of(model: onnx.ModelProto) -> list[str]:
    """Return the Switch FFNs' names of an ONNX model that was just stamped."""
    (text,) = (entry.value for entry in model.metadata_props if entry.key == KEY)
    names: list[str] = json.loads(text)["layers"]
    return names


def stamp(model: onnx.ModelProto, details: Details, layers: list[str]) -> None:
    """Write the card and a hash of the graph into an ONNX model.

    Args:
        model: Changed in place, last of all.
        details: The card.
        layers: Names of the Switch FFNs.
    """
    content = {**content_of(details, layers), "sha256": _digest(model)}
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, json.dumps(content)
    model.producer_name = "moenas"
    model.doc_string = ""


def read_stamp(model: onnx.ModelProto, path: object) -> tuple[Details, list[str]]:
    """Return the card and the Switch FFNs' names of an ONNX model.

    Raises:
        CheckpointError: It is not one of ours, or was changed.
    """
    texts = [entry.value for entry in model.metadata_props if entry.key == KEY]
    return read_content(texts[0] if texts else "null", path, _digest(model))


def read_content(text: str | bytes, path: object, sha256: str) -> tuple[Details, list[str]]:
    """Return the card and the Switch FFNs' names that a file holds as JSON.

    Args:
        text: What was found in the file.
        path: Of the file, for errors.
        sha256: The hash that it should name.

    Raises:
        CheckpointError: It is not one of ours, or was changed.
    """
    try:
        content: Any = json.loads(text)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' was not exported by moenas.")
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"'{path}' has export format {content.get('format')}, this version of moenas reads "
            f"{FORMAT}."
        )
    if content.get("sha256") != sha256:
        raise CheckpointError(f"'{path}' is damaged: its content does not match its stored hash.")
    try:
        values = content["card"]
        if not isinstance(values, dict):
            raise ConfigError("it is not a table of values.")
        details = from_dict(Details, values)
        _ = details.card
    except (KeyError, ConfigError, ModelError) as error:
        raise CheckpointError(f"The card in '{path}' cannot be used: {error}") from error
    layers = content.get("layers")
    if not isinstance(layers, list) or not all(isinstance(name, str) for name in layers):
        raise CheckpointError(f"The card in '{path}' cannot be used: it names no layers.")
    return details, layers


def _digest(model: onnx.ModelProto) -> str:
    return hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
