from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from moenas.analysis.routes import Routes, SwitchLayer, trace, trace_tokens
from moenas.analysis.typical import typical_images
from moenas.errors import ModelError
from moenas.evaluation.predict import probabilities
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.pruning.importance import IMPORTANCES
from moenas.pruning.observer import Observer

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return upcycle(build_model("mobilevitv2_050", seed=0), (3, 1, 2, 1, 1, 1, 1, 1, 4), seed=0)


def test_a_pass_counts_what_each_expert_took(model: torch.nn.Module, images: np.ndarray) -> None:
    found = trace(model, images, device=CPU, batch_size=3)
    assert [(layer.number, layer.experts) for layer in found.layers] == [(1, 3), (3, 2), (9, 4)]
    everything = np.ones(7, dtype=bool)
    usage = IMPORTANCES["usage"]
    other = Observer(model, images, np.arange(7), usage, everything, device=CPU)
    assert list(other.tokens) == [layer.name for layer in found.layers]
    for share, counts in zip(found.shares, other.tokens.values(), strict=True):
        np.testing.assert_allclose(share, counts / counts.sum(1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(found.probability, probabilities(model, images), atol=1e-6)
    tokens = trace_tokens(model, images, np.array([4, 1]), device=CPU)
    for share, chosen in zip(found.shares, tokens, strict=True):
        again = [np.bincount(row, minlength=share.shape[1]) / len(row) for row in chosen]
        np.testing.assert_allclose(share[[4, 1]], again, atol=1e-6)


def test_batches_do_not_matter(model: torch.nn.Module, images: np.ndarray) -> None:
    one, two = (trace(model, images, device=CPU, batch_size=size) for size in (2, 64))
    for share, other in zip(one.shares, two.shares, strict=True):
        assert (share == other).all()


def test_no_images(model: torch.nn.Module, images: np.ndarray) -> None:
    found = trace(model, images, np.arange(0), device=CPU)
    assert len(found) == 0
    assert found.to_frame(pd.DataFrame({"image_id": []})).empty


def test_the_table_has_a_row_an_image_and_layer() -> None:
    layers = (SwitchLayer(2, "a", 2), SwitchLayer(5, "b", 3))
    shares = np.float32([[0.5, 0.5], [0.2, 0.8]]), np.float32([[0, 0.4, 0.6], [1, 0, 0]])
    frame = Routes(layers, shares, np.array([0.1, 0.9])).to_frame(pd.DataFrame({"id": ["x", "y"]}))
    assert frame[["id", "layer", "experts", "expert"]].to_numpy().tolist() == [
        ["x", 2, 2, 1],  # a tie goes to the first
        ["x", 5, 3, 3],
        ["y", 2, 2, 2],
        ["y", 5, 3, 1],
    ]
    assert frame["share_3"].isna().tolist() == [True, False, True, False]
    np.testing.assert_allclose(frame["share"], [0.5, 0.6, 0.8, 1.0])


def test_a_dense_model_has_no_routes(images: np.ndarray) -> None:
    with pytest.raises(ModelError, match=r"'mobilevitv2_050-e111111111' has no experts"):
        trace(build_model("mobilevitv2_050", seed=0), images, device=CPU)


def test_typical_images_are_of_different_scenes() -> None:
    share = np.float32([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.4, 0.6], [1.0, 0.0]])
    found = Routes((SwitchLayer(1, "a", 2),), (share,), np.zeros(5))
    frame = pd.DataFrame({"cluster": list("abcbd"), "matched_set": ["s", None, "s", None, None]})
    assert typical_images(found, frame, 0, 1).tolist() == [0, 1]  # 2: same scene, 3: same cluster
    assert typical_images(found, frame, 0, 1, count=1).tolist() == [0]
    assert typical_images(found, frame, 0, 0, count=2).tolist() == [4, 3]
