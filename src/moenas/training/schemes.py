"""Training schemes: complete recipes as frozen values; a run changes them with ``replace``."""

from __future__ import annotations

import dataclasses
import math

from moenas.data.transforms import TRANSFORMS
from moenas.errors import ConfigError
from moenas.registry import Registry


@dataclasses.dataclass(frozen=True)
class Scheme:
    """A complete training recipe.

    Attributes:
        name: Its name in `SCHEMES`.
        epochs: Passes over the training images; the last one may be a part: 0.5 is half of one.
        batch_size: Images per optimiser step.
        optimizer: Name in timm's optimiser registry.
        learning_rate: Peak learning rate.
        final_learning_rate: Learning rate at the end of the cosine.
        warmup: Share of all steps in which the learning rate rises linearly, 0–1.
        weight_decay: Of matrices; biases and norms have none.
        label_smoothing: Of the cross entropy, 0–1.
        gradient_clip: Largest norm of the gradient, or None.
        ema_decay: Decay of the moving average of the weights, or None for none. It warms up, so
            that short trainings are averaged over fewer steps.
        augmentation: Name of the training transform.
        small_share: Share of the steps, the first ones, that see images of two thirds of the side:
            they cost less than half and teach nearly as much (progressive learning,
            EfficientNetV2, Section 4.2). 0 for none.
        balance_weight: Weight of the load balancing loss (Switch Transformer, Eq. 4).
        router_z_weight: Weight of the router's z-loss (ST-MoE, Eq. 5).
        router_rate: Learning rate of the routers, as a share of the others'. Adam's steps do not
            shrink with the gradient: at the full rate tokens change their expert faster than the
            experts learn.
        expert_sharing: Part of an expert's gradient that is its whole layer's, 0–1; see
            `share_gradients`.
    """

    name: str
    epochs: float
    batch_size: int
    optimizer: str
    learning_rate: float
    final_learning_rate: float
    warmup: float
    weight_decay: float
    label_smoothing: float
    gradient_clip: float | None
    ema_decay: float | None
    augmentation: str
    small_share: float = 0.0
    balance_weight: float = 0.01
    router_z_weight: float = 0.001
    router_rate: float = 0.1
    expert_sharing: float = 0.95

    def __post_init__(self) -> None:
        if not 0 < self.epochs < math.inf:
            raise ConfigError(f"The scheme's epochs must be above 0, not {self.epochs}.")
        if self.batch_size < 1:
            raise ConfigError("The scheme's batch_size must be at least 1.")
        if not 0 <= self.small_share <= 1:
            raise ConfigError("The scheme's small_share must be within 0–1.")
        TRANSFORMS[self.augmentation]
        for name in ("router_rate", "expert_sharing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"The scheme's {name} must be within 0–1.")
        if not self.learning_rate > 0:
            raise ConfigError("The scheme's learning_rate must be above 0.")

    def plain_experts(self) -> Scheme:
        """Return the scheme with routers as fast as the rest and each expert for itself."""
        return dataclasses.replace(self, router_rate=1.0, expert_sharing=0.0)

    def steps(self, images: int) -> int:
        """Optimiser steps of a training on so many images; the rest of a batch is left out."""
        return max(1, round(self.epochs * self._batches(images)))

    def epochs_begun(self, images: int) -> int:
        """Epochs that those steps begin: the last one may be a part."""
        return math.ceil(self.steps(images) / self._batches(images))

    def _batches(self, images: int) -> int:
        return images // min(self.batch_size, images)


SCHEMES: Registry[Scheme] = Registry("training scheme")

MOBILEVITV2 = SCHEMES.add(
    "mobilevitv2",
    Scheme(
        name="mobilevitv2",
        epochs=150,
        batch_size=128,
        optimizer="adamw",
        learning_rate=2e-3,
        final_learning_rate=2e-4,
        warmup=0.05,
        weight_decay=0.05,
        label_smoothing=0.1,
        gradient_clip=10.0,
        ema_decay=0.9995,
        augmentation="randaugment",
    ),
)
"""MobileViTv2's recipe (Mehta & Rastegari 2022, appendix): AdamW, cosine from 2e-3 to 2e-4 after a
warm-up, moving average 0.9995, label smoothing 0.1, RandAugment; 150 epochs as in the paper."""
