"""Add a corruption, and see how much of an image each severity leaves.

`moenas.evaluation.degradation` tells how a model's scores fall under it, with paired intervals.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moenas.data.corruptions import CORRUPTIONS, SEVERITIES, Draws, corrupt

SPOTS = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Share of the image that raindrops on the lens hide."""


@CORRUPTIONS.register("rain_on_the_lens")
def rain_on_the_lens(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Replace spots of 8 x 8 pixels by their own mean; x is [B, 3, H, W] in 0-1."""
    coarse = torch.nn.functional.avg_pool2d(x, 8)
    wet = draws.normal(1, *coarse.shape[2:]) < torch.special.ndtri(
        torch.tensor(SPOTS[severity - 1])
    )
    size = list(x.shape[2:])
    blurred = torch.nn.functional.interpolate(coarse, size)
    return torch.where(torch.nn.functional.interpolate(wet.float(), size) > 0, blurred, x)


images = torch.randint(0, 256, (4, 3, 96, 96), dtype=torch.uint8, generator=torch.manual_seed(0))
names = [f"image-{i}" for i in range(4)]  # the same name has the same raindrops, whatever the batch
for severity in SEVERITIES:
    wet = corrupt(images, "rain_on_the_lens", severity, names)
    hidden = (wet != images).any(dim=1).float().mean()
    print(f"severity {severity}: {100 * hidden:.0f} % of the image is hidden")
