from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch

from moenas.training.input_size import resized, suited
from moenas.training.schemes import SCHEMES, Scheme

FULL = torch.zeros(2, 3, 256, 256, dtype=torch.uint8)


@pytest.mark.parametrize(("side", "small"), [(32, 32), (64, 32), (96, 64), (128, 96), (224, 160)])
def test_small_images_are_two_thirds_and_need_no_padding(
    scheme: Scheme, side: int, small: int
) -> None:
    images = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    recipe = dataclasses.replace(scheme, small_share=0.5)
    assert resized(images, recipe, 0, 4, 10).shape == (2, 3, small, small)
    assert resized(images, recipe, 0, 5, 10) is images


def test_several_sizes_are_mobilevits_drawn_by_seed_and_step(scheme: Scheme) -> None:
    recipe = dataclasses.replace(scheme, multi_scale=True)
    sides = [resized(FULL, recipe, 3, step, 200).shape[-1] for step in range(200)]
    assert set(sides) == {160, 192, 256, 288, 320}
    assert min(Counter(sides).values()) > 20
    assert sides == [resized(FULL, recipe, 3, step, 200).shape[-1] for step in range(200)]
    assert sides != [resized(FULL, recipe, 4, step, 200).shape[-1] for step in range(200)]


def test_by_default_images_stay_as_they_are(scheme: Scheme) -> None:
    assert resized(FULL, scheme, 0, 0, 10) is FULL


def test_a_model_of_one_size_sees_that_alone() -> None:
    many = dataclasses.replace(SCHEMES["mobilevit"], small_share=0.5)
    assert suited(many, "resnet18", 64) == many
    assert suited(many, "mixer_s32_224@64", 64) == dataclasses.replace(
        many, multi_scale=False, small_share=0.0
    )
    for scheme in SCHEMES.values():
        assert suited(scheme, "lcnet_035", 64) == scheme
