"""Models that are trained and audited as they are: timm's, and the paper's fourteen by name.

They have no FFN that is converted here; where a model has, it is a base model and `bases` has it.
Some models take images of one size alone, and their tables of positions are of that size: for
another one timm builds another model, named here with the size: ``mixer_s32_224@96``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

import timm
from torch import nn

from moenas.errors import ModelError, did_you_mean
from moenas.models.base_model import BaseModel
from moenas.models.bases import find_base
from moenas.models.measured import MeasuredModel
from moenas.models.proxyless import proxyless_gpu
from moenas.registry import Registry

PAPER_MODELS = {
    "efficientvit_m0": "EfficientViT (m0)",
    "efficientvit_m1": "EfficientViT (m1)",
    "repghostnet_050": "RepGhostNet",
    "mobilevit_xxs": "MobileViT (xxs)",
    "lcnet_075": "LCNet",
    "mobilevit_s": "MobileViT (s)",
    "mobilevitv2_050": "MobileViTV2",
    "mobilenetv2_100": "MobileNetV2",
    "resnet18": "ResNet18",
    "mnasnet_small": "MnasNet (s)",
    "mobilenetv3_small_075": "MobileNetV3 (s)",
    "tinynet_e": "TinyNet (e)",
    "tinynet_d": "TinyNet (d)",
    "proxyless_gpu": "ProxylessNAS",
}
"""The fourteen edge models of the paper's Table I, by their names here and there."""

ZOO: Registry[BaseModel] = Registry("model")
"""Models without convertible FFNs; `get_model` adds timm's when they are asked for."""

_OWN = {"proxyless_gpu": proxyless_gpu}
"""Models that timm does not have. They are measured when they are asked for, not when imported."""


OWN_IN_TIMM = "moenas_"
"""Begins our names in timm's list (see `timm_entry`); they are no names here."""

_SIZED = re.compile(r"(?P<model>\w+)@(?P<size>[1-9]\d{1,3})")
"""A model's name and the side of its images, pixels."""


def get_model(name: str) -> BaseModel:
    """Return a base model, or any other model of timm, by its name.

    Raises:
        ModelError: There is none of that name; a similar one is suggested. Or timm cannot build it
            for images of the size in its name.
    """
    base = find_base(name)
    if base is not None:
        return base
    if name in ZOO:
        return ZOO[name]
    if not is_model(name):
        theirs = timm.list_models(exclude_filters=f"{OWN_IN_TIMM}*")
        hint = did_you_mean(name, [*PAPER_MODELS, *theirs])
        raise ModelError(f"There is no model named '{name}', neither here nor in timm. {hint}")
    build = _OWN.get(name) or functools.partial(_timms, name)
    published = "@" not in name and name not in _OWN and timm.is_model_pretrained(name)
    return ZOO.add(name, MeasuredModel(name, build, pretrained=published))


def is_model(name: str) -> bool:
    """Whether `get_model` knows the name."""
    sized = _SIZED.fullmatch(name)
    plain = sized["model"] if sized else name
    theirs = "." not in plain and not plain.startswith(OWN_IN_TIMM) and timm.is_model(plain)
    known = name in ZOO or name in _OWN or theirs
    return known or find_base(name) is not None


def module_of(name: str) -> str | None:
    """Return timm's module that has a model, without ``timm.models.``; None of what it lacks."""
    plain = name.partition("@")[0]
    if not timm.is_model(plain):
        return None
    return str(timm.models.model_entrypoint(plain).__module__).rpartition(".")[2]


def model_for(name: str, image_size: int) -> str:
    """Return the name of the model for images of a size: ``name`` itself, if that takes them.

    Raises:
        ModelError: There is no model of that name, or it cannot take such images.
    """
    try:
        get_model(name).dense_macs(image_size, 2)
    except ModelError as error:
        sized = f"{name}@{image_size}"
        if not is_model(name) or not _SIZED.fullmatch(sized):
            raise
        try:
            get_model(sized).dense_macs(image_size, 2)
        except ModelError:
            raise error from None
        return sized
    return name


def models_for(names: Iterable[str], image_size: int) -> dict[str, str]:
    """Return `model_for` of each name.

    Raises:
        ModelError: Lists all that cannot take such images.
    """
    found, wrong = {}, []
    for name in names:
        try:
            found[name] = model_for(name, image_size)
        except ModelError as error:
            wrong.append(str(error))
    if wrong:
        raise ModelError("\n".join(wrong))
    return found


def _timms(name: str, num_classes: int) -> nn.Module:
    sized = _SIZED.fullmatch(name)
    model: nn.Module
    if sized is None:
        model = timm.create_model(name, num_classes=num_classes)
        return model
    size = int(sized["size"])
    try:
        model = timm.create_model(sized["model"], num_classes=num_classes, img_size=size)
    except (TypeError, ValueError, AssertionError, RuntimeError, ZeroDivisionError) as error:
        raise ModelError(
            f"'{sized['model']}' cannot be built for images of {size} pixels: {error}"
        ) from error
    return model
