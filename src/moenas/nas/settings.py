"""The settings of a search: one frozen value that a run folder stores and ``--dry-run`` prices."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal

from moenas.data.sources.opening import names_of
from moenas.errors import ConfigError
from moenas.models.bases import get_base
from moenas.models.cost import count_parameters, layer_count
from moenas.nas.halving import Halving
from moenas.nas.objectives import LATENCY, OBJECTIVES, PAPER_OBJECTIVES
from moenas.training.schemes import SCHEMES, Scheme

NEXT_WIDTH = "next"
"""As ``wider``: the model that the base itself names as its next width."""


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """What to search, on what, for how long.

    Attributes:
        data: What is trained and tested on: ``emoji``, a manifest, a CSV, a folder, a published
            data set, or FACET's folder and another. One name may stand without a tuple.
        base: timm name of the base model.
        wider: Dense model of about the finalists' size that they must beat, or None. ``next`` is
            the base's own next width (mobilevitv2_075 for 050), None where it has none.
        widths: Search experts in the wider model too, where it has as many layers and fits the size
            limit: the best model may be a wider one with few experts. The paper does not.
        pretrained: Start dense models from timm's ImageNet weights.
        image_size: Side of the images, pixels.
        trials: Architectures to judge, the base model included.
        strategy: How: ``upcycled``: fine-tune each from one trained dense model; ``supernet``:
            train one network with all experts, of which each architecture is a part that is judged
            in seconds; ``scratch``: train each from its own initialisation, as the paper does.
        sampler: ``mixture`` (ours), ``paper`` (the paper's reading) or ``random``.
        objectives: What is optimised: names in `OBJECTIVES`; those that the data cannot tell
            (fairness without groups) are left out. ``latency`` may be one of them.
        max_parameters: Size limit.
        max_latency_ms: Latency limit, milliseconds for one image; None: no limit.
        latency_table: Table of latencies, e.g. of the device that the model is for (``moenas
            benchmark`` makes one); None: measured here when a limit or objective needs it.
        accuracy_margin: How far below the dense base model's balanced accuracy (search half) an
            architecture may fall and still be feasible, 0–1.
        protocol: ``held-out``: report on images that the search never saw; ``paper``: search and
            report on the same test images.
        scheme: Name of the training scheme; rates end at a tenth of its final one.
        router: How experts are trained: ``sharing`` as the scheme says (slow routers, experts that
            share most of their gradient), ``switch`` plainly, as the Switch Transformer and the
            paper do.
        parent_epochs: Epochs of each dense parent; like the next two it may be a fraction.
        trial_epochs: Epochs of each trial, after its parent's when upcycled.
        rungs: Lengths of the trials' trainings (successive halving): with 3, all are trained for a
            ninth of the trial's epochs, the best third of them for a third, and the best third of
            those for all. Only those trained for all can become finalists.
        supernet_epochs: Epochs of the supernet after its parent's, each four times as long: every
            step trains four of its parts.
        finalist_epochs: Epochs of each finalist after its parent's.
        batch_size: Images per optimiser step; None: the scheme's.
        learning_rate: Peak learning rate of parents and of ``scratch``; None: the scheme's.
        weight_decay: Of every training; None: the scheme's, raised where the parents' training is
            short (see `Scheme.forgetting`) and does not start from pretrained weights.
        tuning_rate: Peak learning rate of what starts from a parent, as a share of the other.
        augmentation: Training transform; None: the scheme's.
        small_share: Share of the parents' steps at two thirds of the image size; see `Scheme`.
        finalists: How many architectures are retrained and reported.
        seeds: How many times each of them is trained, each from its own parent.
        seed: Of everything.
    """

    data: tuple[str, ...] = ("emoji",)
    base: str = "mobilevitv2_050"
    wider: str | None = NEXT_WIDTH
    widths: bool = True
    pretrained: bool = False
    image_size: int = 128
    trials: int = 127
    strategy: Literal["upcycled", "supernet", "scratch"] = "upcycled"
    sampler: Literal["mixture", "paper", "random"] = "mixture"
    objectives: tuple[str, ...] = PAPER_OBJECTIVES
    max_parameters: int = 3_000_000
    max_latency_ms: float | None = None
    latency_table: Path | None = None
    accuracy_margin: float = 0.02
    protocol: Literal["held-out", "paper"] = "held-out"
    scheme: str = "mobilevitv2"
    router: Literal["sharing", "switch"] = "sharing"
    parent_epochs: float = 100
    trial_epochs: float = 20
    rungs: int = 1
    supernet_epochs: float = 50
    finalist_epochs: float = 50
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    tuning_rate: float = 0.5
    augmentation: str | None = None
    small_share: float = 0.0
    finalists: int = 3
    seeds: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", names_of(self.data))
        for name in ("parent_epochs", "trial_epochs", "supernet_epochs", "finalist_epochs"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be above 0, not {getattr(self, name)}.")
        if self.trials < 1:
            raise ConfigError(f"trials must be at least 1, not {self.trials}.")
        if self.image_size < 32:
            raise ConfigError(f"image_size must be at least 32 pixels, not {self.image_size}.")
        if not 0 <= self.accuracy_margin <= 1:
            raise ConfigError(f"accuracy_margin must be within 0–1, not {self.accuracy_margin}.")
        if self.max_latency_ms is not None and not 0 < self.max_latency_ms < math.inf:
            raise ConfigError(f"max_latency_ms must be above 0, not {self.max_latency_ms}.")
        if self.seeds < 2:
            raise ConfigError("seeds must be at least 2: one training says nothing about noise.")
        if not 0 <= self.finalists <= 3:
            raise ConfigError("finalists must be within 0–3: one a size class.")
        if self.wider == self.base:
            raise ConfigError(f"wider must be another model than the base, '{self.base}'.")
        Halving(self.rungs)
        if self.rungs > 1 and self.strategy == "supernet":
            raise ConfigError(
                "A supernet's parts are not trained: rungs must be 1 with strategy 'supernet'."
            )
        if not self.objectives:
            raise ConfigError("objectives must name at least one.")
        for name in self.objectives:
            OBJECTIVES[name]
        self.training(1, tuning=False)  # refuses what is wrong with the recipe
        self.training(1, tuning=True)

    @property
    def wider_base(self) -> str | None:
        """Name of the wider dense model, found where ``wider`` is ``next``."""
        return get_base(self.base).wider if self.wider == NEXT_WIDTH else self.wider

    @property
    def searched_bases(self) -> tuple[str, ...]:
        """The base model, and the wider one where it is searched too."""
        wider = self.wider_base if self.widths else None
        if wider is None or layer_count(wider) != layer_count(self.base):
            return (self.base,)
        fits = count_parameters(wider, (1,) * layer_count(wider)) <= self.max_parameters
        return (self.base, wider) if fits else (self.base,)

    @property
    def needs_latency(self) -> bool:
        """Whether latencies are looked up: for a limit or objective, or as a table is given."""
        limited = self.max_latency_ms is not None or self.latency_table is not None
        return limited or LATENCY in self.objectives

    @property
    def search_parents(self) -> tuple[str, ...]:
        """The models whose dense parent the search itself needs: ``scratch`` only judges by one."""
        return (self.base,) if self.strategy == "scratch" else self.searched_bases

    def fitted(self, images: int) -> SearchConfig:
        """Return the settings with the weight decay that so many training images need.

        It is that of the parents, also for what descends from them: that keeps what they know.
        """
        if self.weight_decay is not None or self.pretrained:
            return self
        scheme = self.training(self.parent_epochs, tuning=False).forgetting(images)
        return dataclasses.replace(self, weight_decay=scheme.weight_decay)

    def training(self, epochs: float, *, tuning: bool) -> Scheme:
        """Return the scheme of a training of so many epochs; ``tuning``: it has a parent.

        Rates fall to a tenth of the scheme's final one, for trainings here are shorter than those
        that it was made for; an audit's end as the scheme says.
        """
        scheme = SCHEMES[self.scheme]
        if self.router == "switch":
            scheme = scheme.plain_experts()
        rate = scheme.learning_rate if self.learning_rate is None else self.learning_rate
        share = self.tuning_rate if tuning else 1.0
        return dataclasses.replace(
            scheme,
            epochs=epochs,
            batch_size=scheme.batch_size if self.batch_size is None else self.batch_size,
            learning_rate=rate * share,
            final_learning_rate=min(scheme.final_learning_rate, rate * share) / 10,
            weight_decay=scheme.weight_decay if self.weight_decay is None else self.weight_decay,
            augmentation=self.augmentation or scheme.augmentation,
            small_share=0.0 if tuning else self.small_share,
        )
