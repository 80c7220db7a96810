"""Experts that learn together: each takes part in what the others see.

Each of E experts sees a part of the tokens only: its gradient is the noisier, and until it has seen
enough it is worse than the dense FFN that sees them all. Where most of its gradient is the whole
layer's, all experts follow the path of the dense FFN and part from it only as far as their own
tokens agree on it. The idea is that of a shared expert beside small routed ones (DeepSeekMoE,
Dai et al., 2024), folded into weights of the same size, so that inference pays nothing for it.
"""

from __future__ import annotations

import torch
from torch import nn

from moenas.models.switch_ffn import ExpertLinear


@torch.no_grad()
def share_gradients(model: nn.Module, share: float) -> None:
    """Mix each expert's gradient g_e with its layer's: ``share * sum(g) + (1 - share) * E * g_e``.

    Both parts have the size of a dense FFN's gradient, and the layer's sum is kept up to the
    factor E: with equal tokens for all experts it is what E copies of a dense FFN would get.

    Args:
        model: Its gradients are changed in place; other layers' are left alone.
        share: Up to 1, where all experts stay equal; 0 leaves every gradient as it is.
    """
    if share == 0:
        return
    for module in model.modules():
        if isinstance(module, ExpertLinear):
            for parameter in (module.weight, module.bias):
                grad = parameter.grad
                if grad is not None:
                    whole = grad.sum(dim=0, keepdim=True)
                    grad.mul_((1 - share) * len(grad)).add_(whole, alpha=share)
