"""Add a base model: say where its FFNs are and what it costs; conversion comes for free."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import moenas
from moenas.models.base_model import BaseModel, FFNLayer
from moenas.models.bases import BASES
from moenas.models.ffn import FFN

DIM, HIDDEN, DEPTH, PATCH = 48, 96, 4, 8


class Block(nn.Module):
    """Mix neighbouring tokens with a depthwise convolution, then every token by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(DIM, DIM, 3, padding=1, groups=DIM)
        self.norm = nn.LayerNorm(DIM)
        self.mlp = FFN(nn.Conv2d(DIM, HIDDEN, 1), nn.Conv2d(HIDDEN, DIM, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, DIM, H, W] -> the same."""
        x = x + self.mix(x)
        tokens = x.permute(0, 2, 3, 1)  # [B, H, W, DIM]: the FFN takes tokens
        return x + self.mlp(self.norm(tokens)).permute(0, 3, 1, 2)


class Tiny(nn.Module):
    """Patches, blocks, mean, linear."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.stem = nn.Conv2d(3, DIM, PATCH, stride=PATCH)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.head = nn.Linear(DIM, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> logits [B, num_classes]."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class TinyMixer(BaseModel):
    """What MoENAS must know of the model."""

    def __init__(self) -> None:
        layers = tuple(FFNLayer(f"blocks.{i}.mlp", DIM, HIDDEN) for i in range(DEPTH))
        super().__init__("tinymixer", layers, pretrained=False)

    def create(self, num_classes: int) -> nn.Module:
        """Return the dense model, its FFNs under the names given above."""
        return Tiny(num_classes)

    def dense_parameters(self, num_classes: int) -> int:
        """Count exactly: storage and search rely on it."""
        block = 10 * DIM + 2 * DIM + self.layers[0].expert_parameters
        return (3 * PATCH**2 + 1) * DIM + DEPTH * block + (DIM + 1) * num_classes

    def dense_macs(self, image_size: int, num_classes: int) -> int:
        """Count convolutions and matrix products of one image."""
        block = 9 * DIM + 2 * DIM * HIDDEN
        return self.tokens(image_size)[0] * (3 * PATCH**2 * DIM + DEPTH * block) + DIM * num_classes

    def tokens(self, image_size: int) -> tuple[int, ...]:
        """Tokens of one image in each layer."""
        return ((image_size // PATCH) ** 2,) * DEPTH


BASES.add("tinymixer", TinyMixer())

experts = (1, 4, 2, 8)
dense = moenas.build_model("tinymixer", seed=0).eval()
sparse = moenas.upcycle(dense, experts)
images = torch.rand(2, 3, 64, 64)
with torch.inference_mode():
    difference = (dense(images) - sparse(images)).abs().max().item()
print(f"{sparse.architecture}: logits differ by {difference:.1e} from the dense model's")
for model, counts in ((dense, (1, 1, 1, 1)), (sparse, experts)):
    real = sum(parameter.numel() for parameter in model.parameters())
    counted = moenas.count_parameters("tinymixer", counts)
    print(f"{counts}: {real:,} parameters, counted without building {counted:,}")
    assert real == counted
