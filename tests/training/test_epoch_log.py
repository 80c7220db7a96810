from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from moenas.models.routing import record_routing
from moenas.models.switch_ffn import SwitchFFN
from moenas.training.checkpoint import TrainingState, load_state, save_state
from moenas.training.epoch_log import EpochLog


def test_a_dense_model_has_nothing_to_log() -> None:
    log = EpochLog()
    log.add(torch.tensor(1.0), {})
    assert log.least_used() is None
    assert log.entropy() is None


def test_what_is_logged_is_what_routers_did() -> None:
    model = torch.nn.Sequential(SwitchFFN(8, 8, 2), SwitchFFN(8, 8, 4))
    log, entropies = EpochLog(), []
    counts = {"0": torch.zeros(2), "1": torch.zeros(4)}
    for number in range(3):
        with record_routing(model) as routings:
            model(torch.randn(40, 8))
        log.add(torch.tensor(float(number)), routings)
        log = EpochLog(log.tensors())  # a training that goes on after each step
        for name, experts in (("0", 2), ("1", 4)):
            counts[name] += torch.bincount(routings[name].expert, minlength=experts)
            p = routings[name].probabilities.detach()
            entropies.append(float(-(p * p.log()).sum(1).mean() / math.log(experts)))
    least = min(float(tokens.min()) / 120 for tokens in counts.values())
    assert log.least_used() == pytest.approx(least, abs=1e-5)
    assert log.entropy() == pytest.approx(sum(entropies) / 6, abs=1e-5)
    assert log.loss() == 1


def test_a_log_from_a_file_adds_up_in_the_same_order(tmp_path: Path) -> None:
    """A file sorts its tensors by name, "10" before "2": the sum's last digits would change."""
    model = torch.nn.Sequential(*(SwitchFFN(8, 8, 2) for _ in range(12)))
    with record_routing(model) as routings:
        model(torch.randn(40, 8))
    log = EpochLog()
    log.add(torch.tensor(1.0), routings)
    optimizer = {"state": {}, "param_groups": []}
    save_state(tmp_path / "state", TrainingState({"log": log.tensors()}, optimizer, {}))
    state = load_state(tmp_path / "state")
    assert state is not None
    again = EpochLog(state.modules["log"])
    again.add(torch.tensor(1.0), {})
    assert list(again.tensors()) == list(log.tensors())
    assert again.entropy() == log.entropy()


def test_a_sure_router_that_starves_an_expert() -> None:
    model, log = SwitchFFN(8, 8, 2), EpochLog()
    with torch.no_grad():
        model.router.weight.copy_(torch.stack([torch.ones(8), -torch.ones(8)]) * 50)
    with record_routing(model) as routings:
        model(torch.rand(40, 8) + 0.1)
    log.add(torch.tensor(1.0), routings)
    assert log.least_used() == 0
    assert log.entropy() == pytest.approx(0, abs=1e-4)
