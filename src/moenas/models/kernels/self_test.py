"""Run once after a build, in a process of its own: every part of the kernel against torch's path.

Usage: ``python -m moenas.models.kernels.self_test LIBRARY``; a status other than 0 means that its
code is wrong here, or that the CPU lacks an instruction.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from moenas.models import sorted_experts
from moenas.models.activation import ACTIVATIONS
from moenas.models.kernels.library import DTYPES, Kernel

SIZES = (229, 3, 21, 37), (100, 3, 64, 96)
"""T, E, D, H. Odd ones: every remainder of tiles, panels and vectors; even ones: matrix units."""


def self_test(kernel: Kernel) -> None:
    """Compare.

    Raises:
        AssertionError: Something differs by more than rounding.
    """
    for sizes in SIZES:
        _test(kernel, *sizes)


def _test(kernel: Kernel, T: int, E: int, D: int, H: int) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    x, grad, router, gate = draw(T, D), draw(T, D), draw(E, D), draw(T).abs()
    p, best = (x @ router.T).softmax(1).max(1)
    expert = best.to(torch.uint8)
    for activation in ACTIVATIONS:
        for dtype in DTYPES:
            w1, b1, w2, b2 = (
                draw(E, H, D).to(dtype),
                draw(E, H),
                draw(E, D, H).to(dtype),
                draw(E, D),
            )
            layer = kernel.layer((w1, b1, w2, b2), activation)
            weights = w1.float(), b1, w2.float(), b2
            want, kept = sorted_experts.forward(x, expert, gate, weights, activation)
            got, before = kernel.experts(x, expert, gate, layer, keep=True)
            assert before is not None
            routed = kernel.switch_ffn(x, router, layer, scale=True)
            unit = kernel.amx and D % 32 == H % 32 == 0
            rounded = unit and dtype == torch.bfloat16
            atol = 2e-2 if rounded else 1e-4  # a matrix unit rounds tokens too
            _close(routed, sorted_experts.infer(x, expert, p, weights, activation), atol)
            _close(got, want, atol)
            _close(before, kept.before, atol)
        rest = weights[0], weights[2], b2, activation
        found = kernel.experts_backward(grad, x, expert, gate, kept.before, *rest)
        for pair in zip(found, sorted_experts.backward(grad, kept, gate, *rest), strict=True):
            _close(*pair)


def _close(got: Tensor, want: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=1e-4)


if __name__ == "__main__":
    torch.set_num_threads(2)
    self_test(Kernel(Path(sys.argv[1]), "being tested"))
