"""A model of which nothing is known but how it is built: its size and work are measured.

Parameters are read from copies without storage (torch's meta device), and its work is what torch
counts while such a copy runs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from moenas.errors import ModelError
from moenas.models.base_model import BaseModel, FFNLayer
from moenas.models.classifier import find_classifier


@dataclasses.dataclass(frozen=True)
class Work:
    """What one image costs: multiply-accumulates, and tokens in each FFN."""

    macs: int
    tokens: tuple[int, ...]


class MeasuredModel(BaseModel):
    """A model built by a function; subclasses say where its FFNs are."""

    def __init__(self, name: str, build: Callable[[int], nn.Module], pretrained: bool) -> None:
        """Describe a model.

        Args:
            name: Its name.
            build: From a number of classes to the model, initialised at random.
            pretrained: Whether timm publishes weights under this name.
        """
        self.build = build
        one_class, two_classes = (_without_storage(build, n) for n in (1, 2))
        super().__init__(name, self.find_layers(one_class), pretrained)
        classifier = find_classifier(one_class)
        width = getattr(classifier[1], "in_features", None) if classifier else None
        self._pooled_width: int | None = width
        self._one_class = _parameters(one_class)
        self._each_further = _parameters(two_classes) - self._one_class
        self._work: dict[tuple[int, int], Work] = {}

    def find_layers(self, model: nn.Module) -> tuple[FFNLayer, ...]:
        """Return the FFNs that can become Switch FFNs; none by default."""
        return ()

    @property
    def pooled_width(self) -> int | None:
        """Inputs of the classifier, None where there is no single linear one."""
        return self._pooled_width

    def create(self, num_classes: int) -> nn.Module:
        """Return the model, initialised at random."""
        result: nn.Module = self.build(num_classes).to(memory_format=torch.channels_last)
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
            try:
                with torch.no_grad(), FlopCounterMode(display=False) as counter:
                    model(image)
            except (RuntimeError, AssertionError, ValueError) as error:
                raise ModelError(
                    f"'{self.name}' cannot take images of {image_size} pixels: {error}"
                ) from error
            macs = counter.get_total_flops() // 2
            self._work[key] = Work(macs, tuple(tokens[layer.name] for layer in self.layers))
        return self._work[key]


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
