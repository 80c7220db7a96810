"""What a model does with a set of images, kept up to date while it loses experts.

An expert's removal changes the images whose tokens visited it, from its layer on. So only those are
computed again, and only from there: the inputs of the layers with experts are kept in memory, the
last layers' first (they are the smallest and spare the most), as far as a bound allows.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moenas.data.dataset import normalise
from moenas.evaluation.predict import of_person
from moenas.models.folding import fold_batch_norms
from moenas.models.midway import Point, entered, find_points
from moenas.models.routing import Routing
from moenas.models.switch_ffn import SwitchFFN
from moenas.pruning.importance import F64, Importance
from moenas.runtime import exact_products

MEMORY = 1 << 30
"""Bytes of layers' inputs that are kept: 1 GiB, at 128 pixels about 4,000 images of
mobilevitv2_050. What does not fit is computed from the image on."""

BATCH = 64
"""Images at once; small batches stay in a CPU's cache."""

I64 = npt.NDArray[np.int64]


class Observer:
    """A model and what it did with the images.

    Args:
        model: A model with S-FFN layers; it is not changed.
        images: [n, height, width, 3] RGB, 0-255.
        rows: Which images, in this order.
        importance: What is recorded of them.
        counted: [len(rows)] Which of them the importance is computed on.
        device: Where to compute.
        memory: Bytes of inputs that may be kept.
        check: Called before each batch; what it raises, at a time limit, ends this.

    Attributes:
        probability: [len(rows)] of a person.
        tokens: Layer -> [len(rows), experts]: how many tokens of an image each expert took.
        amounts: Layer -> [len(rows), ...]: what the importance recorded, on the counted images.
    """

    def __init__(
        self,
        model: nn.Module,
        images: npt.NDArray[np.uint8],
        rows: I64,
        importance: Importance,
        counted: npt.NDArray[np.bool_],
        *,
        device: torch.device,
        memory: int = MEMORY,
        check: Callable[[], None] | None = None,
    ) -> None:
        self._check = check
        self._model = fold_batch_norms(model).to(device)
        self._images, self._rows, self._device = images, rows, device
        self._importance, self._counted = importance, counted
        self._layers = [name for name, m in self._model.named_modules() if isinstance(m, SwitchFFN)]
        self._points = self._choose_points(memory)
        self._inputs = {
            point: torch.empty((len(rows), *_stored(point)), dtype=point.dtype)
            for point in set(self._points.values())
        }
        self.probability: F64 = np.empty(len(rows))
        self.tokens: dict[str, I64] = {}
        self.amounts: dict[str, F64] = {}
        self._compute(np.arange(len(rows)), None)

    def remove(self, layer: str, expert: int) -> float:
        """Remove an expert; return the share of the images that had to be computed again, 0-1."""
        switch = self._model.get_submodule(layer)
        assert isinstance(switch, SwitchFFN)
        again = self.tokens[layer][:, expert] > 0
        if switch.gate == "probability":  # all tokens' probabilities of the layer grow
            again = np.ones_like(again)
        changed = again | self._counted if self._importance.of_all_images else again
        self._model.set_submodule(layer, switch.without_expert(expert))
        self.tokens[layer] = np.delete(self.tokens[layer], expert, axis=1)
        if layer in self.amounts:
            self.amounts[layer] = np.delete(self.amounts[layer], expert, axis=1)
        point = self._points.get(layer)
        if self.tokens[layer].shape[1] == 1:  # a plain FFN routes nothing
            for of_layer in (self.tokens, self.amounts, self._points):
                of_layer.pop(layer, None)
            self._layers.remove(layer)
        self._compute(np.flatnonzero(changed), point)
        for old in self._inputs.keys() - set(self._points.values()):
            del self._inputs[old]
        return float(again.mean())

    @torch.inference_mode()
    def _compute(self, places: I64, point: Point | None) -> None:
        """Compute images, from a point on or whole, and record what is done with them."""
        routings: dict[str, tuple[Tensor, Routing]] = {}
        here: Any = np.empty(0, dtype=np.int64)

        def keep_input(kept: Point, inputs: Tensor) -> None:
            part = inputs.movedim(1, -1) if kept.channels_last else inputs
            self._inputs[kept][torch.from_numpy(here)] = part.cpu()

        with self._watched(routings, self._after(point), keep_input, lambda: here):
            for start in range(0, len(places), BATCH):
                if self._check is not None:
                    self._check()
                here = places[start : start + BATCH]
                with exact_products(self._device):
                    logits = self._from(point, here)
                self.probability[here] = of_person(logits).cpu().double().numpy()

    def _from(self, point: Point | None, here: I64) -> Tensor:
        if point is None:
            batch = torch.from_numpy(np.array(self._images[self._rows[here]]))
            whole: Tensor = self._model(normalise(batch.to(self._device)))
            return whole
        inputs = self._inputs[point][torch.from_numpy(here)].to(self._device)
        if point.channels_last:
            inputs = inputs.movedim(-1, 1)
        height, width = self._images.shape[1:3]
        nothing = inputs.new_zeros(()).expand(len(here), 3, height, width)
        with entered(self._model, point, inputs):
            rest: Tensor = self._model(nothing)
        return rest

    @contextlib.contextmanager
    def _watched(
        self, routings: dict[str, tuple[Tensor, Routing]], points: list[Point], keep: Any, here: Any
    ) -> Iterator[None]:
        """Record routing and points' inputs while the context is open."""
        hooks = []
        for layer in self._layers:
            switch = self._model.get_submodule(layer)
            assert isinstance(switch, SwitchFFN)

            def routed(_: Any, inputs: Any, routing: Routing, layer: str = layer) -> None:
                routings[layer] = inputs[0], routing

            def computed(switch: Any, _: Any, output: Tensor, layer: str = layer) -> None:
                x, routing = routings.pop(layer)
                self._record(layer, switch, x, output, routing, here())

            hooks.append(switch.router.register_forward_hook(routed))
            hooks.append(switch.register_forward_hook(computed))
        for point in points:

            def store(_: Any, inputs: Any, point: Point = point) -> None:
                keep(point, inputs[0])

            module = self._model.get_submodule(point.module)
            hooks.append(module.register_forward_pre_hook(store))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _record(
        self, layer: str, switch: SwitchFFN, x: Tensor, y: Tensor, routing: Routing, here: I64
    ) -> None:
        n, experts = len(here), routing.logits.shape[1]
        chosen = routing.expert.reshape(n, -1).long()
        offset = torch.arange(n, device=chosen.device)[:, None] * experts
        counts = torch.bincount((chosen + offset).flatten(), minlength=n * experts)
        total = len(self._rows)
        table = self.tokens.setdefault(layer, np.zeros((total, experts), dtype=np.int64))
        table[here] = counts.view(n, experts).cpu().numpy()
        if not self._counted[here].any():
            return
        y_TD = (y.movedim(1, -1) if switch.channels_first else y).reshape(-1, switch.dim)
        found = self._importance.amounts(switch, x, y_TD, routing)
        if found is not None:
            sums = found.reshape(n, -1, *found.shape[1:]).cpu().double().sum(1).numpy()
            self.amounts.setdefault(layer, np.zeros((total, *sums.shape[1:])))[here] = sums

    def _choose_points(self, memory: int) -> dict[str, Point]:
        """Return the points of as many layers as fit, from the last on."""
        if not self._layers or memory <= 0:
            return {}
        few = torch.from_numpy(np.array(self._images[self._rows[:2]])).to(self._device)
        found = find_points(self._model, normalise(few), self._layers)
        chosen: dict[str, Point] = {}
        for layer in reversed(self._layers):
            if layer not in found:
                continue
            if found[layer] not in chosen.values():
                memory -= found[layer].bytes * len(self._rows)
            if memory < 0:
                break
            chosen[layer] = found[layer]
        return chosen

    def _after(self, point: Point | None) -> list[Point]:
        """The kept points whose input is computed anew when the model is entered at ``point``."""
        if point is None:
            return list(self._inputs)

        def is_stale(module: str) -> bool:
            earlier = any(f"{module}.".startswith(f"{name}.") for name in point.before)
            return earlier or f"{point.module}.".startswith(f"{module}.")

        return [kept for kept in self._inputs if not is_stale(kept.module)]


def _stored(point: Point) -> tuple[int, ...]:
    """The shape in which an input is kept: channels last where the model wants them so."""
    channels, *rest = point.shape
    return (*rest, channels) if point.channels_last else point.shape
