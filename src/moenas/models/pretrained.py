"""Published and local weights for base models; no file can run code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from moenas.errors import CheckpointError, ModelError
from moenas.models.base_model import BaseModel

_HEADS = ("head", "head.fc", "head_dist")
"""Names of the classifier where timm does not tell; a norm in front of it is no part of it."""


def load_pretrained(model: nn.Module, base: BaseModel, source: bool | str | Path) -> None:
    """Load weights into a dense model in place; the head is kept only where its shape fits.

    Args:
        model: From ``base.create``.
        base: Its description.
        source: True for timm's published weights; a path for a local ``.safetensors`` (or a torch
            file that holds tensors only) with timm's names for this base model.

    Raises:
        ModelError: The weights are not reachable, or timm has none of this name.
        CheckpointError: The file is missing, damaged, unsafe, or of another model.
    """
    if isinstance(source, bool):
        tensors, where = _published(base), f"timm's weights for '{base.name}'"
    else:
        path = Path(source)
        tensors, where = read_tensors(path), f"'{path}'"
    wanted, head = model.state_dict(), _head(base)
    chosen = {
        name: tensor
        for name, tensor in tensors.items()
        if not (name in head and tensor.shape != wanted.get(name, tensor).shape)
    }
    missing = sorted(name for name in wanted if name not in chosen and name not in head)
    foreign = sorted(name for name in chosen if name not in wanted)
    wrong = sorted(n for n in chosen if n in wanted and chosen[n].shape != wanted[n].shape)
    for names, what in (
        (missing, "lacks"),
        (foreign, "has unknown"),
        (wrong, "has other sizes of"),
    ):
        if names:
            listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
            raise CheckpointError(
                f"{where} is not of the base model '{base.name}': it {what} {listed}."
            )
    model.load_state_dict(chosen, strict=False)


def published(name: str) -> tuple[str, str] | None:
    """The Hub's id and the licence of timm's weights for a model; None where it has none."""
    known = timm.get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        return None
    return str(known.hf_hub_id), str(known.license or "unknown")


def _head(base: BaseModel) -> set[str]:
    """Names of the tensors whose sizes the number of classes decides."""
    known = timm.get_pretrained_cfg(base.name)
    layers = _HEADS if known is None or known.classifier is None else known.classifier
    layers = (layers,) if isinstance(layers, str) else layers
    last = (layer + part for layer in layers for part in ("", ".expand"))  # of a narrow head, too
    return {f"{layer}.{kind}" for layer in last for kind in ("weight", "bias")}


def _published(base: BaseModel) -> Mapping[str, Tensor]:
    if not base.pretrained:
        raise ModelError(
            f"timm publishes no weights for '{base.name}': pass a local file, or pretrained=False."
        )
    try:
        tensors: dict[str, Tensor] = timm.create_model(base.name, pretrained=True).state_dict()
    except Exception as error:  # the hub client's errors share no base class
        raise ModelError(
            f"The published weights for '{base.name}' are not reachable "
            f"({type(error).__name__}): pass the path of a local .safetensors file, or "
            "pretrained=False."
        ) from error
    return tensors


def read_tensors(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict from a ``.safetensors`` file, or a torch file that holds tensors only.

    Raises:
        CheckpointError: It is missing, damaged, or holds anything else than tensors.
    """
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
            tensors = _state_dict(content)
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except Exception as error:  # on foreign bytes the readers raise errors of many kinds
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"'{path}' cannot be read as a file of tensors (nothing in it was executed): {reason}"
        ) from error
    return tensors


def _state_dict(content: object) -> dict[str, Tensor]:
    """Find the tensors in what training scripts save: plain, or under a key."""
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError("it holds no state dict")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}
