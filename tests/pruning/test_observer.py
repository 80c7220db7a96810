from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from moenas.models.builder import build_model
from moenas.models.convert import remove_expert, upcycle
from moenas.pruning.importance import IMPORTANCES
from moenas.pruning.observer import MEMORY, Observer

CPU = torch.device("cpu")
EXPERTS = (3, 1, 2, 1, 1, 1, 1, 1, 4)
LAST = "stages.4.1.transformer.2.mlp"
ALL = np.ones(7, dtype=bool)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    dense = build_model("mobilevitv2_050", seed=0)
    return upcycle(dense, EXPERTS, seed=0, noise=0.5).eval()


def observe(model: nn.Module, images: np.ndarray, memory: int = MEMORY) -> Observer:
    return Observer(
        model, images, np.arange(7), IMPORTANCES["usage"], ALL, device=CPU, memory=memory
    )


def test_each_layer_counts_each_images_tokens(model: nn.Module, images: np.ndarray) -> None:
    seen = observe(model, images)
    assert seen.probability.shape == (7,)
    assert [counts.shape for counts in seen.tokens.values()] == [(7, 3), (7, 2), (7, 4)]
    # 32 px: maps of 4, 2 and 1 (padded to 2) pixels a side.
    assert [set(counts.sum(axis=1)) for counts in seen.tokens.values()] == [{16}, {4}, {4}]
    assert seen.amounts == {}


def test_a_dense_model_routes_nothing(images: np.ndarray) -> None:
    seen = observe(build_model("mobilevitv2_050", seed=0), images)
    assert seen.tokens == {}
    assert (seen.probability > 0).all()


@pytest.mark.parametrize("memory", [MEMORY, 0])
def test_a_removal_is_seen(model: nn.Module, images: np.ndarray, memory: int) -> None:
    seen, smaller = observe(model, images, memory), model
    for layer, expert in ((LAST, 1), ("stages.2.1.transformer.0.mlp", 0), (LAST, 0)):
        used = (seen.tokens[layer][:, expert] > 0).mean()
        assert seen.remove(layer, expert) == used
        smaller = remove_expert(smaller, layer, expert)
        anew = observe(smaller, images, 0)
        np.testing.assert_allclose(seen.probability, anew.probability, rtol=0, atol=1e-6)
        assert list(seen.tokens) == list(anew.tokens)
        for name, counts in anew.tokens.items():
            assert (seen.tokens[name] == counts).all()


def test_what_lies_before_the_layer_is_not_computed(
    model: nn.Module, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The work that a removal in the last layer takes, in calls of modules."""
    calls: list[str] = []
    forward = torch.nn.Conv2d.forward

    def count(self: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
        calls.append("conv")
        return forward(self, x)

    with_memory, without = observe(model, images), observe(model, images, 0)
    monkeypatch.setattr(torch.nn.Conv2d, "forward", count)
    without.remove(LAST, 1)
    whole = len(calls)
    calls.clear()
    with_memory.remove(LAST, 1)
    assert len(calls) == 1 < 20 < whole  # the block's last projection


def test_as_many_inputs_are_kept_as_fit(model: nn.Module, images: np.ndarray) -> None:
    one = 4 * 1 * 64 * 4 * 7  # of the last layer: 4 pixels, 1 patch, 64 channels of float32
    last = 4 * 1 * 128 * 4 * 7
    assert one < last
    kept = [observe(model, images, m)._inputs for m in (last - 1, last, MEMORY)]
    assert [len(inputs) for inputs in kept] == [0, 1, 3]
    assert sum(t.nbytes for t in kept[1].values()) == last


def test_what_is_no_longer_needed_is_dropped(model: nn.Module, images: np.ndarray) -> None:
    seen = observe(model, images)
    seen.remove("stages.3.1.transformer.0.mlp", 0)
    assert len(seen._inputs) == 2
    assert "stages.3.1.transformer.0.mlp" not in seen.tokens
