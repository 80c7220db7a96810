from __future__ import annotations

import numpy as np
import pytest
import torch
from moenas.pruning.usage import Observation, least_used, observe

from moenas.models.builder import build_model
from moenas.models.convert import upcycle

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


def test_each_layer_counts_each_images_tokens(images: np.ndarray) -> None:
    model = upcycle(build_model("mobilevitv2_050", seed=0), (3, 1, 2, 1, 1, 1, 1, 1, 4), seed=0)
    seen = observe(model, images, np.arange(7), device=CPU, batch_size=3)
    assert seen.probability.shape == (7,)
    assert [counts.shape for counts in seen.tokens.values()] == [(7, 3), (7, 2), (7, 4)]
    # 32 px: maps of 4, 2 and 1 (padded to 2) pixels a side.
    assert [set(counts.sum(axis=1)) for counts in seen.tokens.values()] == [{16}, {4}, {4}]


def test_batches_and_order_do_not_matter(images: np.ndarray) -> None:
    model = upcycle(build_model("mobilevitv2_050", seed=0), (2,) * 9, seed=0)
    one = observe(model, images, np.arange(7), device=CPU, batch_size=64)
    rows = np.array([5, 0, 3])
    two = observe(model, images, rows, device=CPU, batch_size=2)
    np.testing.assert_allclose(two.probability, one.probability[rows], atol=1e-6)
    for layer, counts in two.tokens.items():
        assert (counts == one.tokens[layer][rows]).all()


def test_a_dense_model_routes_nothing(images: np.ndarray) -> None:
    model = build_model("mobilevitv2_050", seed=0)
    seen = observe(model, images, np.arange(2), device=CPU)
    assert seen.tokens == {}
    assert least_used(seen.tokens, np.arange(2)) is None


def test_the_least_used_is_found_by_share_on_the_given_images() -> None:
    tokens = {
        "a": np.array([[8, 2], [8, 2], [0, 10]]),
        "b": np.array([[50, 30, 20], [60, 40, 0], [0, 0, 100]]),
    }
    assert least_used(tokens, np.array([0, 1])) == ("b", 2, 0.1)
    assert least_used(tokens, np.array([2])) == ("b", 0, 0.0)


def test_of_equals_the_one_nearest_to_the_head_goes() -> None:
    tokens = {"first": np.array([[1, 3]]), "last": np.array([[2, 6]])}
    found = least_used(tokens, np.array([0]))
    assert found is not None
    assert found[:2] == ("last", 0)


def test_replacing_drops_layers_that_are_gone() -> None:
    seen = Observation(np.zeros(3), {"a": np.zeros((3, 2), int), "b": np.zeros((3, 2), int)})
    seen.replace(np.array([1]), Observation(np.ones(1), {"b": np.full((1, 2), 5)}))
    assert seen.probability.tolist() == [0, 1, 0]
    assert list(seen.tokens) == ["b"]
    assert seen.tokens["b"].tolist() == [[0, 0], [5, 5], [0, 0]]
