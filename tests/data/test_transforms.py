from __future__ import annotations

import pickle

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from moenas.data.transforms import TRANSFORMS, ColourJitter, train_transform
from moenas.errors import ConfigError


def _image() -> torch.Tensor:
    return torch.randint(0, 256, (3, 96, 96), dtype=torch.uint8, generator=torch.manual_seed(0))


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_contract(name):
    transform = pickle.loads(pickle.dumps(train_transform(name, 64)))
    image = _image()
    before = image.clone()
    torch.manual_seed(1)
    first = transform(image)
    torch.manual_seed(1)
    again = transform(image)
    other = transform(image)
    assert first.shape == (3, 64, 64)
    assert first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    assert torch.equal(image, before)


def test_none_keeps_an_image_of_the_size():
    assert torch.equal(train_transform("none", 96)(_image()), _image())


def test_unknown_name():
    with pytest.raises(ConfigError, match=r"no training transform named 'lite'.*light"):
        train_transform("lite", 32)


def test_colour_jitter_equals_torchvision(monkeypatch):
    image = (_image().float() * 0.4 + 60).to(torch.uint8)  # far from the clipping that we skip
    draws = torch.tensor([0.7, 0.2, 0.9])
    monkeypatch.setattr(torch, "rand", lambda n: draws)
    ours = ColourJitter(0.4, 0.25, 0.3)(image)
    bright, contrast, saturation = (1 + (2 * draws - 1) * torch.tensor([0.4, 0.25, 0.3])).tolist()
    theirs = F.adjust_saturation(
        F.adjust_contrast(F.adjust_brightness(image, bright), contrast), saturation
    )
    assert (ours.int() - theirs.int()).abs().max() <= 3
