"""Models that are trained and audited as they are: timm's, and the paper's fourteen by name.

They have no FFN that is converted here; where a model has, it is a base model and `bases` has it.
"""

from __future__ import annotations

import functools

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


def get_model(name: str) -> BaseModel:
    """Return a base model, or any other model of timm, by its name.

    Raises:
        ModelError: There is none of that name; a similar one is suggested.
    """
    base = find_base(name)
    if base is not None:
        return base
    if name in ZOO:
        return ZOO[name]
    if not is_model(name):
        hint = did_you_mean(name, [*PAPER_MODELS, *timm.list_models()])
        raise ModelError(f"There is no model named '{name}', neither here nor in timm. {hint}")
    build = _OWN.get(name) or functools.partial(_timms, name)
    published = name not in _OWN and timm.is_model_pretrained(name)
    return ZOO.add(name, MeasuredModel(name, build, pretrained=published))


def is_model(name: str) -> bool:
    """Whether `get_model` knows the name."""
    known = name in ZOO or name in _OWN or ("." not in name and timm.is_model(name))
    return known or find_base(name) is not None


def _timms(name: str, num_classes: int) -> nn.Module:
    model: nn.Module = timm.create_model(name, num_classes=num_classes)
    return model
