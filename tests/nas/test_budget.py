from __future__ import annotations

import dataclasses

import pytest
import torch

from moenas.models.cost import count_macs
from moenas.nas import budget
from moenas.nas.budget import Clock, Speed, estimate, measure_speed
from moenas.nas.settings import SearchConfig

COUNTS = {"train": 1000, "val": 100, "search": 200, "report": 300}
SPEED = Speed(training=0.01, evaluation=0.001)
PLAIN = SearchConfig(
    wider=None, finalists=0, trials=10, parent_epochs=5, trial_epochs=2, finalist_epochs=3, seeds=2
)


def test_the_price_by_hand() -> None:
    cost = estimate(PLAIN, COUNTS, SPEED, workers=1)
    parent = 5 * 1000 * 0.01 + (5 * 100 + 200) * 0.001
    trial = 2 * 1000 * 0.01 + (2 * 100 + 200) * 0.001
    final = 3 * 1000 * 0.01 + (3 * 100 + 500) * 0.001
    assert cost.seconds_a_trial == pytest.approx(trial)
    assert cost.seconds == pytest.approx(3 * parent + 10 * trial + 2 * final)
    assert cost.trials == 10
    assert cost.trainings == 1 + 2 + 10 + 2


def test_more_workers_take_less_time_and_the_same_trials() -> None:
    one, two = (estimate(PLAIN, COUNTS, SPEED, workers=n) for n in (1, 2))
    assert two.seconds == one.seconds / 2
    assert two.seconds_a_trial == one.seconds_a_trial


def test_a_wider_model_costs_its_multiply_adds_and_finalists_cost_seeds() -> None:
    wide = dataclasses.replace(PLAIN, wider="mobilevitv2_075", finalists=3, widths=False)
    base, more = (estimate(c, COUNTS, SPEED, workers=1) for c in (PLAIN, wide))
    scale = count_macs("mobilevitv2_075", None, 128) / count_macs("mobilevitv2_050", None, 128)
    parent = 5 * 10 + 0.7
    final = 3 * 10 + 0.8
    added = 2 * (parent + final) * scale + 3 * 2 * final
    assert more.seconds - base.seconds == pytest.approx(added, rel=0.02)
    assert more.trainings == base.trainings + 2 + 2 + 6


def test_searching_two_widths_costs_a_parent_and_larger_trials() -> None:
    narrow = dataclasses.replace(PLAIN, wider="mobilevitv2_075", finalists=3, widths=False)
    both = dataclasses.replace(narrow, widths=True)
    one, two = (estimate(c, COUNTS, SPEED, workers=1) for c in (narrow, both))
    scale = count_macs("mobilevitv2_075", None, 128) / count_macs("mobilevitv2_050", None, 128)
    assert two.trainings == one.trainings + 1
    assert two.seconds_a_trial == pytest.approx(one.seconds_a_trial * (1 + scale) / 2)
    assert two.seconds > one.seconds


def test_parts_of_a_supernet_cost_a_look_and_the_net_four_trainings() -> None:
    net = dataclasses.replace(PLAIN, strategy="supernet", supernet_epochs=7)
    one, more = (
        estimate(dataclasses.replace(net, trials=n), COUNTS, SPEED, workers=1) for n in (1, 601)
    )
    look = (1024 + COUNTS["val"] + COUNTS["search"]) * SPEED.evaluation
    assert one.seconds_a_trial == pytest.approx(look)
    assert more.seconds - one.seconds == pytest.approx(600 * look)
    assert more.trainings == one.trainings
    longer = dataclasses.replace(net, trials=1, supernet_epochs=9)
    added = estimate(longer, COUNTS, SPEED, workers=1).seconds - one.seconds
    seen = COUNTS["train"] * SPEED.training + COUNTS["val"] * SPEED.evaluation
    assert added == pytest.approx(4 * 2 * seen)


def test_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(budget.time, "monotonic", lambda: now)
    clock, free = Clock(10), Clock(None)
    assert clock.deadline == 110
    now = 104.0
    assert clock.elapsed == 4
    assert clock.has(6)
    assert not clock.has(6.5)
    assert free.has(1e9)
    assert free.deadline is None


def test_speed_is_measured() -> None:
    config = dataclasses.replace(PLAIN, image_size=32, batch_size=4, augmentation="light")
    speed = measure_speed(config, torch.device("cpu"))
    assert 0 < speed.evaluation < speed.training < 10
