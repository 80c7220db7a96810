"""Low light by unprocessing: what the camera would have recorded with less light.

The image is taken back to linear light (inverse gamma), the light falls, the camera amplifies by a
part of what is missing, its sensor adds shot and read noise, and the result is encoded again.
Noise as in Brooks et al. 2019 ("Unprocessing images for learned raw denoising"): normal, with
variance ``read + shot · signal``, where read noise follows shot noise as their cameras' does. Left
out of their chain are the colour matrix, white balance and tone curve, which depend on the camera.
"""

from __future__ import annotations

import math

from torch import Tensor

from moenas.data.corruptions.corruption import CORRUPTIONS, Draws

GAMMA = 2.2

STOPS = (1, 2, 3, 4, 5)
"""Light falls by half for each stop."""

RECOVERED = 1 / 3
"""Share of the stops that the camera's gain makes good."""

MOST_SHOT = 0.012
"""Shot noise at the last severity's gain, the largest that Brooks et al. draw; it is proportional
to the gain."""


def exposure(severity: int) -> float:
    """Linear signal, as a multiple of the well-lit one."""
    return float(2.0 ** (STOPS[severity - 1] * (RECOVERED - 1)))


def noise_levels(severity: int) -> tuple[float, float]:
    """(shot, read): variance of the linear signal s of 0–1 is ``read + shot · s``."""
    shot = MOST_SHOT * 2.0 ** ((STOPS[severity - 1] - STOPS[-1]) * RECOVERED)
    return shot, math.exp(2.18 * math.log(shot) + 1.20)


@CORRUPTIONS.register("low_light")
def low_light(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Record the scene with 1/2 to 1/32 of the light."""
    shot, read = noise_levels(severity)
    signal = x.pow(GAMMA).mul_(exposure(severity))
    deviation = (shot * signal).add_(read).sqrt_()
    signal += deviation.mul_(draws.normal(*x.shape[1:]).to(x.device))
    return signal.clamp_(0, 1).pow_(1 / GAMMA)
