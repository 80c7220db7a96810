"""Do images of one kind take a path of their own? Mutual information, tested by relabelling.

Two questions of each layer, for an attribute with values a and the layer's experts e:

- **Chosen expert**, the one that takes most of an image's tokens: the mutual information
  ``I(a; e)`` in bits, as a share of the attribute's entropy: how much of what there is to know
  about the attribute the path tells.
- **Tokens**: ``Σ_a p(a) · ½ Σ_e |p(e|a) − p(e)|``, the share of the tokens of images of one kind
  that go to another expert than those of all images do. It sees what the chosen expert hides.

Both are above 0 by chance: relabelled images (`relabelling`) say by how much, which is subtracted,
and how often chance does as well, the p-value. Holm's correction takes all layers and both
questions of an attribute as one family.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.analysis.relabelling import F32, I64, Units, make_units
from moenas.analysis.routes import Routes
from moenas.errors import DataError
from moenas.evaluation.statistics.paired import holm
from moenas.runtime import generator

F64 = npt.NDArray[np.float64]

DRAWS = 2000
LEVEL = 0.05
"""Below it, Holm's p-value calls a dependence beyond chance."""

_CHUNK = 4_000_000
_ROUNDING = 1e-5
"""Relabellings that agree with the data must not differ by the rounding of float32."""


@dataclasses.dataclass(frozen=True)
class Effect:
    """One quantity of one layer.

    Attributes:
        observed: As measured, which is above 0 by chance alone.
        by_chance: Its mean over relabellings.
        chance_high: What chance stays below in 95 % of relabellings.
        p: Share of relabellings that reach it.
        p_holm: Corrected for all layers and both quantities.
    """

    observed: float
    by_chance: float
    chance_high: float
    p: float
    p_holm: float

    @property
    def corrected(self) -> float:
        """Without what chance adds; below 0 where chance does more."""
        return self.observed - self.by_chance

    @property
    def beyond_chance(self) -> bool:
        """Whether chance does not explain it."""
        return self.p_holm < LEVEL


@dataclasses.dataclass(frozen=True)
class LayerDependence:
    """How one layer's choices depend on an attribute.

    Attributes:
        layer: Its number, from 1.
        experts: How many it has.
        information: Mutual information of attribute and chosen expert, bits.
        tokens: Share of tokens that go elsewhere, 0–1.
    """

    layer: int
    experts: int
    information: Effect
    tokens: Effect

    @property
    def beyond_chance(self) -> bool:
        """Whether chance does not explain one of the two."""
        return self.information.beyond_chance or self.tokens.beyond_chance


@dataclasses.dataclass(frozen=True)
class Dependence:
    """How the routes of a model depend on an attribute.

    Attributes:
        entropy: Of the attribute, bits: what the information is a share of.
        images: How many have a value.
        units: How many independent things they are (see `relabelling.make_units`).
        matched: Share of the units that were compared within their matched set alone.
        draws: Relabellings.
        layers: Each layer with experts.
    """

    entropy: float
    images: int
    units: int
    matched: float
    draws: int
    layers: tuple[LayerDependence, ...]

    @property
    def beyond_chance(self) -> bool:
        """Whether paths depend on the attribute in any layer, more than chance explains."""
        return any(layer.beyond_chance for layer in self.layers)


def dependence(
    routes: Routes, images: pd.DataFrame, value: I64, *, draws: int = DRAWS, seed: int = 0
) -> Dependence:
    """Test whether routes depend on an attribute.

    Args:
        routes: Of n images.
        images: [n rows] with ``cluster`` and ``matched_set``.
        value: [n] index of the attribute's value from 0, -1 where it is not known.
        draws: Relabellings.
        seed: Of the relabellings.

    Raises:
        DataError: Fewer than two values have images.
    """
    known = value >= 0
    _, codes = np.unique(value[known], return_inverse=True)
    count = np.bincount(codes)
    if len(count) < 2:
        raise DataError("Routes can be compared by an attribute of two values or more only.")
    experts = [layer.experts for layer in routes.layers]
    columns: list[F32] = []
    for share, chosen in zip(routes.shares, routes.chosen(), strict=True):
        columns += [np.eye(share.shape[1], dtype=np.float32)[chosen], share]
    route = np.concatenate(columns, axis=1)[known]
    units = make_units(images[known], codes.astype(np.int64), route)
    observed, chance = _statistics(units, len(count), experts, draws, seed)
    reached = chance >= observed - _ROUNDING
    p = (1 + reached.sum(axis=0)) / (1 + draws)
    corrected = holm(list(p))
    high = np.quantile(chance, 0.95, axis=0)
    effects = [
        Effect(*(float(number) for number in numbers))
        for numbers in zip(observed, chance.mean(axis=0), high, p, corrected, strict=True)
    ]
    share_of = np.bincount(units.value) / len(units.value)
    return Dependence(
        entropy=float(-(share_of * np.log2(share_of)).sum()),
        images=int(known.sum()),
        units=len(units.value),
        matched=units.matched,
        draws=draws,
        layers=tuple(
            LayerDependence(layer.number, layer.experts, *effects[2 * i : 2 * i + 2])
            for i, layer in enumerate(routes.layers)
        ),
    )


def _statistics(
    units: Units, values: int, experts: Sequence[int], draws: int, seed: int
) -> tuple[F64, F64]:
    """The statistics [2 L] of the data and [draws, 2 L] of relabellings, information first."""
    labels = units.relabel(draws, generator(seed, "routes"))
    chunk = max(1, _CHUNK // (values * len(units.value)))
    observed = _measure(units.value[None], units.route, values, experts)[0]
    parts = []
    for start in range(0, draws, chunk):
        drawn = np.stack([next(labels) for _ in range(min(chunk, draws - start))])
        parts.append(_measure(drawn, units.route, values, experts))
    return observed, np.concatenate(parts)


def _measure(label: I64, route: F32, values: int, experts: Sequence[int]) -> F64:
    """[D, 2 L] both quantities of each layer under each labelling [D, U]."""
    is_value = (label[:, None, :] == np.arange(values)[:, None]).astype(np.float32)
    sums = (is_value.reshape(-1, label.shape[1]) @ route).reshape(len(label), values, -1)
    joint = sums.astype(np.float64) / label.shape[1]
    result, start = [], 0
    for count in experts:
        for measure in (_information, _elsewhere):
            result.append(measure(joint[:, :, start : start + count]))
            start += count
    return np.stack(result, axis=1)


def _information(joint: F64) -> F64:
    """Mutual information [D], bits, of tables [D, A, E] that sum to 1."""
    alone = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    ratio = np.divide(joint, alone, out=np.ones_like(joint), where=joint > 0)
    return np.asarray((joint * np.log2(ratio)).sum(axis=(1, 2)), dtype=np.float64)


def _elsewhere(joint: F64) -> F64:
    """Share [D] of tokens that go elsewhere than all do, of tables [D, A, E] that sum to 1."""
    alone = joint.sum(axis=2, keepdims=True) * joint.sum(axis=1, keepdims=True)
    return np.asarray(np.abs(joint - alone).sum(axis=(1, 2)) / 2, dtype=np.float64)
