from __future__ import annotations

import numpy as np
import pytest

from moenas.data.lighting import LIGHT_MODELS, apply_lighting
from moenas.errors import ConfigError
from moenas.predictions import LIGHTS


def _grey(value: int, size: int = 64) -> np.ndarray:
    return np.full((size, size, 3), value, dtype=np.uint8)


def _mean(kind: str, value: int = 128, draws: int = 30) -> float:
    return float(
        np.mean(
            [apply_lighting(_grey(value), kind, np.random.default_rng(s)) for s in range(draws)]
        )
    )


def test_there_is_a_model_for_each_light():
    assert set(LIGHT_MODELS) == set(LIGHTS)
    with pytest.raises(ConfigError, match=r"no light named 'dim'.*dimly_lit"):
        apply_lighting(_grey(1), "dim", np.random.default_rng(0))


def test_brightness_is_ordered():
    means = [_mean(kind) for kind in ("underexposed", "dimly_lit", "well_lit", "overexposed")]
    assert means == sorted(means)
    assert means[0] < 45
    assert 105 < means[2] < 132
    assert means[3] > 170


def test_stack_gets_the_same_light_and_noise_pixel_by_pixel():
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, size=(2, 32, 32, 3), dtype=np.uint8)
    second[:16] = first[:16]
    for kind in LIGHTS:
        both = apply_lighting(np.stack([first, second]), kind, np.random.default_rng(5))
        alone = apply_lighting(first, kind, np.random.default_rng(5))
        np.testing.assert_array_equal(both[0], alone)
        np.testing.assert_array_equal(both[0, :16], both[1, :16])


def test_noise_grows_relative_to_the_signal_as_light_falls():
    def relative(kind: str) -> float:
        image = apply_lighting(_grey(180), kind, np.random.default_rng(1)).astype(float)
        differences = image[:, 1:] - image[:, :-1]  # neighbours: a lamp's fall-off cancels
        return float(differences.std() / image.mean())

    assert relative("dimly_lit") > 2 * relative("well_lit")
    assert relative("underexposed") > 2 * relative("well_lit")


def test_dark_surfaces_lose_more_than_light_ones_when_underexposed():
    light = np.array([_mean("underexposed", value, 8) for value in (40, 230)])
    assert light[0] < 12
    assert light[1] > 4 * light[0]


def test_overexposure_clips_light_surfaces_and_input_is_untouched():
    image = _grey(235)
    result = apply_lighting(image, "overexposed", np.random.default_rng(0))
    assert (result == 255).mean() > 0.95
    assert (image == 235).all()
    assert result.dtype == np.uint8
