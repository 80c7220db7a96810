"""The base models that can be converted, by name."""

from __future__ import annotations

from collections.abc import Callable

import timm

from moenas.errors import ModelError, did_you_mean
from moenas.models.base_model import BaseModel
from moenas.models.mobilevitv2 import MobileViTV2
from moenas.models.timm_base import TimmBase
from moenas.models.timm_families import TIMM_FAMILIES, timm_names
from moenas.registry import Registry

BASES: Registry[BaseModel] = Registry("base model")
"""Named base models; `get_base` adds those of the families when they are asked for."""

FAMILIES: list[Callable[[str], BaseModel | None]] = [MobileViTV2.from_name, TimmBase.from_name]
"""Each returns the base model of a name, or None when the name is of another family."""

for _percent in (50, 75, 100, 125, 150, 175, 200):
    _base = MobileViTV2(_percent)
    BASES.add(_base.name, _base)


def get_base(name: str) -> BaseModel:
    """Return a base model by its name.

    Raises:
        ModelError: There is none of that name; a similar one is suggested.
    """
    base = find_base(name)
    if base is None:
        raise ModelError(f"There is no base model named '{name}'. {_advice(name)}")
    return base


def find_base(name: str) -> BaseModel | None:
    """Return a base model by its name, None where there is none."""
    if name in BASES:
        return BASES[name]
    for family in FAMILIES:
        base = family(name)
        if base is not None:
            return BASES.add(name, base)
    return None


def _advice(name: str) -> str:
    """What to write instead, and what there is."""
    if "." not in name and timm.is_model(name):
        hint = "timm has a model of that name, but of no family that is converted here."
    else:
        hint = did_you_mean(name, [*BASES, *timm_names()], otherwise="")
    families = ", ".join(family.name for family in TIMM_FAMILIES)
    return (
        f"{hint} Families: MobileViTV2 of any width (mobilevitv2_025 to _400), and by their names "
        f"in timm {families}. docs/extending.md shows how to add another."
    ).lstrip()
