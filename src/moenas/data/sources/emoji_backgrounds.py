"""Emoji Scenes, the background: gradients, natural-image noise, blocks and clutter."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from scipy import fft

from moenas.data.sources.emoji_art import tone_colours

Frame = npt.NDArray[np.float32]


def draw_background(size: int, clutter: float, rng: np.random.Generator) -> Frame:
    """Return a background of [size, size, 3], 0..255.

    A base (gradient or blocks of texture), shapes out of focus as clutter, and 1/f noise, whose
    spectrum is a photograph's. With clutter, colours may be skin's: colour alone then tells
    little about a person.

    Args:
        size: Side in pixels.
        clutter: 0..1, how many shapes, how much texture, how often a colour of skin.
        rng: The scene's own generator.
    """
    skin = clutter / 2
    base = _gradient(size, skin, rng) if rng.random() < 0.5 else _blocks(size, skin, rng)
    count = int(rng.integers(0, 1 + round(16 * clutter)))
    if count:
        base = _shapes(base, count, skin, rng)
    luma = _pink_noise(size, rng.uniform(0.9, 1.6), rng)
    strength = np.float32(rng.uniform(4, 6 + 26 * clutter))
    tint = 1 + rng.uniform(-0.25, 0.25, size=3).astype(np.float32)
    base += luma[..., None] * (strength * tint)
    return np.clip(base, 0, 255, out=base)


def _colour(skin: float, rng: np.random.Generator) -> tuple[int, int, int]:
    if rng.random() < skin:
        tones = tone_colours()
        colour = tones[rng.integers(len(tones))] + rng.normal(0, 12, size=3)
    else:
        hue, saturation, value = rng.random(), rng.beta(1.6, 2.6), rng.uniform(0.15, 1.0)
        colour = 255 * np.array(colorsys.hsv_to_rgb(hue, saturation, value))
    red, green, blue = (int(channel) for channel in np.clip(colour, 0, 255))
    return red, green, blue


def _gradient(size: int, skin: float, rng: np.random.Generator) -> Frame:
    first, second = np.array([_colour(skin, rng), _colour(skin, rng)], dtype=np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    line = np.linspace(-0.5, 0.5, size, dtype=np.float32)
    ramp = np.float32(np.cos(angle)) * line[None, :] + np.float32(np.sin(angle)) * line[:, None]
    ramp = np.clip(ramp * np.float32(rng.uniform(0.6, 2.0)) + 0.5, 0, 1)
    result: Frame = first + ramp[..., None] * (second - first)
    return result


def _blocks(size: int, skin: float, rng: np.random.Generator) -> Frame:
    rows, columns = rng.integers(2, 9, size=2)
    centre = np.array(_colour(skin, rng), dtype=np.float32)
    cells = centre + rng.normal(0, rng.uniform(8, 45), size=(rows, columns, 3))
    if rng.random() < 0.5:
        cells[rng.integers(rows) :] += np.array(_colour(skin, rng)) - centre  # a floor below a wall
    image = Image.fromarray(np.clip(cells, 0, 255).astype(np.uint8))
    smooth = rng.random() < 0.6
    filter_ = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
    return np.array(image.resize((size, size), filter_), dtype=np.float32)


def _shapes(base: Frame, count: int, skin: float, rng: np.random.Generator) -> Frame:
    size = base.shape[0]
    image = Image.fromarray(base.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    sharp = rng.random()
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1.1, size=2) * size
        width, height = rng.uniform(0.03, 0.45, size=2) * size
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        colour = _colour(skin, rng)
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse(box, fill=colour)
        elif kind == 1:
            draw.rectangle(box, fill=colour)
        elif kind == 2:
            draw.line(box, fill=colour, width=int(rng.integers(1, 1 + max(2, size // 16))))
        else:
            corners = [(x + a * width, y + b * height) for a, b in rng.uniform(-0.6, 0.6, (4, 2))]
            draw.polygon(corners, fill=colour)
    radius = size * (0.004 if sharp < 0.4 else 0.03 * sharp)
    return np.array(image.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32)


def _pink_noise(size: int, exponent: float, rng: np.random.Generator) -> Frame:
    spectrum = fft.rfft2(rng.standard_normal((size, size), dtype=np.float32))
    rows = fft.fftfreq(size).astype(np.float32)[:, None]
    columns = fft.rfftfreq(size).astype(np.float32)[None, :]
    radius = np.sqrt(rows * rows + columns * columns)
    radius[0, 0] = np.inf  # no constant part
    spectrum *= radius ** np.float32(-exponent)
    noise = fft.irfft2(spectrum, s=(size, size))
    result: Frame = (noise / noise.std()).astype(np.float32)
    return result
