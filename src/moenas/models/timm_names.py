"""The names by which timm knows our models, and what it must be told to build one of them."""

from __future__ import annotations

from typing import Any

import timm

from moenas.models.architecture import Architecture
from moenas.models.bases import BASES, find_base
from moenas.models.timm_base import TimmBase
from moenas.models.timm_families import timm_names
from moenas.models.zoo import OWN_IN_TIMM

ANY = f"{OWN_IN_TIMM}model"
"""Builds any model by the name of its ``base``: also those that have no name of their own."""


def named_bases() -> list[str]:
    """The base models that get a name in timm's list, behind `OWN_IN_TIMM`: those timm has.

    `BASES` grows while names are asked for; this list must not.
    """
    return sorted({name for name in (*BASES, *timm_names()) if timm.is_model(name)})


def timm_arguments(architecture: Architecture, gate: str) -> tuple[str, dict[str, Any]]:
    """Return the name for ``timm.create_model`` and its further arguments, JSON values.

    A model that is timm's own as it stands keeps timm's name, so that timm alone can load it.
    """
    base = architecture.base
    if architecture.dense and architecture.head is None:
        plain, _, size = base.partition("@")
        if timm.is_model(plain) and not _changed(plain):
            return plain, {"img_size": int(size)} if size else {}
    arguments: dict[str, Any] = {}
    name = f"{OWN_IN_TIMM}{base}"
    if base not in named_bases():
        name, arguments = ANY, {"base": base}
    if not architecture.dense:
        arguments |= {"experts": list(architecture.experts), "gate": gate}
    if architecture.head is not None:
        arguments["head"] = architecture.head.id
    return name, arguments


def _changed(name: str) -> bool:
    """Whether timm's model of that name is built or used in another way here."""
    base = find_base(name)
    return isinstance(base, TimmBase) and bool(base.family.options or base.family.adapt)
