"""Any model of a known timm family as a base model: its FFNs are found, its cost is measured.

An FFN is timm's ``Mlp`` or ``ConvMlp`` of two layers with biases around SiLU or GELU, from a width
to the same width, without norm or dropout inside. Layer scale, norms and stochastic depth lie
outside of it and stay what they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import timm
import torch
from timm.layers import GELU, ConvMlp, Mlp
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from moenas.models.activation import Activation
from moenas.models.base_model import BaseModel, FFNLayer
from moenas.models.ffn import FFN
from moenas.models.timm_families import TIMM_FAMILIES, Family

_ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.SiLU: "silu", nn.GELU: "gelu", GELU: "gelu"}


@dataclasses.dataclass(frozen=True)
class Work:
    """What one image costs: multiply-accumulates, and tokens in each FFN."""

    macs: int
    tokens: tuple[int, ...]


class TimmBase(BaseModel):
    """A timm model whose plain FFNs can become Switch FFNs.

    Nothing is known of it but its family. Its FFNs and parameters are read from a copy without
    storage (torch's meta device), and its work is what torch counts while such a copy runs.
    """

    def __init__(self, name: str, family: Family, timm_name: str | None = None) -> None:
        """Describe a model.

        Args:
            name: Its name here.
            family: Its family.
            timm_name: Its name in timm where that is another one: ``family.options`` may change
                its width and depth. timm publishes no weights for such a model.
        """
        self.family = family
        self.timm_name = timm_name or name
        one_class, two_classes = (_without_storage(self._timms, n) for n in (1, 2))
        layers = tuple(
            FFNLayer(path, ffn.dim, ffn.hidden) for path, ffn in find_ffns(one_class).items()
        )
        published = timm_name is None and timm.is_model_pretrained(name)
        super().__init__(name, layers, pretrained=published)
        self._one_class = _parameters(one_class)
        self._each_further = _parameters(two_classes) - self._one_class
        self._work: dict[tuple[int, int], Work] = {}

    @classmethod
    def from_name(cls, name: str) -> TimmBase | None:
        """Return the base model of that name, None when no family has it or it has no FFN."""
        for family in TIMM_FAMILIES:
            if family.has(name):
                base = cls(name, family)
                return base if base.layers else None
        return None

    def create(self, num_classes: int) -> nn.Module:
        """Return timm's model, initialised as timm does, with our FFNs in place of its own."""
        model = self._timms(num_classes)
        for path, ffn in find_ffns(model).items():
            model.set_submodule(path, ffn)
        result: nn.Module = model.to(memory_format=torch.channels_last)
        return result

    def dense_parameters(self, num_classes: int) -> int:
        """Parameters of the dense model: they grow linearly with the classes."""
        return self._one_class + (num_classes - 1) * self._each_further

    def dense_macs(self, image_size: int, num_classes: int) -> int:
        """Multiply-accumulates of the dense model's convolutions and matrix products, one image."""
        return self._measure(image_size, num_classes).macs

    def tokens(self, image_size: int) -> tuple[int, ...]:
        """Tokens of one image in each layer."""
        return self._measure(image_size, 2).tokens

    def _timms(self, num_classes: int) -> nn.Module:
        options = dict(self.family.options)
        model: nn.Module = timm.create_model(self.timm_name, num_classes=num_classes, **options)
        if self.family.adapt is not None:
            self.family.adapt(model)
        return model

    def _measure(self, image_size: int, num_classes: int) -> Work:
        """Run a copy without storage; some tenths of a second, once for each image size."""
        key = image_size, num_classes
        if key not in self._work:
            model = _without_storage(self.create, num_classes).eval()
            tokens: dict[str, int] = {}
            for layer in self.layers:

                def count(ffn: Any, inputs: tuple[Tensor], _: Any, name: str = layer.name) -> None:
                    tokens[name] = inputs[0].numel() // ffn.dim

                model.get_submodule(layer.name).register_forward_hook(count)
            image = torch.empty(1, 3, image_size, image_size, device="meta")
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                model(image)
            macs = counter.get_total_flops() // 2
            self._work[key] = Work(macs, tuple(tokens[layer.name] for layer in self.layers))
        return self._work[key]


def find_ffns(model: nn.Module) -> dict[str, FFN]:
    """Return, by module name and in the order of the model, FFNs on the parameters of timm's own.

    Others, such as EfficientFormer's with batch norms inside or ConvNeXt V2's with response
    normalisation, are left out.
    """
    found: dict[str, FFN] = {}
    for path, module in model.named_modules():
        if not isinstance(module, Mlp | ConvMlp):
            continue
        fc1, fc2, activation = module.fc1, module.fc2, _ACTIVATIONS.get(type(module.act))
        dropouts = [m for m in module.children() if isinstance(m, nn.Dropout)]
        if activation is None:
            continue
        plain = (
            fc1.bias is not None
            and fc2.bias is not None
            and fc1.weight.flatten(1).shape == fc2.weight.flatten(1).t().shape
            and isinstance(module.norm, nn.Identity)
            and not any(dropout.p for dropout in dropouts)
            and type(module).forward in (Mlp.forward, ConvMlp.forward)
        )
        if plain:
            # timm's convolutions take maps, its linear layers tokens
            first = isinstance(fc1, nn.Conv2d)
            found[path] = FFN(fc1, fc2, activation, channels_first=first).train(module.training)
    return found


def _without_storage(make: Callable[[int], nn.Module], num_classes: int) -> nn.Module:
    """Build a model on the meta device; torch's generator is left alone."""
    try:
        with torch.device("meta"):
            return make(num_classes)
    except RuntimeError:  # older releases of timm read values while they build
        with torch.random.fork_rng(devices=[]):
            return make(num_classes).to("meta")


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
