"""Computing a model from the middle on: from the stored input of a module to the model's output.

A `Point` is a module through which everything that was computed before has to pass. What runs
before it is not computed but gives tensors of the right shape that are not a number; then the
stored input takes the place of what would arrive. So any model can be entered, without knowing how
it is written. Each point is tried on a few images first: where something reaches the output around
it (a shortcut over the module), the result is not a number, and the point is not used.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Point:
    """A module that a model can be computed from.

    Attributes:
        module: Its name.
        shape: Of one image's input.
        dtype: Of the input.
        channels_last: The input is a map in that layout.
        before: The modules that run before it, outermost ones only, and their outputs' shapes; the
            first number is for one image.
    """

    module: str
    shape: Shape
    dtype: torch.dtype
    channels_last: bool
    before: Mapping[str, Shape]

    @property
    def bytes(self) -> int:
        """Bytes of one image's input."""
        return torch.Size(self.shape).numel() * self.dtype.itemsize


def _stand_in(shape: Shape, inputs: Tensor) -> Callable[..., Tensor]:
    """Return what stands for a module's ``forward``: its output holds no number."""
    nothing = inputs.new_full((), float("nan")).expand(shape[0] * len(inputs), *shape[1:])
    return lambda *_, **__: nothing


@dataclasses.dataclass
class _Call:
    begun: int
    ended: int = -1
    first: Tensor | None = None  # of its inputs
    output: Any = None
    times: int = 1


@torch.inference_mode()
def find_points(model: nn.Module, images: Tensor, modules: Iterable[str]) -> dict[str, Point]:
    """Find for each module the innermost point that lies at it or around it.

    Args:
        model: In evaluation mode; a map from a batch to logits.
        images: [B, 3, H, W] A few images to try the points on; two are enough.
        modules: Names of modules.

    Returns:
        The point of each module that has one. Of the others only the whole model is known.
    """
    logits, calls = _trace(model, images)
    tried: dict[str, Point | None] = {}
    found = {}
    for module in modules:
        parts = module.split(".")
        for end in range(len(parts), 0, -1):
            name = ".".join(parts[:end])
            if name not in tried:
                tried[name] = _try(model, images, logits, calls, name)
            point = tried[name]
            if point is not None:
                found[module] = point
                break
    return found


@contextlib.contextmanager
def entered(model: nn.Module, point: Point, inputs: Tensor) -> Iterator[None]:
    """Let the model compute from a point on while the context is open, whatever it is given.

    Args:
        model: The model that the point was found in. What runs after the point may have changed.
        point: Where to begin.
        inputs: [B, ...] The stored inputs of the point.
    """
    replaced = [model.get_submodule(name) for name in point.before]
    for module, shape in zip(replaced, point.before.values(), strict=True):
        module.forward = _stand_in(shape, inputs)
    hook = model.get_submodule(point.module).register_forward_pre_hook(_replace(inputs))
    try:
        yield
    finally:
        hook.remove()
        for module in replaced:
            del module.forward


def _replace(inputs: Tensor) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    return lambda _, given: (inputs, *given[1:])


def _trace(model: nn.Module, images: Tensor) -> tuple[Tensor, dict[str, _Call]]:
    """Run the model and note when each module ran, on what, and what came out."""
    calls: dict[str, _Call] = {}
    clock = iter(range(10**9))
    hooks = []
    for name, module in model.named_modules():

        def begin(_: nn.Module, inputs: Any, name: str = name) -> None:
            if name in calls:
                calls[name].times += 1
                return
            first = inputs[0].clone() if inputs and isinstance(inputs[0], Tensor) else None
            calls[name] = _Call(next(clock), first=first)

        def end(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
            calls[name].ended, calls[name].output = next(clock), output

        hooks += [
            module.register_forward_pre_hook(begin),
            module.register_forward_hook(end),
        ]
    try:
        return model(images), calls
    finally:
        for hook in hooks:
            hook.remove()


def _try(
    model: nn.Module, images: Tensor, logits: Tensor, calls: dict[str, _Call], name: str
) -> Point | None:
    """Return the point at a module if computing from there gives the same logits."""
    call = calls.get(name)
    if call is None or call.times > 1 or call.first is None or len(call.first) != len(images):
        return None
    before: dict[str, Shape] = {}
    for other, _ in model.named_modules():  # parents come before their children
        past = calls.get(other)
        if not other or past is None or not 0 <= past.ended < call.begun:
            continue
        if any(other.startswith(f"{outer}.") for outer in before):
            continue
        output = past.output
        if past.times > 1 or not isinstance(output, Tensor) or len(output) % len(images):
            continue  # it keeps running
        before[other] = (len(output) // len(images), *output.shape[1:])
    first = call.first
    last = first.dim() == 4 and first.is_contiguous(memory_format=torch.channels_last)
    point = Point(name, tuple(first.shape[1:]), first.dtype, last, before)
    nothing = images.new_full((), float("nan")).expand_as(images)
    try:
        with entered(model, point, first):
            again: Tensor = model(nothing)
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return None  # it wants more of what runs before than a tensor
    return point if torch.allclose(again, logits, rtol=1e-5, atol=1e-5) else None
