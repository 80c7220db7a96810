"""Experts in bfloat16 for inference: half the memory, and less of it to read for each image."""

from __future__ import annotations

import copy

import torch
from torch import nn

from moenas.models.switch_ffn import SwitchFFN


def bfloat16_experts(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode whose experts' weights are bfloat16.

    Routers, biases, tokens and sums stay float32, so that no token changes its expert for the
    rounding of its own layer. The rest of the model is not touched.

    Args:
        model: A model with Switch FFNs; it is not changed.
    """
    result = copy.deepcopy(model).eval()
    for module in result.modules():
        if isinstance(module, SwitchFFN):
            for layer in (module.fc1, module.fc2):
                weight = layer.weight.detach().to(torch.bfloat16)
                layer.weight = nn.Parameter(weight, requires_grad=False)
    return result
