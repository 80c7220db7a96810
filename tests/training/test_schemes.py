from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from moenas.data.dataset import ImageDataset
from moenas.errors import ConfigError
from moenas.runs import ModelFolder
from moenas.training.loop import train
from moenas.training.optimizer import learning_rate_schedule, make_optimizer
from moenas.training.schemes import PAPER_SCHEMES, SCHEMES, Scheme


def rates(scheme: Scheme, steps: int, at: list[int]) -> list[float]:
    optimizer = make_optimizer(nn.Linear(2, 2), scheme)
    schedule = learning_rate_schedule(optimizer, scheme, steps)
    found = []
    for step in at:
        schedule.step_update(step)
        found.append(float(optimizer.param_groups[0]["lr"]))
    return found


def test_there_are_the_papers_five() -> None:
    assert set(SCHEMES) == {*PAPER_SCHEMES, "short"}
    assert len(PAPER_SCHEMES) == 5
    for name in SCHEMES:
        assert SCHEMES[name].name == name


def test_resnets_rate_falls_to_a_tenth_twice() -> None:
    found = rates(SCHEMES["resnet"], 300, [0, 99, 100, 199, 200, 299])
    assert found == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_mobilenetv2s_rate_falls_by_two_per_cent_an_epoch() -> None:
    steps = 300 * 10  # ten an epoch
    found = rates(SCHEMES["mobilenetv2"], steps, [0, 9, 10, 25, 1005, 2999])
    powers = [0, 0, 1, 2, 100, 299]
    assert found == pytest.approx([0.045 * 0.98**k for k in powers])


def test_efficientnets_rate_falls_by_three_per_cent_every_two_and_a_half_epochs() -> None:
    scheme = SCHEMES["efficientnet"]
    steps, warmup = 350 * 100, 5 * 100
    found = rates(scheme, steps, [warmup, warmup + 230, warmup + 240, steps - 1])
    assert found == pytest.approx([0.256 * 0.97**k for k in (0, 0, 1, 145)])
    assert rates(scheme, steps, [0])[0] < 0.001


def test_mobilevits_rate_is_a_cosine_after_a_short_warm_up() -> None:
    scheme = SCHEMES["mobilevit"]
    steps, warmup = 1000, 8
    first, peak, middle, last = rates(scheme, steps, [0, warmup, 504, 999])
    assert first < peak == pytest.approx(2e-3)
    assert middle == pytest.approx((2e-3 + 2e-4) / 2, rel=0.01)
    assert last == pytest.approx(2e-4, rel=0.01)


@pytest.mark.parametrize("name", list(SCHEMES))
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_shortest_trainings_have_a_rate(name: str, steps: int) -> None:
    for rate in rates(SCHEMES[name], steps, list(range(steps))):
        assert 0 < rate <= SCHEMES[name].learning_rate


def test_optimisers_are_the_sources() -> None:
    model = nn.Linear(2, 2)
    rms = make_optimizer(model, SCHEMES["mobilenetv2"])
    group = rms.param_groups[0]
    assert (group["momentum"], group["alpha"], group["eps"]) == (0.9, 0.9, 1.0)
    sgd = make_optimizer(model, SCHEMES["resnet"])
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.param_groups[0]["momentum"], sgd.param_groups[0]["nesterov"]) == (0.9, False)


def test_a_short_training_has_its_own_rates() -> None:
    sgd = SCHEMES["resnet"].fitted(images=3200, epochs=2, batch_size=32)
    assert (sgd.epochs, sgd.batch_size) == (2, 32)
    assert sgd.learning_rate == pytest.approx(0.1 / 8)
    assert sgd.final_learning_rate == pytest.approx(0.001 / 8)
    assert sgd.weight_decay == 1e-4
    adam = SCHEMES["mobilevit"].fitted(images=3200, epochs=2, batch_size=64)
    assert adam.learning_rate == pytest.approx(2e-3 / 4)
    assert adam.weight_decay * adam.learning_rate * 100 == pytest.approx(5.0)  # a hundred steps
    hopeless = SCHEMES["mobilevit"].fitted(images=64, epochs=3, batch_size=64)  # three steps
    assert hopeless.weight_decay == adam.weight_decay
    long = SCHEMES["mobilevitv2"].fitted(images=1_280_000, epochs=300, batch_size=128)
    assert long == dataclasses.replace(SCHEMES["mobilevitv2"], epochs=300)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stairs": -1}, "stairs must be at least 0"),
        ({"dropout": 1.5}, "dropout must be within 0–1"),
        ({"stochastic_depth": -1}, "stochastic_depth must be within 0–1"),
        ({"augmentation": "resnet"}, "no training transform named 'resnet'"),
    ],
)
def test_what_a_scheme_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SCHEMES["resnet"], **change)


@pytest.mark.parametrize("name", list(SCHEMES))
def test_each_scheme_learns(name: str, pictures: tuple[Any, Any], tmp_path: Path) -> None:
    """A few steps on two kinds of images that differ by brightness."""
    images, labels = pictures
    torch.manual_seed(0)
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    scheme = SCHEMES[name].fitted(images=len(labels), epochs=8, batch_size=8)
    data = ImageDataset(images, labels)
    result = train(
        model,
        data,
        data,
        scheme,
        folder=ModelFolder(tmp_path),
        device=torch.device("cpu"),
    )
    assert result.history[-1].loss < result.history[0].loss
