"""A model of ours by timm's arguments, with weights from where timm was told to find them.

What timm asks for by other arguments than ours is refused, never ignored. ``config.json`` may be
anybody's: every value is checked, and of all the places that it may name for weights none is
believed but the folder or repository it came from. Weights are read from safetensors files alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from moenas.errors import CheckpointError, ModelError
from moenas.models import hub_files
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import architecture_of
from moenas.models.heads import Head
from moenas.models.pretrained import load_pretrained, published
from moenas.models.storage import is_model_file, load_model
from moenas.models.switch_ffn import Gate
from moenas.models.zoo import get_model

MAX_CLASSES = 100_000
"""More are a mistake or an attack: ``config.json`` may ask for any number."""


def build(
    base: str,
    cfg: Any,
    cache_dir: str | Path | None,
    *,
    num_classes: int,
    in_chans: int = 3,
    experts: Sequence[int] | None = None,
    gate: Gate = "exact",
    head: str | None = None,
    global_pool: str | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    **unknown: Any,
) -> nn.Module:
    """Build a model, to be trained on.

    Args:
        base: Name of the base model.
        cfg: timm's ``PretrainedCfg``, which says where weights are; None for random ones.
        cache_dir: Of downloads; None for huggingface_hub's own.
        num_classes: 0 for a model that returns its pooled features.
        in_chans: 3.
        experts: See `build_model`; so are gate and head.
        gate: See there.
        head: Id of one.
        global_pool: The base model's own, or None.
        drop_rate: 0.
        drop_path_rate: 0.
        **unknown: None.

    Raises:
        ModelError: An argument is not of ours or out of range; weights cannot be reached.
        CheckpointError: The weights cannot be used, or are of another model.
    """
    if in_chans != 3:
        raise ModelError(f"Models of moenas take images of 3 channels, not in_chans={in_chans!r}.")
    if drop_rate or drop_path_rate:
        raise ModelError("Models of moenas take no drop_rate and no drop_path_rate.")
    if unknown:
        raise ModelError(
            f"Models of moenas take no {', '.join(sorted(unknown))}: only experts, gate, head and "
            "num_classes. Images may have any size."
        )
    if not (is_count(num_classes) or num_classes == 0) or num_classes > MAX_CLASSES:
        raise ModelError(f"num_classes must be from 0 to {MAX_CLASSES}, not {num_classes!r}.")
    wanted = _architecture(base, experts, head)
    classes = num_classes or 1
    if cfg is None:
        model = _fresh(wanted, classes, gate)
    elif cfg.source in ("hf-hub", "local-dir"):
        model = _stored(wanted, classes, gate, _saved_file(cfg, cache_dir))
    else:
        model = _fresh(wanted, classes, gate, _start(base, cfg, cache_dir))
    if global_pool not in (None, _pooling(model)):
        raise ModelError(f"'{base}' pools by '{_pooling(model)}', not by '{global_pool}'.")
    # What timm noted while the base model was built is no argument of ours
    vars(model).pop("_model_args", None)
    getattr(model, "_traits", {}).pop("img_size", None)
    if num_classes == 0:
        model.reset_classifier(0)  # type: ignore[operator]
    # timm's scripts choose the layout themselves, and its safetensors writer takes this one alone
    return model.train().to(memory_format=torch.contiguous_format)


def _architecture(base: str, experts: Any, head: Any) -> Architecture:
    """Check what ``config.json`` or a command line may have brought."""
    if head is not None and not isinstance(head, str):
        raise ModelError(f"A head is written like 'quantum8x2', not {head!r}.")
    if experts is not None and not isinstance(experts, list | tuple):
        raise ModelError(
            f"experts must be one whole number for each layer, as (1, 8, 3), not {experts!r}."
        )
    architecture = Architecture.dense_base(base)
    if experts is not None:
        architecture = architecture.with_experts(experts)
    return architecture.with_head(Head.parse(head) if head else None)


def _fresh(
    architecture: Architecture, num_classes: int, gate: Gate, start: bool | Path = False
) -> nn.Module:
    return build_model(
        architecture.base,
        architecture.experts,
        num_classes=num_classes,
        pretrained=start,
        gate=gate,
        head=architecture.head,
    )


def _stored(wanted: Architecture, num_classes: int, gate: Gate, path: Path) -> nn.Module:
    """Load a saved model: of `save_pretrained`, checked; or of timm's own ``save_for_hf``."""
    if is_model_file(path):
        model, card = load_model(path)
        if (architecture_of(model), card.gate) != (wanted, _gate_of(wanted, gate, card.gate)):
            raise CheckpointError(
                f"'{path}' has the model '{card.architecture}' (gate '{card.gate}'), not "
                f"'{wanted.id}' (gate '{gate}'), which its {hub_files.CONFIG} or the call asks for."
            )
        if card.num_classes == num_classes:
            return model
    model = _fresh(wanted, num_classes, gate)
    load_pretrained(model, get_model(wanted.base), path)
    return model


def _gate_of(wanted: Architecture, asked: str, stored: str) -> str:
    """The gate that a file must have: a dense model has none, whatever is written."""
    return stored if wanted.dense else asked


def _saved_file(cfg: Any, cache_dir: str | Path | None) -> Path:
    """The weights of the folder or repository that timm was asked for; nothing else in ``cfg``."""
    if cfg.source == "local-dir":
        return hub_files.in_folder(Path(cfg.file))
    repo_id, _, revision = str(cfg.hf_hub_id).partition("@")
    return hub_files.on_hub(repo_id, revision=revision or None, cache_dir=cache_dir)


def _start(base: str, cfg: Any, cache_dir: str | Path | None) -> bool | Path:
    """Weights of the dense base model, from which a new model starts: see `build_model`."""
    if cfg.file:
        path = Path(cfg.file)
        if path.suffix != ".safetensors":
            raise CheckpointError(f"'{path}' is not read: weights come from .safetensors files.")
        return path
    known = published(base)
    if cfg.state_dict or not cfg.hf_hub_id or (known and known[0] == cfg.hf_hub_id):
        if cfg.state_dict:
            raise ModelError("Weights are taken from a file: pretrained_cfg_overlay={'file': ...}.")
        return True
    return hub_files.on_hub(cfg.hf_hub_id, cache_dir=cache_dir)


def _pooling(model: nn.Module) -> str | None:
    """How a model pools, by timm's word; timm stores it with a model that it saves."""
    for owner in (getattr(model, "head", None), model):
        pool = getattr(owner, "global_pool", None)
        pool = getattr(pool, "pool_type", pool)
        if isinstance(pool, str):
            return pool
    return None


def is_count(value: object) -> bool:
    """Whether a value is a whole number from 1."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
