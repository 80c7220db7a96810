"""Light: what a camera records of a scene that is dim, under- or overexposed.

The image is taken to linear light (inverse sRGB), multiplied by the light that falls on the
scene, recorded by a sensor (shot noise grows with the root of the signal, read noise is constant),
amplified, clipped and encoded as sRGB again: the order in which it happens in a camera, as in
low-light image synthesis (Wei et al., 2020, "A physics-based noise formation model").
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from moenas.errors import ConfigError, did_you_mean

_CODES = np.arange(256, dtype=np.float32) / np.float32(255)
_TO_LINEAR = np.where(_CODES <= 0.04045, _CODES / 12.92, ((_CODES + 0.055) / 1.055) ** 2.4).astype(
    np.float32
)
_STEPS = 4095
_LINEAR = np.arange(_STEPS + 1, dtype=np.float64) / _STEPS
_TO_SRGB = np.rint(
    255 * np.where(_LINEAR <= 0.0031308, 12.92 * _LINEAR, 1.055 * _LINEAR ** (1 / 2.4) - 0.055)
).astype(np.uint8)

_WARM = np.array([1.12, 1.0, 0.72], dtype=np.float32)
"""Tint of a lamp's light against daylight (red, green, blue)."""


@dataclasses.dataclass(frozen=True)
class Light:
    """A class of light; each range is drawn from uniformly.

    Attributes:
        light: Light on the scene, as a multiple of what a good exposure needs.
        gain: What the camera multiplies the recorded signal by.
        electrons: Electrons that full scale holds at gain 1: fewer make more shot noise.
        lamp: Strength 0..1 of the fall-off from, and tint of, a single lamp.
    """

    light: tuple[float, float]
    gain: tuple[float, float] = (1.0, 1.0)
    electrons: float = 6000.0
    lamp: tuple[float, float] = (0.0, 0.0)


LIGHT_MODELS = {
    "well_lit": Light(light=(0.75, 1.05)),
    "dimly_lit": Light(light=(0.1, 0.25), gain=(1.2, 2.2), electrons=1500.0, lamp=(0.4, 0.9)),
    "underexposed": Light(light=(0.04, 0.11), electrons=3000.0),
    "overexposed": Light(light=(1.7, 3.0)),
}
"""The four classes of light, named as FACET names them."""

TRAIN_LIGHTS = {"well_lit": 0.82, "dimly_lit": 0.09, "underexposed": 0.04, "overexposed": 0.05}
"""Share of each light in the train and val splits of the sources that simulate it."""

TEST_LIGHTS = (
    "well_lit", "dimly_lit", "well_lit", "overexposed", "well_lit",
    "underexposed", "well_lit", "dimly_lit", "well_lit",
)  # fmt: skip
"""Lights of their test images in turn: a third is poor."""

_READ_NOISE = 4.0
"""Standard deviation of the sensor's read noise, in electrons."""


def apply_lighting(
    image: npt.NDArray[np.uint8], kind: str, rng: np.random.Generator
) -> npt.NDArray[np.uint8]:
    """Return the image as a camera would record it in this light.

    The random draws depend on the image's height and width alone, so that images of a stack
    (one scene in several skin tones) get the same light and the same noise, pixel by pixel.

    Args:
        image: [..., H, W, 3] uint8, sRGB.
        kind: One of `LIGHT_MODELS`.
        rng: Where the strength, the lamp and the noise come from.

    Raises:
        ConfigError: The kind is unknown.
    """
    if kind not in LIGHT_MODELS:
        raise ConfigError(f"There is no light named '{kind}'. {did_you_mean(kind, LIGHT_MODELS)}")
    model = LIGHT_MODELS[kind]
    height, width = image.shape[-3:-1]
    light = np.float32(rng.uniform(*model.light))
    gain = np.float32(rng.uniform(*model.gain))
    lamp = np.float32(rng.uniform(*model.lamp))
    row, column = rng.uniform(0, 1, size=2)
    noise = rng.standard_normal((height, width, 3), dtype=np.float32)

    signal = _TO_LINEAR[image]
    signal *= light
    if lamp > 0:
        y = ((np.arange(height, dtype=np.float32) + 0.5) / height - np.float32(row))[:, None]
        x = ((np.arange(width, dtype=np.float32) + 0.5) / width - np.float32(column))[None, :]
        falloff = 1 / (1 + 4 * lamp * (x * x + y * y))
        signal *= falloff[..., None] * (1 + lamp * (_WARM - 1))
    full = np.float32(model.electrons)
    deviation = np.sqrt(signal * (1 / full) + np.float32((_READ_NOISE / model.electrons) ** 2))
    deviation *= noise
    signal += deviation
    signal *= gain * _STEPS
    np.clip(signal, 0, _STEPS, out=signal)
    recorded: npt.NDArray[np.uint8] = _TO_SRGB[signal.astype(np.uint16)]
    return recorded
