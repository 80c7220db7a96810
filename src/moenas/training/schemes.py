"""Training schemes: complete recipes as frozen values; a run changes them with ``replace``.

The five of the paper are those of the papers that introduced its models. Learning rates are for the
scheme's own batch size.
"""

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
        final_learning_rate: Learning rate at the end.
        warmup: Share of all steps in which the learning rate rises linearly, 0–1.
        weight_decay: Of matrices; biases and norms have none.
        label_smoothing: Of the cross entropy, 0–1.
        gradient_clip: Largest norm of the gradient, or None.
        ema_decay: Decay of the moving average of the weights, or None for none. It warms up, so
            that short trainings are averaged over fewer steps.
        augmentation: Name of the training transform.
        stairs: Parts of equal length in which the learning rate is constant, falling by the same
            factor from one to the next; 0 is a cosine.
        epsilon: Of the optimiser; None: timm's default.
        dropout: Share of the classifier's inputs that are dropped, 0–1.
        stochastic_depth: Share of the images that skip the last residual block, 0–1; fewer skip
            earlier ones (see `moenas.training.dropout`).
        multi_scale: Each step's images have one of five sides, from 5/8 to 5/4 of the full one,
            rounded to multiples of 32 pixels: fewer on small images. A model that takes images of
            one size alone sees these, here and in ``small_share``.
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
    stairs: int = 0
    epsilon: float | None = None
    dropout: float = 0.0
    stochastic_depth: float = 0.0
    multi_scale: bool = False
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
        if self.stairs < 0:
            raise ConfigError("The scheme's stairs must be at least 0.")
        TRANSFORMS[self.augmentation]
        for name in (
            "warmup",
            "label_smoothing",
            "ema_decay",
            "dropout",
            "stochastic_depth",
            "small_share",
            "router_rate",
            "expert_sharing",
        ):
            if not 0 <= (getattr(self, name) or 0.0) <= 1:
                raise ConfigError(f"The scheme's {name} must be within 0–1.")
        if not 0 < self.learning_rate < math.inf:
            raise ConfigError("The scheme's learning_rate must be above 0.")
        for name in ("final_learning_rate", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"The scheme's {name} must be at least 0.")
        if self.gradient_clip is not None and not self.gradient_clip > 0:
            raise ConfigError("The scheme's gradient_clip must be above 0.")

    def fitted(self, images: int, epochs: float, batch_size: int) -> Scheme:
        """Return the scheme for a training of another length or batch size.

        The learning rate follows the batch size, linearly (Goyal et al., 2017), under Adam by its
        square root (Malladi et al., 2022); the weight decay is that of `forgetting`.

        Args:
            images: Training images.
            epochs: Passes over them.
            batch_size: Images per step.
        """
        adam = "adam" in self.optimizer
        factor = (batch_size / self.batch_size) ** (0.5 if adam else 1.0)
        rate = self.learning_rate * factor
        fitted = dataclasses.replace(
            self,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=rate,
            final_learning_rate=self.final_learning_rate * factor,
        )
        return fitted.forgetting(images)

    def forgetting(self, images: int) -> Scheme:
        """Return the scheme with weight decay enough for its length, on so many images.

        AdamW's is raised so far that weights are forgotten within a fifth of the training (Wang and
        Aitchison, 2024): with a long training's value a short one hardly leaves its initialisation.
        Not for what starts from trained weights, which are to be kept.
        """
        if "adam" not in self.optimizer:
            return self
        steps = max(self.steps(images), FEWEST)
        decay = max(self.weight_decay, FORGETTING / (self.learning_rate * steps))
        return dataclasses.replace(self, weight_decay=decay)

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


FORGETTING = 5.0
"""Learning rate x weight decay x steps of a short training with AdamW; docs/search.md has why."""

FEWEST = 100
"""Steps that the weight decay is raised for at most: fewer would end in no weights at all."""

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

SHORT = SCHEMES.add(
    "short",
    dataclasses.replace(
        MOBILEVITV2,
        name="short",
        epochs=2,
        batch_size=32,
        learning_rate=1.5e-3,
        final_learning_rate=1.5e-4,
        ema_decay=None,
        augmentation="shift",
    ),
)
"""MobileViTv2's recipe for minutes instead of days: hardly an image is seen twice, so that nothing
has to be kept from being learnt by heart. Not of the paper."""

MOBILEVIT = SCHEMES.add(
    "mobilevit",
    Scheme(
        name="mobilevit",
        epochs=300,
        batch_size=1024,
        optimizer="adamw",
        learning_rate=2e-3,
        final_learning_rate=2e-4,
        warmup=0.008,
        weight_decay=0.01,
        label_smoothing=0.1,
        gradient_clip=10.0,
        ema_decay=0.9995,
        augmentation="crop",
        multi_scale=True,
    ),
)
"""MobileViT's (Mehta & Rastegari 2021, 4.1): AdamW, warm-up and cosine, images of several sizes,
random crops and flips, label smoothing, moving average."""

MOBILENETV2 = SCHEMES.add(
    "mobilenetv2",
    Scheme(
        name="mobilenetv2",
        epochs=300,
        batch_size=96,
        optimizer="rmsproptf",
        learning_rate=0.045,
        final_learning_rate=0.045 * 0.98**299,
        warmup=0.0,
        weight_decay=4e-5,
        label_smoothing=0.1,
        gradient_clip=None,
        ema_decay=0.9999,
        augmentation="crop",
        stairs=300,
        epsilon=1.0,
    ),
)
"""MobileNetV2's (Sandler et al. 2018, 6.1): RMSprop with momentum 0.9, 0.045 that falls by 2 % an
epoch, for a batch of 96; epsilon, label smoothing and moving average as in its code."""

EFFICIENTNET = SCHEMES.add(
    "efficientnet",
    Scheme(
        name="efficientnet",
        epochs=350,
        batch_size=4096,
        optimizer="rmsproptf",
        learning_rate=0.256,
        final_learning_rate=0.256 * 0.97**145,
        warmup=5 / 350,
        weight_decay=1e-5,
        label_smoothing=0.1,
        gradient_clip=None,
        ema_decay=0.9999,
        augmentation="autoaugment",
        stairs=146,
        epsilon=1e-3,
        dropout=0.2,
        stochastic_depth=0.2,
    ),
)
"""EfficientNet-B0's (Tan & Le 2019, 5.2): RMSprop, 0.256 that falls by 3 % every 2.4 of 350 epochs,
for a batch of 4096, AutoAugment, dropout; warm-up, moving average and label smoothing as in its
code, and stochastic depth with 0.2 for models that have residual blocks."""

RESNET = SCHEMES.add(
    "resnet",
    Scheme(
        name="resnet",
        epochs=120,
        batch_size=256,
        optimizer="momentum",
        learning_rate=0.1,
        final_learning_rate=0.001,
        warmup=0.0,
        weight_decay=1e-4,
        label_smoothing=0.0,
        gradient_clip=None,
        ema_decay=None,
        augmentation="crop",
        stairs=3,
    ),
)
"""ResNet's (He et al. 2016, 3.4): SGD with momentum 0.9, 0.1 divided by 10 twice, for a batch of
256, random crops and flips."""

PAPER_SCHEMES = ("mobilevitv2", "mobilevit", "mobilenetv2", "efficientnet", "resnet")
"""The paper's five (PAPER row 11)."""
