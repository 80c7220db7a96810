"""The base models that can be converted, by name."""

from __future__ import annotations

from collections.abc import Callable

from moenas.errors import ModelError, did_you_mean
from moenas.models.base_model import BaseModel
from moenas.models.mobilevitv2 import MobileViTV2
from moenas.registry import Registry

BASES: Registry[BaseModel] = Registry("base model")
"""Named base models; `get_base` also makes those of a family's other sizes."""

FAMILIES: list[Callable[[str], BaseModel | None]] = [MobileViTV2.from_name]
"""Each returns the base model of a name, or None when the name is of another family."""

for _percent in (50, 75, 100, 125, 150, 175, 200):
    _base = MobileViTV2(_percent)
    BASES.add(_base.name, _base)


def get_base(name: str) -> BaseModel:
    """Return a base model by its name.

    Raises:
        ModelError: There is none of that name; a similar one is suggested.
    """
    if name in BASES:
        return BASES[name]
    for family in FAMILIES:
        base = family(name)
        if base is not None:
            return BASES.add(name, base)
    raise ModelError(f"There is no base model named '{name}'. {did_you_mean(name, BASES)}")
