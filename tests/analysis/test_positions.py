"""A change in a corner of the image must be seen by the tokens that lie in that corner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import small_bases
from moenas.analysis.positions import token_places
from moenas.analysis.routes import switch_layers
from moenas.errors import ModelError
from moenas.models.builder import build_model
from moenas.models.convert import upcycle

SIZE = 96
BASES = ["mobilevitv2_050", *small_bases.SMALL]


def inputs(model: nn.Module, image: torch.Tensor) -> dict[str, torch.Tensor]:
    """What each Switch FFN gets: [tokens, width]."""
    seen: dict[str, torch.Tensor] = {}
    handles = []
    for layer in switch_layers(model):
        module = model.get_submodule(layer.name)

        def keep(module: nn.Module, args: tuple[torch.Tensor], name: str = layer.name) -> None:
            x = args[0].movedim(1, -1) if module.channels_first else args[0]
            seen[name] = x.reshape(-1, x.shape[-1])

        handles.append(module.register_forward_pre_hook(keep))
    with torch.inference_mode():
        model(image)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("base", BASES)
def test_each_token_finds_its_place(base: str) -> None:
    dense = build_model(base, seed=0).eval()
    model = upcycle(dense, (2,) * len(dense.architecture.experts), seed=0)
    image = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    before = inputs(model, image)
    checked = 0
    for row, column in ((0, 0), (0, 2), (2, 1), (1, 0)):  # thirds of the image
        other = image.clone()
        third = SIZE // 3
        spot = slice(row * third + 8, (row + 1) * third - 8)
        other[..., spot, slice(column * third + 8, (column + 1) * third - 8)] += 3.0
        for name, tokens in inputs(model, other).items():
            places = token_places(model, name, len(tokens))
            if places is None or len(places) < 3:
                continue
            if name != next(iter(before)):  # later layers have mixed the whole image
                continue
            change = (tokens - before[name]).abs().sum(1).numpy()[places]
            weight = np.maximum(change - np.median(change), 0)
            centres = (np.arange(len(places)) + 0.5) / len(places)
            y, x = (weight.sum(axis) @ centres / weight.sum() for axis in (1, 0))
            assert abs(y - (row + 0.5) / 3) < 0.25, (name, y, x)
            assert abs(x - (column + 0.5) / 3) < 0.25, (name, y, x)
            checked += 1
    assert checked == 4


def test_the_class_token_has_no_place() -> None:
    dense = build_model("small_xcit", seed=0)
    model = upcycle(dense, (2,) * len(dense.architecture.experts), seed=0)
    names = [layer.name for layer in switch_layers(model)]
    where = [token_places(model, name, 36 if "cls" not in name else 1) for name in names]
    assert [place is None for place in where] == ["cls" in name for name in names]
    dense = build_model("small_deit", seed=0)
    assert token_places(dense, "blocks.0.mlp", 38).ravel().tolist() == list(range(2, 38))


def test_every_position_is_one_token() -> None:
    places = token_places(
        build_model("mobilevitv2_050", seed=0), "stages.2.1.transformer.0.mlp", 36
    )
    assert sorted(places.ravel()) == list(range(36))
    assert places[:2, :2].ravel().tolist() == [0, 9, 18, 27]  # a patch holds a token of each place
    with pytest.raises(ModelError, match="not those of a square"):
        token_places(build_model("small_vit", seed=0), "blocks.0.mlp", 30)
