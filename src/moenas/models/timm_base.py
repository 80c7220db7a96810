"""Any model of a known timm family as a base model: its FFNs are found, its cost is measured.

An FFN is timm's ``Mlp`` or ``ConvMlp`` of two layers with biases around SiLU or GELU, from a width
to the same width, without norm or dropout inside. Layer scale, norms and stochastic depth lie
outside of it and stay what they are.
"""

from __future__ import annotations

import timm
from timm.layers import GELU, ConvMlp, Mlp
from torch import nn

from moenas.models.activation import Activation
from moenas.models.base_model import FFNLayer
from moenas.models.ffn import FFN
from moenas.models.measured import MeasuredModel
from moenas.models.timm_families import TIMM_FAMILIES, Family

_ACTIVATIONS: dict[type[nn.Module], Activation] = {nn.SiLU: "silu", nn.GELU: "gelu", GELU: "gelu"}


class TimmBase(MeasuredModel):
    """A timm model whose plain FFNs can become Switch FFNs.

    Nothing is known of it but its family: its FFNs are found in it.
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
        published = timm_name is None and timm.is_model_pretrained(name)
        super().__init__(name, self._timms, pretrained=published)

    def find_layers(self, model: nn.Module) -> tuple[FFNLayer, ...]:
        """Return timm's plain FFNs."""
        return tuple(FFNLayer(path, ffn.dim, ffn.hidden) for path, ffn in find_ffns(model).items())

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
        model = super().create(num_classes)
        for path, ffn in find_ffns(model).items():
            model.set_submodule(path, ffn)
        return model

    def _timms(self, num_classes: int) -> nn.Module:
        options = dict(self.family.options)
        model: nn.Module = timm.create_model(self.timm_name, num_classes=num_classes, **options)
        if self.family.adapt is not None:
            self.family.adapt(model)
        return model


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
