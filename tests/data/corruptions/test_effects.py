"""Each corruption against what its formula promises, computed another way."""

from __future__ import annotations

import colorsys
import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from moenas.data.corruptions import corrupt
from moenas.data.corruptions.blur import DEFOCUS
from moenas.data.corruptions.compression import QUALITY
from moenas.data.corruptions.low_light import GAMMA, exposure, noise_levels
from moenas.data.corruptions.noise import GAUSSIAN
from moenas.data.corruptions.tone import BRIGHTNESS, CONTRAST
from moenas.data.corruptions.weather import FOG


def flat(value: int, size: int = 96) -> torch.Tensor:
    return torch.full((1, 3, size, size), value, dtype=torch.uint8)


def noisy(seed: int = 0, size: int = 32) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.integers(0, 256, (1, 3, size, size), dtype=np.uint8))


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("value", [40, 128, 230])
def test_low_light_s_mean_and_noise_are_the_physics_(value: int, severity: int) -> None:
    """The distribution of a flat surface's codes, summed over the normal noise of its signal."""
    shot, read = noise_levels(severity)
    signal = exposure(severity) * (value / 255) ** GAMMA
    quantiles = (np.arange(20_000) + 0.5) / 20_000
    recorded = stats.norm.ppf(quantiles, signal, np.sqrt(read + shot * signal))
    expected = np.rint(255 * recorded.clip(0, 1) ** (1 / GAMMA))
    seen = corrupt(flat(value), "low_light", severity, ["k"]).double()
    n = seen.numel()
    assert float(seen.mean()) == pytest.approx(expected.mean(), abs=4 * expected.std() / n**0.5)
    assert float(seen.std()) == pytest.approx(expected.std(), rel=4 / (2 * n) ** 0.5 + 0.02)


def test_low_light_halves_the_light_and_recovers_a_third_of_the_stops() -> None:
    assert [exposure(s) for s in (1, 5)] == pytest.approx([2 ** (-2 / 3), 2 ** (-10 / 3)])
    shots = [noise_levels(s)[0] for s in (1, 2, 3, 4, 5)]
    assert shots[-1] == pytest.approx(0.012)
    assert np.allclose(np.diff(np.log2(shots)), 1 / 3)
    assert noise_levels(5)[1] == pytest.approx(np.exp(1.20) * 0.012**2.18)


def test_dark_surfaces_lose_more_contrast_to_noise_than_light_ones() -> None:
    ratio = []
    for value in (60, 200):
        seen = corrupt(flat(value), "low_light", 4, ["k"]).double()
        ratio.append(float(seen.mean() / seen.std()))
    assert ratio[1] > 1.5 * ratio[0]


@pytest.mark.parametrize("severity", [1, 3])
def test_gaussian_noise_has_its_deviation(severity: int) -> None:
    seen = corrupt(flat(128), "gaussian_noise", severity, ["k"]).double() / 255
    unclipped = stats.norm(128 / 255, GAUSSIAN[severity - 1])
    expected = unclipped.rvs(100_000, random_state=0).clip(0, 1)
    assert float(seen.std()) == pytest.approx(expected.std(), rel=0.02)
    assert float(seen.mean()) == pytest.approx(128 / 255, abs=0.01)


def test_brightness_is_hsv_s_value() -> None:
    image = noisy()
    image[0, :, 0, 0] = 0
    seen = corrupt(image, "brightness", 2, ["k"])[0].permute(1, 2, 0).reshape(-1, 3)
    for before, after in zip(image[0].permute(1, 2, 0).reshape(-1, 3), seen, strict=True):
        h, s, v = colorsys.rgb_to_hsv(*(before.double() / 255).tolist())
        expected = colorsys.hsv_to_rgb(h, s, min(1, v + BRIGHTNESS[1]))
        assert after.tolist() == pytest.approx([255 * c for c in expected], abs=0.51)


def test_contrast_shrinks_the_deviation_about_the_mean() -> None:
    image = noisy()
    seen = corrupt(image, "contrast", 1, ["k"]).double()
    for channel in range(3):
        before, after = image[0, channel].double(), seen[0, channel]
        assert float(after.mean()) == pytest.approx(float(before.mean()), abs=0.1)
        assert float(after.std() / before.std()) == pytest.approx(CONTRAST[0], rel=0.01)


def test_fog_is_bright_uneven_and_within_the_old_maximum() -> None:
    seen = corrupt(flat(50), "fog", 1, ["k"])
    most, thickness = 50 / 255, FOG[0]
    assert int(seen.min()) == round(255 * most * most / (most + thickness))
    assert int(seen.max()) == 50
    large = torch.nn.functional.avg_pool2d(seen.float(), 24)
    assert large.std() > 0.4 * seen.float().std()  # clouds, not grain
    assert torch.equal(seen[0, 0], seen[0, 1])


def test_jpeg_is_pillow_s_at_the_same_quality() -> None:
    image = torch.nn.functional.avg_pool2d(noisy(size=128).float(), 4).to(torch.uint8)
    for severity, quality in enumerate(QUALITY, start=1):
        file = io.BytesIO()
        Image.fromarray(image[0].permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
        peer = np.asarray(Image.open(file)).astype(int)
        seen = corrupt(image, "jpeg", severity, ["k"])[0].permute(1, 2, 0).numpy().astype(int)
        lost = np.abs(seen - image[0].permute(1, 2, 0).numpy()).mean()
        assert np.abs(seen - peer).mean() < 0.25 * lost


def test_a_point_out_of_focus_is_a_disk() -> None:
    image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    image[:, :, 100:103, 100:103] = 255
    seen = corrupt(image, "defocus_blur", 3, ["k"])[0, 0].double()
    radius = DEFOCUS[2]
    rows, columns = np.mgrid[-9:10, -9:10]
    disk = (np.hypot(rows, columns) <= radius).astype(float)
    expected = ndimage.convolve(image[0, 0].double().numpy(), disk / disk.sum())
    assert float(seen.sum()) == pytest.approx(expected.sum(), rel=0.05)
    assert np.abs(seen.numpy() - expected).max() < 0.45 * expected.max()
    spread = [np.sqrt((m * (np.arange(224) - 101) ** 2).sum() / m.sum())
              for m in (seen.sum(0).numpy(), expected.sum(0))]  # fmt: skip
    assert spread[0] == pytest.approx(spread[1], rel=0.06)


def test_motion_is_a_streak_in_one_direction_within_45_degrees() -> None:
    image = torch.zeros(1, 3, 224, 224, dtype=torch.uint8)
    image[:, :, 110:114, 110:114] = 255
    slopes = []
    for key in "abcdef":
        seen = corrupt(image, "motion_blur", 2, [key])[0, 0].double().numpy()
        rows, columns = np.nonzero(seen > 0)
        mass = seen[rows, columns]
        values, vectors = np.linalg.eigh(np.cov(columns, rows, aweights=mass))
        assert np.sqrt(values[1]) == pytest.approx(5, rel=0.15)  # the streak's deviation
        assert np.sqrt(values[0]) < 1.6  # the point's own size
        slopes.append(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180)
    assert all(slope <= 46 or slope >= 134 for slope in slopes)
    assert np.ptp(slopes) > 10


def test_blurs_scale_with_the_image() -> None:
    """An image of half the side, blurred, is the blurred image at half the side."""
    large = torch.nn.functional.interpolate(noisy(size=14).float(), scale_factor=16, mode="bicubic")
    large = large.clamp(0, 255).to(torch.uint8)
    small = torch.nn.functional.avg_pool2d(large.float(), 2).to(torch.uint8)
    for name in ("defocus_blur", "motion_blur"):
        one = torch.nn.functional.avg_pool2d(corrupt(large, name, 4, ["k"]).float(), 2)
        other = corrupt(small, name, 4, ["k"]).float()
        lost = (other - small.float()).abs().mean()
        assert (one - other).abs().mean() < 0.1 * lost
