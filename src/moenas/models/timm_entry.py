"""Our models in timm's list: ``timm.create_model("moenas_mobilevitv2_050", experts=(1, 8, ...))``.

`register` adds a name for each base model, and one by which any model can be asked for.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import timm
from timm.models import (
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    resolve_pretrained_cfg,
)
from torch import nn

from moenas.errors import ModelError
from moenas.models.hub_config import PREPROCESSING
from moenas.models.timm_building import build, is_count
from moenas.models.timm_names import ANY, named_bases
from moenas.models.zoo import OWN_IN_TIMM

default_cfgs: dict[str, Any] = {}
"""How images are prepared for each name; timm looks for it by this name."""


def register() -> None:
    """Make timm know our models; a second call changes nothing."""
    if timm.is_model(ANY):
        return
    names = {f"{OWN_IN_TIMM}{base}": base for base in named_bases()}
    described = {name: _default_cfg(base) for name, base in names.items()}
    described[ANY] = dict(PREPROCESSING)
    default_cfgs.update(generate_default_cfgs(described))
    for name, base in names.items():
        register_model(_entry(name, functools.partial(_create, name, base)))
    register_model(_entry(ANY, functools.partial(_create_any, ANY)))


def _entry(name: str, create: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """A function as timm's register takes it: it reads the name and the module."""

    def entry(pretrained: bool = False, **options: Any) -> nn.Module:
        return create(pretrained=pretrained, **options)

    entry.__name__, entry.__module__ = name, __name__
    setattr(sys.modules[__name__], name, entry)
    return entry


def _default_cfg(base: str) -> dict[str, Any]:
    """What timm has for the base model, but images are prepared as everywhere in moenas."""
    known = timm.get_pretrained_cfg(base)
    values: dict[str, Any] = dataclasses.asdict(known) if known else {}
    values.pop("tag", None)
    return values | PREPROCESSING | {"fixed_input_size": False, "custom_load": False}


def _create_any(name: str, *, base: str | None = None, **options: Any) -> nn.Module:
    if not isinstance(base, str):
        raise ModelError(f"'{ANY}' needs the name of a base model: base='mobilevitv2_083'.")
    return _create(name, base, **options)


def _create(
    name: str,
    base: str,
    *,
    pretrained: bool,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: str | Path | None = None,
    **options: Any,
) -> nn.Module:
    """Build what timm asks for, with its description of images attached as timm does."""
    try:
        cfg = resolve_pretrained_cfg(name, pretrained_cfg, pretrained_cfg_overlay)
    except (TypeError, AttributeError) as error:
        raise ModelError(f"The pretrained_cfg of '{name}' cannot be used: {error}.") from error
    size = cfg.input_size
    if not isinstance(size, Sequence) or len(size) != 3 or not all(map(is_count, size)):
        raise ModelError(f"The input_size of '{name}' must be three whole numbers, not {size!r}.")
    if not isinstance(cfg.num_classes, int):
        raise ModelError(f"'{name}' cannot have {cfg.num_classes!r} classes.")
    cfg = dataclasses.replace(cfg, input_size=tuple(size), fixed_input_size=False)

    def make(**asked: Any) -> nn.Module:
        return build(base, cfg if pretrained else None, cache_dir, **asked)

    model: nn.Module = build_model_with_cfg(
        make,
        name,
        False,
        pretrained_cfg=dataclasses.asdict(cfg),
        feature_cfg={"feature_cls": "getter"},  # features_only: by the model's own method
        **options,
    )
    return model
