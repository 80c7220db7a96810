"""The training state: saved now and then, so that a resumed run ends in the same weights.

One safetensors file holds all tensors (model, moving average, best weights, optimiser), and in its
header the rest as JSON with a hash of all. The state before it is kept until the next is
whole: a truncated file costs an epoch at most, never the run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from moenas.atomic import write_bytes
from moenas.console import logger
from moenas.errors import CheckpointError, RunFolderError
from moenas.parsing import parse_json

Tensors = dict[str, torch.Tensor]


@dataclasses.dataclass
class TrainingState:
    """All that a training needs to go on.

    Attributes:
        modules: State dicts by name (``model``, ``ema``, ``best``).
        optimizer: The optimiser's state dict.
        progress: JSON-ready values: epochs done, history, best score.
    """

    modules: dict[str, Tensors]
    optimizer: dict[str, Any]
    progress: dict[str, Any]


def save_state(path: Path, state: TrainingState) -> None:
    """Write the state; the one before becomes ``*.previous``."""
    tensors: Tensors = {}
    for module, values in state.modules.items():
        tensors.update({f"{module}/{name}": value for name, value in values.items()})
    scalars: dict[str, Any] = {}
    groups = dict(enumerate(state.optimizer["param_groups"]))
    for kind, slots in (("optimizer", state.optimizer["state"]), ("group", groups)):
        for index, slot in slots.items():
            for name, value in slot.items():
                kept = tensors if isinstance(value, torch.Tensor) else scalars
                kept[f"{kind}/{index}/{name}"] = value
    header = {"progress": state.progress, "scalars": scalars}
    data = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    text = json.dumps(header)
    metadata = {"moenas_state": text, "sha256": _hash(data, text)}
    if path.exists():
        path.replace(_previous(path))
    write_bytes(path, safetensors.torch.save(data, metadata))


def load_state(path: Path) -> TrainingState | None:
    """Return the newest whole state, or None where there is none to go on from.

    Raises:
        RunFolderError: One is there and cannot be read now: it may be whole, and stays.
    """
    for candidate in (path, _previous(path)):
        if not candidate.exists():
            continue
        try:
            return _read(candidate)
        except CheckpointError as error:
            candidate.unlink(missing_ok=True)  # or it would take the place of the one before it
            rest = _previous(path).exists()
            logger.warning(
                "%s %s", error, "The one before it is used." if rest else "It is trained anew."
            )
    return None


def drop_state(path: Path) -> None:
    """Remove the states of a training that is finished."""
    path.unlink(missing_ok=True)
    _previous(path).unlink(missing_ok=True)


def _previous(path: Path) -> Path:
    return path.with_name(path.name + ".previous")


def _hash(tensors: Tensors, header: str) -> str:
    """SHA-256 of our part of the header and of the tensors' names, types, shapes and bytes."""
    digest = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> TrainingState:
    try:
        body = path.read_bytes()
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load(body)
        if metadata["sha256"] != _hash(tensors, metadata["moenas_state"]):
            raise CheckpointError(f"The training state '{path}' is damaged.")
        return _state(tensors, parse_json(metadata["moenas_state"]))
    except (CheckpointError, MemoryError):
        raise
    except OSError as error:
        raise RunFolderError(
            f"The training state '{path}' cannot be read: {error.strerror or error}. It may be "
            "whole: when the disk answers again, the same command goes on from it."
        ) from error
    except Exception as error:  # what was not saved by us fails in many ways
        raise CheckpointError(f"The training state '{path}' is damaged ({error}).") from error


def _state(tensors: Tensors, header: Any) -> TrainingState:
    """Put the names that `save_state` made apart."""
    modules: dict[str, Tensors] = {}
    slots: dict[str, dict[int, dict[str, Any]]] = {"optimizer": {}, "group": {}}
    for key, value in {**tensors, **header["scalars"]}.items():
        kind, rest = key.split("/", 1)
        if kind in slots:
            index, name = rest.split("/", 1)
            slots[kind].setdefault(int(index), {})[name] = value
        else:
            modules.setdefault(kind, {})[rest] = value
    groups = [slots["group"][index] for index in sorted(slots["group"])]
    optimizer = {"state": slots["optimizer"], "param_groups": groups}
    progress = header["progress"]
    if not isinstance(progress, dict):
        raise ValueError("its progress is no table of values")
    return TrainingState(modules, optimizer, progress)
