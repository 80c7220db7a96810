from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers
from moenas.models.midway import entered, find_points


@pytest.mark.parametrize(
    ("base", "pixels", "module"),
    [
        ("mobilevitv2_050", 64, "stages.3.1.transformer.1"),
        ("mobilevit_xxs", 64, "stages.3.1"),  # a shortcut leads around its layers
        ("convnext_atto", 32, "stages.1.blocks.1"),
        ("vit_tiny_patch16_224", 224, "blocks.3"),
    ],
)
def test_any_model_is_entered_at_its_layers(base: str, pixels: int, module: str) -> None:
    model = build_model(base, seed=0).eval()
    images = torch.randn(2, 3, pixels, pixels)
    layers = list(ffn_layers(model))
    points = find_points(model, images, layers)
    assert list(points) == layers
    assert module in {point.module for point in points.values()}
    point = next(point for point in points.values() if point.module == module)
    kept: list[Tensor] = []
    more = torch.randn(3, 3, pixels, pixels)
    hook = model.get_submodule(module).register_forward_pre_hook(lambda _, x: kept.append(x[0]))
    with torch.inference_mode():
        whole = model(more)
        hook.remove()
        assert kept[0].shape == (3, *point.shape)
        assert kept[0][0].nbytes == point.bytes
        with entered(model, point, kept[0]):
            rest = model(torch.zeros_like(more))
        torch.testing.assert_close(rest, whole, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model(more), whole)  # all is as it was


class Around(nn.Module):
    """The second layer's input is not all that the output depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return x + self.second(x)


class Twice(Around):
    """A module that runs twice has no one input."""

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.second(self.first(x)))


@pytest.mark.parametrize("model", [Around(), Twice()])
def test_what_has_a_way_around_is_no_point(model: nn.Module) -> None:
    points = find_points(model.eval(), torch.randn(2, 4), ["first", "second", "none"])
    assert list(points) == ["first"]
