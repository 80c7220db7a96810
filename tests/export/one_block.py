"""A model that exports in seconds."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from moenas.models.builder import build_model


class OneBlock(nn.Module):
    """A stem, one MobileViTV2 block with one Switch FFN, and a head: exports in seconds."""

    def __init__(self, gate: Any) -> None:
        super().__init__()
        experts = (4, 1, 1, 1, 1, 1, 1, 1, 1)
        whole = build_model("mobilevitv2_025", experts, gate=gate, seed=0)
        block = whole.stages[2][1]
        block.transformer = block.transformer[:1]
        channels = block.conv_kxk.conv.weight.shape[0]
        self.stem = nn.Conv2d(3, channels, 3, stride=4, padding=1)
        self.block = block
        self.head = nn.Linear(block.conv_proj.conv.weight.shape[0], 2)
        draw = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for name, value in self.named_parameters():
                if value.ndim == 1 or ".mlp." in name:
                    value.add_(torch.randn(value.shape, generator=draw) * 0.2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.block(self.stem(x)).mean((2, 3)))
