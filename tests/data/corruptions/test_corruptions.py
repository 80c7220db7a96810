"""What every corruption must do; a new one is tested by being registered."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from moenas.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from moenas.errors import ConfigError, DataError

KEYS = ["first", "second", "third"]


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Three pictures with the spectrum of photographs (amplitude 1 / f), uint8 [3, 3, 64, 80]."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.rfftfreq(80)[None])
    frequency[0, 0] = np.inf
    waves = np.fft.rfft2(rng.standard_normal((3, 3, 64, 80))) / frequency
    result = np.fft.irfft2(waves, (64, 80))
    result = 110 + 45 * result / result.std((2, 3), keepdims=True)
    return torch.from_numpy(result.round().clip(0, 255).astype(np.uint8))


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    error = (one.double() - other.double()).square().mean()
    return float(10 * torch.log10(255**2 / error))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_each_severity_is_worse_than_the_one_before(name: str, images: torch.Tensor) -> None:
    quality = [psnr(images, corrupt(images, name, severity, KEYS)) for severity in SEVERITIES]
    assert quality == sorted(quality, reverse=True)
    assert quality[0] < 40
    assert quality[0] - quality[-1] > 1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_images_do_not_depend_on_their_batch(name: str, images: torch.Tensor) -> None:
    for severity in (1, 5):
        together = corrupt(images, name, severity, KEYS, seed=3)
        assert together.dtype == torch.uint8
        assert together.shape == images.shape
        backwards = corrupt(images.flip(0), name, severity, KEYS[::-1], seed=3).flip(0)
        # Filters of other batches may round a value of x.5 the other way.
        assert (together.int() - backwards.int()).abs().max() <= 1
        for number, key in enumerate(KEYS):
            alone = corrupt(images[number : number + 1], name, severity, [key], seed=3)
            assert (together[number].int() - alone[0].int()).abs().max() <= 1
        assert torch.equal(corrupt(images, name, severity, KEYS, seed=3), together)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_one_key_is_one_draw_and_the_input_stays(name: str, images: torch.Tensor) -> None:
    before = images.clone()
    scene = images[:1].expand(3, -1, -1, -1)
    same = corrupt(scene, name, 3, ["scene"] * 3)
    assert (same.int() - same[:1].int()).abs().max() <= 1
    assert torch.equal(images, before)
    clean = corrupt(images, name, 0, KEYS)
    assert torch.equal(clean, images)
    assert clean.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("name", ["gaussian_noise", "motion_blur", "fog", "low_light"])
def test_other_keys_and_seeds_are_other_draws(name: str, images: torch.Tensor) -> None:
    one, other = corrupt(images[:1].expand(2, -1, -1, -1), name, 3, ["b", "c"])
    reseeded = corrupt(images[:1], name, 3, ["b"], seed=1)[0]
    for changed in (other, reseeded):
        assert (one.int() - changed.int()).abs().max() > 5


def test_small_and_black_images_are_no_trouble() -> None:
    black = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    for name in CORRUPTIONS:
        for severity in SEVERITIES:
            assert corrupt(black, name, severity, ["k"]).shape == black.shape
        assert corrupt(black[:0], name, 3, []).shape == (0, 3, 16, 16)


def test_what_cannot_be_done_is_said(images: torch.Tensor) -> None:
    with pytest.raises(ConfigError, match=r"no corruption named 'motion'.*motion_blur"):
        corrupt(images, "motion", 1, KEYS)
    with pytest.raises(ConfigError, match=r"severity is 6; it is 0 \(none\) to 5"):
        corrupt(images, "fog", 6, KEYS)
    with pytest.raises(DataError, match=r"takes uint8 \[B, 3, H, W\], not torch.float32"):
        corrupt(images.float(), "fog", 1, KEYS)
    with pytest.raises(DataError, match="3 images but 2 keys"):
        corrupt(images, "fog", 1, KEYS[:2])
