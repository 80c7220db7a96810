"""Measuring a latency table on this device, from whole models.

The obvious table times each layer alone, or the model with experts in one layer against the dense
one. Both are worse for whole models (`benchmarks/latency_table.py` has layers alone beside this): a
layer that is timed alone finds its weights in the cache, and in a model it does not; and the small
difference that one layer makes drowns in noise that adds up over the layers.

Here random architectures are timed as wholes and the table is fitted to them, as things are weighed
together in a weighing design: every measurement tells something about every layer. In each block of
eight architectures every layer has every number of experts once (a Latin hypercube), so that the
layers can be told apart.

The fit is of relative least squares with what is known beforehand: layers of the same width and
number of tokens cost the same, and one more expert never makes a model faster.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from moenas.errors import ConfigError
from moenas.models.architecture import MAX_EXPERTS, Architecture
from moenas.models.bases import get_base
from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers
from moenas.models.ffn import FFN
from moenas.models.folding import fold_batch_norms
from moenas.models.latency import BaseLatency, LatencyTable, agreement
from moenas.models.switch_ffn import SwitchFFN
from moenas.runtime import device_name, generator
from moenas.timing import interleaved

DENSE = 4
"""How often the dense model takes part: it is where the table starts."""

Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How much is measured; an architecture runs twice a round, and is timed the second time.

    Attributes:
        blocks: Blocks of eight random architectures a base model, to fit the table to.
        checks: Further random architectures a base model, to compare the table with.
        rounds: How often each is timed.
    """

    blocks: int = 6
    checks: int = 16
    rounds: int = 16


@dataclasses.dataclass(frozen=True)
class Checked:
    """A random architecture that the table was not made from: measured and predicted."""

    architecture: Architecture
    measured_ms: float
    predicted_ms: float


@dataclasses.dataclass(frozen=True)
class Measurement:
    """A table, and the architectures that it was checked with."""

    table: LatencyTable
    checks: tuple[Checked, ...]


def measure_latency(
    bases: Sequence[str],
    image_size: int,
    *,
    device: torch.device,
    threads: int = 1,
    effort: Effort | None = None,
) -> Measurement:
    """Measure a table of base models on this device, one image at a time.

    All architectures run in turns, so that a slow stretch of the machine hits all alike, and the
    25th percentile of each one's times counts. On a CPU with one thread the clock counts CPU time:
    what else the machine does is left out, but for the caches that it takes.

    Args:
        bases: Names of base models.
        image_size: Side of the image, pixels.
        device: Where to compute.
        threads: Threads to compute with; afterwards they are as many as before.
        effort: How much to measure.

    Raises:
        ModelError: Unknown base model, or images too small for it.
        ConfigError: Fewer than one thread.
    """
    if threads < 1:
        raise ConfigError(f"threads must be at least 1, not {threads}.")
    effort = effort or Effort()
    fitted = {base: _design(base, effort) for base in bases}
    held_out = {base: _levels(base, effort.checks) for base in bases}
    work = {f"{base} {i}": (base, row) for base in bases for i, row in enumerate(fitted[base])}
    work |= {f"{base} ?{i}": (base, row) for base in bases for i, row in enumerate(held_out[base])}
    with _threads(threads):
        models = {base: _Interchangeable(base, image_size, device) for base in bases}

        def settle(name: str) -> None:
            base, row = work[name]
            models[base].choose(row)
            models[base].run()

        timing = interleaved(
            {name: models[base].run for name, (base, _) in work.items()},
            effort.rounds,
            warm_up=1,
            clock=_clock(device, threads),
            before=settle,
        )
    entries = []
    for base in bases:
        names = [f"{base} {i}" for i in range(len(fitted[base]))]
        times = np.array([1e3 * timing.quartile(name) for name in names])
        entries.append(fit_latency(base, fitted[base], times, image_size))
    table = LatencyTable(
        device=device_name(device),
        threads=threads,
        image_size=image_size,
        bases=tuple(entries),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        versions={name: importlib.metadata.version(name) for name in ("moenas", "torch", "timm")},
    )
    checks = []
    for base in bases:
        for i, row in enumerate(held_out[base]):
            architecture = Architecture(base, tuple(row.tolist()))
            measured = 1e3 * timing.quartile(f"{base} ?{i}")
            checks.append(Checked(architecture, measured, table.of(architecture)))
    if checks:
        found = agreement([c.predicted_ms for c in checks], [c.measured_ms for c in checks])
        table = dataclasses.replace(table, agreement=found)
    return Measurement(table, tuple(checks))


def fit_latency(
    base: str, X: Counts, milliseconds: NDArray[np.float64], image_size: int
) -> BaseLatency:
    """Fit a base model's entry to measured architectures; more experts never take less.

    Args:
        base: Name of the base model.
        X: Expert counts [n, L], the dense model among them.
        milliseconds: What each took, [n].
        image_size: Side of the image, pixels.
    """
    shapes = _shapes(base, image_size)
    steps = np.arange(2, MAX_EXPERTS + 1)
    has = X[:, :, None] >= steps  # [n, L, 7]: has the layer a k-th expert
    alike = np.zeros((len(X), max(shapes) + 1, len(steps)))
    for layer, shape in enumerate(shapes):
        alike[:, shape] += has[:, layer]
    design = np.hstack([np.ones((len(X), 1)), alike.reshape(len(X), -1)])
    found, _ = nnls(design / milliseconds[:, None], np.ones(len(X)))
    added = np.cumsum(found[1:].reshape(-1, len(steps)), axis=1)
    curves = np.hstack([np.zeros((len(added), 1)), added]).round(6).tolist()
    return BaseLatency(base, round(float(found[0]), 6), tuple(tuple(curves[s]) for s in shapes))


def _shapes(base: str, image_size: int) -> list[int]:
    """Number the layers by what they compute: width, hidden width and tokens; [L]."""
    model = get_base(base)
    kinds = [
        (layer.dim, layer.hidden, tokens)
        for layer, tokens in zip(model.layers, model.tokens(image_size), strict=True)
    ]
    order = list(dict.fromkeys(kinds))
    return [order.index(kind) for kind in kinds]


class _Interchangeable:
    """A folded model for inference whose FFNs are exchanged for ones with other expert counts."""

    def __init__(self, base: str, image_size: int, device: torch.device) -> None:
        model = build_model(base, seed=0)
        self.model = fold_batch_norms(model).to(device)
        random = torch.Generator().manual_seed(0)
        image = torch.randn(1, 3, image_size, image_size, generator=random)
        self.image = image.to(device, memory_format=torch.channels_last)
        self.device = device
        layers = ffn_layers(self.model)
        self.places = [
            (self.model.get_submodule(name.rpartition(".")[0]), name.rpartition(".")[2])
            for name in layers
        ]
        tokens = _mean_tokens(self.model, list(layers.values()), self.image)
        self.choices = [
            {1: ffn} | {n: _balanced(ffn, n, token) for n in range(2, MAX_EXPERTS + 1)}
            for ffn, token in zip(layers.values(), tokens, strict=True)
            if isinstance(ffn, FFN)
        ]

    def choose(self, experts: Counts) -> None:
        """Give each layer as many experts as ``experts`` [L] says."""
        for (parent, name), choice, n in zip(self.places, self.choices, experts, strict=True):
            setattr(parent, name, choice[int(n)])

    @torch.inference_mode()
    def run(self) -> None:
        """Run the model on one image, to the end."""
        self.model(self.image)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


@torch.no_grad()
def _mean_tokens(model: nn.Module, layers: Sequence[nn.Module], image: Tensor) -> list[Tensor]:
    """Return the mean token [D] that reaches each FFN of a dense model."""
    means: list[Tensor] = []

    def note(ffn: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(ffn, FFN)
        x = inputs[0].movedim(1, -1) if ffn.channels_first else inputs[0]
        means.append(x.reshape(-1, ffn.dim).mean(dim=0))

    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    model(image)
    for hook in hooks:
        hook.remove()
    return means


def _balanced(ffn: FFN, experts: int, mean_token: Tensor) -> SwitchFFN:
    """Return a Switch FFN whose experts get about equally many tokens, as trained ones do.

    A random router sends most tokens to the few experts that suit their mean: too fast a model. So
    its weights lose their part along the mean.
    """
    random = torch.Generator().manual_seed(experts)
    switch = SwitchFFN.from_ffn(ffn, experts, generator=random).eval()
    with torch.no_grad():
        weight = switch.router.weight
        along = (weight @ mean_token) / mean_token.square().sum().clamp(min=1e-12)
        weight.sub_(along[:, None] * mean_token)
    return switch


def _design(base: str, effort: Effort) -> Counts:
    """Return the dense model some times, then blocks of eight random vectors, [n, L]."""
    rng = generator(0, "latency", base)
    layers = len(Architecture.dense_base(base).experts)
    blocks = [
        np.stack([rng.permutation(MAX_EXPERTS) + 1 for _ in range(layers)], axis=1)
        for _ in range(effort.blocks)
    ]
    return np.concatenate([np.ones((DENSE, layers), dtype=np.int64), *blocks])


def _levels(base: str, count: int) -> Counts:
    """Return ``count`` random vectors [n, L], from small ones to large ones.

    Uniform vectors would all be of about one size.
    """
    rng = generator(0, "latency check", base)
    layers = len(Architecture.dense_base(base).experts)
    level = np.linspace(0, 1, count)[:, None]
    share = np.clip(rng.normal(level, 0.25, (count, layers)), 0, 1 - 1e-9)
    return np.asarray(np.floor(share * MAX_EXPERTS) + 1, dtype=np.int64)


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    return time.thread_time if device.type == "cpu" and threads == 1 else time.perf_counter


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
