"""The module that is exported: from uint8 images to logits, in forms that files can hold."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from timm.layers import Format
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from moenas.data.dataset import IMAGENET_MEAN, IMAGENET_STD
from moenas.export.block import ExportedBlock
from moenas.export.circuit import FixedCircuit
from moenas.export.experts import STYLES, ExportedExperts, OnTokens, Style, Watch
from moenas.export.places import fix_places
from moenas.models.folding import fold_batch_norms
from moenas.models.mobilevitv2_block import TokenMajorBlock
from moenas.models.quantum_circuit import QuantumCircuit
from moenas.models.switch_ffn import SwitchFFN


class Deployed(nn.Module):
    """A model with its preprocessing: uint8 ``[B, H, W, 3]`` RGB in, logits and probabilities out.

    Args:
        model: A model of ours; it is not changed.
        image_size: Side of the images, pixels.
        style: How tokens reach their experts.
        watch: Give each layer's experts as well, for runtimes that show nothing of their inside.

    Attributes:
        layers: Names of the Switch FFNs.
    """

    def __init__(
        self, model: nn.Module, image_size: int, style: Style, *, watch: bool = False
    ) -> None:
        super().__init__()
        self.model = exportable(model, image_size, style)
        switches = [each for each in self.model.modules() if isinstance(each, ExportedExperts)]
        self.layers = [each.name for each in switches]
        self.watch = Watch() if watch else None
        for each in switches:
            each.watch = self.watch
        mean, std = (255 * torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
        self.mean: Tensor
        self.per_std: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("per_std", 1 / std)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Map uint8 images to logits ``[B, K]``, probabilities ``[B, K]``, and experts ``[T]``."""
        return self.answers(image.permute(0, 3, 1, 2).to(torch.float32))

    def answers(self, x: Tensor) -> tuple[Tensor, ...]:
        """The same for ``[B, 3, H, W]``, 0 to 255 in float32."""
        logits = self.model((x - self.mean) * self.per_std)
        chosen = [self.watch.chosen[name] for name in self.layers] if self.watch else []
        return logits, logits.softmax(dim=1), *chosen


@torch.no_grad()
def exportable(model: nn.Module, image_size: int, style: Style) -> nn.Module:
    """Return a copy in the form for export: norms folded, blocks and experts as `style` says.

    Args:
        model: A model of ours; it is not changed.
        image_size: Side of its images, pixels: sizes of maps become constants.
        style: How tokens reach their experts.
    """
    result = fold_batch_norms(model).cpu()
    if isinstance(result, VisionTransformer):
        _resample_places(result, image_size)
    fix_places(result, image_size)
    sizes = _map_sizes(result, image_size)
    for name, size in sizes.items():
        block = cast(TokenMajorBlock, result.get_submodule(name))
        result.set_submodule(name, ExportedBlock(block, name, size, style))
    for name, module in list(result.named_modules()):
        if isinstance(module, SwitchFFN):  # of another base model
            rows = STYLES[style](module, name)
            result.set_submodule(name, OnTokens(rows, module.channels_first))
        elif isinstance(module, QuantumCircuit):
            result.set_submodule(name, FixedCircuit(module))
    return result.to(memory_format=torch.contiguous_format).eval()


def _resample_places(model: VisionTransformer, image_size: int) -> None:
    """Resample a vision transformer's places now: it would do so in the file, at each run."""
    patch = model.patch_embed.patch_size[0]
    model.set_input_size(img_size=math.ceil(image_size / patch) * patch)  # images are padded
    model.dynamic_img_size = False
    model.patch_embed.output_fmt, model.patch_embed.flatten = Format.NCHW, True


def _map_sizes(model: nn.Module, image_size: int) -> dict[str, tuple[int, int]]:
    """Height and width of the maps that each MobileViTV2 block gets."""
    sizes: dict[str, tuple[int, int]] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, TokenMajorBlock):

            def keep(_module: nn.Module, inputs: Any, name: str = name) -> None:
                sizes[name] = tuple(inputs[0].shape[2:])

            handles.append(module.register_forward_pre_hook(keep))
    model(torch.zeros(1, 3, image_size, image_size))
    for handle in handles:
        handle.remove()
    return sizes
