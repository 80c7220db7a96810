from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from moenas.data.dataset import ImageDataset, normalise
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.routing import record_routing
from moenas.models.subnet import subnet
from moenas.runs import ModelFolder
from moenas.training.loop import train
from moenas.training.losses import router_loss, training_loss
from moenas.training.sandwich import SandwichStep
from moenas.training.schemes import Scheme
from moenas.training.step import Batch

CPU = torch.device("cpu")
FULL = (3, 1, 2, 1, 1, 1, 1, 1, 3)


@pytest.fixture
def supernet() -> torch.nn.Module:
    return upcycle(build_model("mobilevitv2_050", seed=1), FULL, seed=1, noise=0.5)


def batch(pictures: tuple[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = pictures
    return normalise(torch.from_numpy(images[:6])), torch.from_numpy(labels[:6])


def test_a_step_trains_the_whole_the_smallest_and_random_parts(supernet: torch.nn.Module) -> None:
    step = SandwichStep(supernet, seed=0)
    first, second = step.parts(0), step.parts(1)
    assert first[0] == second[0] == (1,) * 9
    assert first[1:] != second[1:]
    assert step.parts(0) == first  # whatever was drawn between
    for part in first:
        Architecture("mobilevitv2_050", part)
        assert all(n <= most for n, most in zip(part, FULL, strict=True))
    drawn = {part for number in range(60) for part in step.parts(number)}
    for layer, most in enumerate(FULL):
        assert {part[layer] for part in drawn} == set(range(1, most + 1))


def test_its_gradient_is_the_mean_over_the_parts(
    supernet: torch.nn.Module, pictures: tuple[Any, Any], scheme: Scheme
) -> None:
    """The oracle trains each part as a model of its own and adds up by hand."""
    images, labels = batch(pictures)
    supernet.eval()  # batch norms of the parts would see each other's statistics
    step = SandwichStep(supernet, seed=0)

    def backward(loss: torch.Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    with record_routing(supernet) as routings:
        loss, logged = step(supernet, Batch(images, labels, routings, scheme, 7), backward)
    assert {r.active for r in logged.values()} == {2, 3}  # the whole network's

    whole = subnet(supernet, FULL)
    with record_routing(whole) as routings:
        logits = whole(images)
        expected = training_loss(logits, labels, routings.values(), scheme)
    torch.testing.assert_close(loss, expected.detach())
    (expected / 4).backward()
    stem = whole.get_parameter("stem.conv.weight").grad
    assert stem is not None
    for experts in step.parts(7):
        part = subnet(supernet, experts)
        with record_routing(part) as routings:
            said = part(images)
            distance = F.kl_div(
                said.log_softmax(1), logits.detach().softmax(1), reduction="batchmean"
            )
            ((distance + router_loss(routings.values(), scheme)) / 4).backward()
        grad = part.get_parameter("stem.conv.weight").grad
        assert grad is not None
        stem += grad
    told = supernet.get_parameter("stem.conv.weight").grad
    assert told is not None
    # A router of one expert has a z-loss in the supernet and none as a plain FFN.
    torch.testing.assert_close(told, stem, rtol=0.02, atol=2e-3 * float(stem.abs().max()))


def test_a_resumed_supernet_ends_in_the_same_weights(
    pictures: tuple[Any, Any], scheme: Scheme, tmp_path: Path
) -> None:
    images, labels = pictures

    def go(name: str, epochs: int) -> dict[str, torch.Tensor]:
        recipe = dataclasses.replace(scheme, epochs=2, batch_size=8, ema_decay=None)
        model = upcycle(build_model("mobilevitv2_050", seed=1), FULL, seed=1)
        result = train(
            model,
            ImageDataset(images, labels, rows=np.arange(16)),
            ImageDataset(images, labels, rows=np.arange(16, 24)),
            recipe,
            folder=ModelFolder(tmp_path / name),
            seed=3,
            device=CPU,
            step=SandwichStep(model, seed=3),
            stop=lambda history: "enough" if len(history) >= epochs else None,
        )
        return result.model.state_dict()

    whole = go("whole", 2)
    go("parts", 1)
    resumed = go("parts", 2)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
