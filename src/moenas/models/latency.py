"""Latency of architectures from a table: the dense model's, and what experts add in each layer.

A table is measured on one device at one image size (`latency_measuring`), or brought along as a
JSON file. Any architecture's latency is then a sum, as quick to compute as its size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from scipy import stats

from moenas.config import from_dict, to_dict
from moenas.errors import ConfigError
from moenas.models.architecture import MAX_EXPERTS, Architecture
from moenas.models.bases import get_base
from moenas.serialisation import read_json, write_json

FORMAT = 1
"""Version of the file; another one is refused."""

VERSION_KEY = "moenas_latency"

Milliseconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]


@dataclasses.dataclass(frozen=True)
class BaseLatency:
    """What a base model takes, one image at a time.

    Attributes:
        base: Its name.
        dense_ms: Milliseconds of the dense model.
        layers: For each FFN layer the milliseconds with 1, 2, ... 8 experts. Only their differences
            to the first count: they may be of the layer alone or of anything around it.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    base: str
    dense_ms: Milliseconds
    layers: tuple[tuple[Milliseconds, ...], ...]

    def check(self) -> None:
        """Refuse what no prediction can be made from.

        Raises:
            ConfigError: A layer or a number is missing, or the dense model takes no time.
            ModelError: Unknown base model.
        """
        count = len(get_base(self.base).layers)
        if len(self.layers) != count:
            raise ConfigError(
                f"'{self.base}' has {count} FFN layers, the table has {len(self.layers)} of them."
            )
        for position, layer in enumerate(self.layers, start=1):
            if len(layer) != MAX_EXPERTS:
                raise ConfigError(
                    f"Layer {position} of '{self.base}' has {len(layer)} numbers and needs "
                    f"{MAX_EXPERTS}: its milliseconds with 1 to {MAX_EXPERTS} experts."
                )
        if not self.dense_ms > 0:
            raise ConfigError(f"'{self.base}' would take no time at all: its dense_ms is 0.")

    @cached_property
    def added(self) -> NDArray[np.float64]:
        """Milliseconds that n experts add to the dense model in each layer, [L, 8] by n - 1.

        They never fall: where a measured time does, which is noise, the largest before it counts.
        A search relies on the fewest experts being the fastest.
        """
        times = np.maximum.accumulate(np.array(self.layers, dtype=np.float64), axis=1)
        return np.asarray(times - times[:, :1])


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How well a table's sums agree with whole models that it was not made from.

    Attributes:
        architectures: How many were measured.
        median_error: Median of |predicted / measured - 1|.
        spearman: Rank correlation of predicted and measured; NaN is stored as None.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    architectures: Count
    median_error: float
    spearman: float | None


@dataclasses.dataclass(frozen=True)
class LatencyTable:
    """Latency by base model, layer and number of experts; one image at a time, on one device.

    Attributes:
        device: Name of the processor or card.
        threads: Threads that computed.
        image_size: Side of the image, pixels.
        bases: The base models.
        batch_size: Images at once: 1.
        created: When it was measured, ISO 8601.
        versions: Of the software that ran.
        agreement: With whole models, where that was measured.
    """

    device: str
    threads: Count
    image_size: Count
    bases: tuple[BaseLatency, ...]
    batch_size: Count = 1
    created: str | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict, hash=False)
    agreement: Agreement | None = None

    def __post_init__(self) -> None:
        if self.batch_size != 1:
            raise ConfigError(
                f"A latency table is of one image at a time, not of {self.batch_size} images."
            )
        names = [entry.base for entry in self.bases]
        if not names:
            raise ConfigError("A latency table needs at least one base model.")
        if len(set(names)) < len(names):
            raise ConfigError(f"A base model is listed twice: {', '.join(names)}.")
        for entry in self.bases:
            entry.check()

    @classmethod
    def load(cls, path: Path | str) -> LatencyTable:
        """Read a table.

        Raises:
            ConfigError: The file is no table, of another version, or incomplete; it says where.
            ModelError: It has a base model that is not known.
            RunFolderError: There is no such file, or it is damaged.
        """
        stored = read_json(Path(path))
        if not isinstance(stored, dict) or VERSION_KEY not in stored:
            raise ConfigError(
                f"'{path}' is no latency table: it has no '{VERSION_KEY}'. Make one with: "
                f"moenas benchmark --latency-table {path}"
            )
        version = stored.pop(VERSION_KEY)
        if version != FORMAT:
            raise ConfigError(
                f"'{path}' has latency table format {version}, this version of moenas reads "
                f"{FORMAT}. Measure it again: moenas benchmark --latency-table {path}"
            )
        try:
            return from_dict(cls, stored)
        except ConfigError as error:
            raise ConfigError(f"The latency table '{path}' cannot be used. {error}") from error

    def save(self, path: Path) -> None:
        """Write the table as JSON, atomically."""
        values: dict[str, Any] = to_dict(self)
        write_json(path, {VERSION_KEY: FORMAT, **values})

    def require(self, bases: Sequence[str], image_size: int) -> None:
        """Refuse a table that does not tell what is needed.

        Raises:
            ConfigError: A base model is missing, or the image size is another.
        """
        if self.image_size != image_size:
            raise ConfigError(
                f"The latency table is of images of {self.image_size} pixels, the models see "
                f"{image_size}. Measure one with: moenas benchmark --image-size {image_size} "
                "--latency-table FILE"
            )
        for base in bases:
            self.entry(base)

    def milliseconds(self, X: ArrayLike, bases: Sequence[str]) -> NDArray[np.float64]:
        """Return the latencies [n] of count vectors X [n, L] in milliseconds.

        Args:
            X: Expert counts, 1 to 8.
            bases: [n] the base model of each.

        Raises:
            ConfigError: A base model is not in the table, or has not L layers; or a count is out of
                range.
        """
        X = np.asarray(X, dtype=np.int64)
        if X.size and not 1 <= X.min() <= X.max() <= MAX_EXPERTS:
            raise ConfigError(
                f"A latency table has 1 to {MAX_EXPERTS} experts a layer, not "
                f"{X.min()} to {X.max()}."
            )
        names = np.asarray(bases, dtype=object)
        result = np.empty(len(X))
        for base in dict.fromkeys(bases):
            entry, rows = self.entry(base), names == base
            if X.ndim != 2 or X.shape[1] != len(entry.layers):
                raise ConfigError(
                    f"Expert counts of '{base}' must have the shape [n, {len(entry.layers)}], "
                    f"not {list(X.shape)}."
                )
            added = entry.added[np.arange(X.shape[1]), X[rows] - 1]
            result[rows] = entry.dense_ms + added.sum(axis=1)
        return result

    def of(self, architecture: Architecture) -> float:
        """Return the latency of one architecture in milliseconds."""
        return float(self.milliseconds([architecture.experts], [architecture.base])[0])

    def entry(self, base: str) -> BaseLatency:
        """Return what the table has of a base model.

        Raises:
            ConfigError: Nothing.
        """
        for entry in self.bases:
            if entry.base == base:
                return entry
        known = ", ".join(entry.base for entry in self.bases)
        raise ConfigError(
            f"The latency table has no base model '{base}', only {known}. Measure a table with it "
            "(moenas benchmark), or search without it (--no-widths leaves out the wider model)."
        )


def agreement(predicted: ArrayLike, measured: ArrayLike) -> Agreement:
    """Compare predicted with measured latencies, both [n] in milliseconds."""
    one, two = (np.asarray(values, dtype=np.float64) for values in (predicted, measured))
    rho = rank_correlation(one, two)
    return Agreement(
        architectures=len(one),
        median_error=float(np.median(np.abs(one / two - 1))),
        spearman=rho if math.isfinite(rho) else None,
    )


def rank_correlation(one: ArrayLike, two: ArrayLike) -> float:
    """Spearman's rank correlation; NaN where one side is constant."""
    first, second = (stats.rankdata(np.asarray(values)) for values in (one, two))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.corrcoef(first, second)[0, 1])
