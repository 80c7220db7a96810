"""A model on disk: one safetensors file that holds the weights and all they need to be used.

The metadata has the architecture, the gate, the classes, the image size, the decision threshold
and a hash of the content. Reading executes nothing, believes nothing and allocates no more than the
file's own size; whatever is wrong becomes a `CheckpointError`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, cast

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from moenas import config
from moenas.atomic import write_bytes
from moenas.errors import CheckpointError, ConfigError, ModelError
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import architecture_of
from moenas.models.cost import parameters_of
from moenas.models.switch_ffn import GATES, Gate

FORMAT = 1
_KEY = "moenas"
MAX_HEADER = 1 << 22
"""Bytes of the largest header that is parsed; ours have about 60 kB."""
MAX_IMAGE_SIZE = 4096


@dataclasses.dataclass(frozen=True)
class ModelCard:
    """What a stored model is and how it is used.

    Attributes:
        architecture: Id of the architecture.
        gate: The Switch FFNs' gate.
        num_classes: Classes of the head.
        image_size: Side in pixels of the square images it was trained on.
        threshold: Probability of "person" from which an image counts as one.
        extra: Further JSON values kept with it.
    """

    architecture: str
    gate: str
    num_classes: int
    image_size: int
    threshold: float = 0.5
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        Architecture.parse(self.architecture)
        if self.gate not in GATES:
            raise ModelError(f"Unknown gate '{self.gate}': use 'exact' or 'probability'.")
        if self.num_classes < 1:
            raise ModelError(f"A model needs at least one class, not {self.num_classes}.")
        if not 1 <= self.image_size <= MAX_IMAGE_SIZE:
            raise ModelError(
                f"The image size must be from 1 to {MAX_IMAGE_SIZE} pixels, not {self.image_size}."
            )
        if not 0 <= self.threshold <= 1:
            raise ModelError(f"The threshold is a probability, from 0 to 1, not {self.threshold}.")


def save_model(
    path: Path | str,
    model: nn.Module,
    *,
    image_size: int,
    threshold: float = 0.5,
    extra: dict[str, Any] | None = None,
) -> ModelCard:
    """Write a model atomically: the file is whole or not there.

    Args:
        path: Where; by convention ``*.safetensors``.
        model: From `build_model`, `upcycle` or `load_model`.
        image_size: Side in pixels of the images it was trained on.
        threshold: Decision threshold, 0 to 1.
        extra: JSON values to keep with it.

    Returns:
        The card that was stored.

    Raises:
        ModelError: The model is not one of ours, or a value is out of range.
        RunFolderError: The file cannot be written.
    """
    architecture = architecture_of(model)
    classes = cast(int, model.num_classes)
    parameters = parameters_of(architecture, classes)
    if sum(parameter.numel() for parameter in model.parameters()) != parameters:
        raise ModelError(
            f"This model was changed after it was built: its parameters are not those of "
            f"'{architecture.id}'. Save the model it was made from."
        )
    card = ModelCard(
        architecture=architecture.id,
        gate=cast(str, model.gate),
        num_classes=classes,
        image_size=image_size,
        threshold=threshold,
        extra=extra or {},
    )
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    try:
        json.dumps(card.extra, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise ModelError(f"The extra values cannot be stored as JSON: {error}.") from error
    values = config.to_dict(card)
    content = {"format": FORMAT, "card": values, "sha256": _hash(values, tensors)}
    metadata = {_KEY: json.dumps(content)}  # one key: the order of several is not fixed
    data = safetensors.torch.save(tensors, metadata)
    if int.from_bytes(data[:8], "little") > MAX_HEADER:
        raise ModelError(
            f"The extra values are too large to be read again: a model's file has room for "
            f"{MAX_HEADER >> 20} MiB of them. Keep them in a file beside it."
        )
    write_bytes(Path(path), data)
    return card


def load_model(path: Path | str) -> tuple[nn.Module, ModelCard]:
    """Read a model written by `save_model`.

    Returns:
        The model on the CPU in evaluation mode, and its card.

    Raises:
        CheckpointError: The file is missing, truncated, changed, unsafe, or not one of ours.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            content = _read_metadata(path, file.read(8 + MAX_HEADER), size)
            card = _read_card(path, content.get("card"))
            _check_size(path, card, size)
            file.seek(0)
            data = file.read(size)
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    try:
        tensors = safetensors.torch.load(data)
    except (safetensors.SafetensorError, ValueError, LookupError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"'{path}' is damaged or truncated: {error}.") from error
    if _hash(content["card"], tensors) != content.get("sha256"):
        raise CheckpointError(f"'{path}' is damaged: its content does not match its stored hash.")
    return _assemble(path, card, tensors), card


def read_card(path: Path | str) -> ModelCard:
    """Read what a stored model is from its first bytes; no weight is read, nothing is hashed.

    Raises:
        CheckpointError: The file is missing, truncated, or not one of ours.
    """
    path = Path(path)
    return _read_card(path, _read_start(path).get("card"))


def read_hash(path: Path | str) -> str:
    """Read the hash of a stored model's card and weights, as it was written with them.

    Raises:
        CheckpointError: As in `read_card`, and nothing else is looked at.
    """
    found = _read_start(Path(path)).get("sha256")
    if not isinstance(found, str):
        raise CheckpointError(f"'{path}' is damaged: it has no hash of its content.")
    return found


def _read_start(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return _read_metadata(path, file.read(8 + MAX_HEADER), path.stat().st_size)
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be read: {error.strerror or error}.") from error


def is_model_file(path: Path | str) -> bool:
    """Whether a file is of `save_model`, or so damaged that `load_model` is to say what it is."""
    try:
        with safetensors.safe_open(path, "pt") as file:
            return _KEY in (file.metadata() or {})
    except (safetensors.SafetensorError, OSError):
        return True


def _read_metadata(path: Path, start: bytes, size: int) -> dict[str, Any]:
    """Parse our part of a safetensors file's JSON header from the file's first bytes."""
    length = int.from_bytes(start[:8], "little")
    if start[8:9] != b"{" or length > MAX_HEADER or 8 + length > size:
        # A length may begin like a pickle: only what is no safetensors file is called one.
        if start[:1] == b"\x80" or start[:4] == b"PK\x03\x04":
            raise CheckpointError(
                f"'{path}' is a Python pickle, not a model of moenas. It was not opened: pickles "
                "can run code."
            )
        raise CheckpointError(f"'{path}' is truncated or not a model of moenas.")
    try:
        header = json.loads(start[8 : 8 + length])
        metadata = header.get("__metadata__") if isinstance(header, dict) else None
        text = metadata.get(_KEY) if isinstance(metadata, dict) else None
        content = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path}' has no readable header; it is damaged.") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"'{path}' was not written by moenas. To start from timm's weights use "
            "build_model(..., pretrained=PATH)."
        )
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"'{path}' has model format {content.get('format')}, this version of moenas reads "
            f"{FORMAT}."
        )
    return content


def _read_card(path: Path, values: Any) -> ModelCard:
    try:
        if not isinstance(values, dict):
            raise ConfigError("The card is not a table of values.")
        return config.from_dict(ModelCard, values)
    except (ConfigError, ModelError) as error:
        raise CheckpointError(f"The card in '{path}' cannot be used: {error}") from error


def _check_size(path: Path, card: ModelCard, size: int) -> None:
    """Refuse a card that does not fit the file's size, before reading or building anything."""
    architecture = Architecture.parse(card.architecture)
    parameters = parameters_of(architecture, card.num_classes)
    if 2 * parameters > size:  # a parameter has two bytes at least
        raise CheckpointError(
            f"'{path}' is damaged or truncated: {size} bytes cannot hold the {parameters} "
            f"parameters of '{card.architecture}'."
        )
    if size > 8 * 2 * parameters + MAX_HEADER:
        raise CheckpointError(f"'{path}' is too large for a model of '{card.architecture}'.")


def _assemble(path: Path, card: ModelCard, tensors: dict[str, Tensor]) -> nn.Module:
    architecture = Architecture.parse(card.architecture)
    model = build_model(
        architecture.base,
        architecture.experts,
        num_classes=card.num_classes,
        gate=cast(Gate, card.gate),
        seed=0,
        head=architecture.head,
    )
    wanted = model.state_dict()
    for name in wanted.keys() ^ tensors.keys():
        which = "lacks" if name in wanted else "has an unknown"
        raise CheckpointError(f"'{path}' {which} tensor '{name}' for '{card.architecture}'.")
    for name, tensor in tensors.items():
        fits = tensor.is_floating_point() == wanted[name].is_floating_point()
        if tensor.shape != wanted[name].shape or not fits:
            raise CheckpointError(
                f"'{path}' is not of '{card.architecture}': tensor '{name}' is "
                f"{list(tensor.shape)} {tensor.dtype}, not {list(wanted[name].shape)} "
                f"{wanted[name].dtype}."
            )
    model.load_state_dict(tensors)
    return model.eval()


def _hash(card: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the card and of the tensors' names, types, shapes and bytes."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
