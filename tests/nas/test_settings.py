"""A search's settings become training schemes."""

from __future__ import annotations

import dataclasses

import pytest

from moenas.nas.settings import SearchConfig


def test_the_plain_router_is_for_parents_trials_and_finalists_alike() -> None:
    for tuning in (True, False):
        ours = SearchConfig().training(3, tuning=tuning)
        plain = SearchConfig(router="switch").training(3, tuning=tuning)
        assert ours.expert_sharing > 0.5
        assert ours.router_rate < 0.5
        assert plain == ours.plain_experts() != ours


def test_short_parents_have_weight_decay_enough_and_all_share_it() -> None:
    config = SearchConfig(parent_epochs=2, batch_size=32)
    fitted = config.fitted(3200)  # 200 steps
    parent = fitted.training(config.parent_epochs, tuning=False)
    assert parent.weight_decay * parent.learning_rate * 200 == pytest.approx(5.0)
    assert fitted.training(0.1, tuning=True).weight_decay == parent.weight_decay
    assert SearchConfig().fitted(1_000_000).training(100, tuning=False).weight_decay == 0.05
    for chosen in (dataclasses.replace(config, pretrained=True), SearchConfig(weight_decay=0.2)):
        assert chosen.fitted(3200) == chosen
