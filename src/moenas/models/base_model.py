"""What MoENAS must know of a base model: where its FFNs are and what it costs."""

from __future__ import annotations

import abc
import dataclasses

from torch import nn


@dataclasses.dataclass(frozen=True)
class FFNLayer:
    """One FFN of a base model that can become a Switch FFN.

    Attributes:
        name: Path of the FFN module in the model, e.g. ``"stages.2.1.transformer.0.mlp"``.
        dim: Width d of a token.
        hidden: Width h of the hidden layer.
    """

    name: str
    dim: int
    hidden: int

    @property
    def expert_parameters(self) -> int:
        """Parameters of one expert: two linear layers with biases."""
        return 2 * self.dim * self.hidden + self.hidden + self.dim


class BaseModel(abc.ABC):
    """A dense model with FFNs that can be converted.

    A family of timm whose FFNs are plain is a line in `timm_families`. For any other model,
    subclass this in a file of its own and list its ``from_name`` in `bases`.
    """

    def __init__(self, name: str, layers: tuple[FFNLayer, ...], pretrained: bool) -> None:
        """Describe a base model.

        Args:
            name: Its name; timm's where timm has it.
            layers: Its FFNs in the order in which an image passes them.
            pretrained: Whether timm publishes weights under this name.
        """
        self.name = name
        self.layers = layers
        self.pretrained = pretrained

    @property
    def wider(self) -> str | None:
        """Name of the next wider model of the same kind, or None where there is none to name."""
        return None

    @property
    def pooled_width(self) -> int | None:
        """Width of the pooled features that one linear classifier sees, None where not known.

        A base model that tells it, and whose model has ``get_classifier()``, can have other heads.
        """
        return None

    @abc.abstractmethod
    def create(self, num_classes: int) -> nn.Module:
        """Return the dense model, initialised at random.

        Its state dict has timm's names and shapes where timm has the model. Each module named by
        `layers` is an `FFN`.
        """

    @abc.abstractmethod
    def dense_parameters(self, num_classes: int) -> int:
        """Parameters of the dense model."""

    @abc.abstractmethod
    def dense_macs(self, image_size: int, num_classes: int) -> int:
        """Multiply-accumulates of the dense model's convolutions and matrix products, one image."""

    @abc.abstractmethod
    def tokens(self, image_size: int) -> tuple[int, ...]:
        """Tokens of one image in each layer."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, {len(self.layers)} FFNs)"
