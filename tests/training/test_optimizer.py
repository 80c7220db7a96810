from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

import small_bases  # noqa: F401 - registers small_vit
from moenas.errors import ConfigError
from moenas.models.builder import build_model
from moenas.training.optimizer import learning_rate_schedule, make_optimizer
from moenas.training.schemes import Scheme


def test_the_learning_rate_is_a_function_of_the_step(scheme: Scheme) -> None:
    recipe = dataclasses.replace(scheme, warmup=0.2)

    def rates(steps: list[int]) -> list[float]:
        optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.learning_rate)
        schedule = learning_rate_schedule(optimizer, recipe, 50)
        found = []
        for step in steps:
            schedule.step_update(step)
            found.append(optimizer.param_groups[0]["lr"])
        return found

    forward = rates(list(range(50)))
    assert rates([30, 7, 49]) == [forward[30], forward[7], forward[49]]  # no memory
    peak = int(np.argmax(forward))
    assert 8 <= peak <= 11
    assert forward[peak] == pytest.approx(recipe.learning_rate, rel=0.02)
    assert (np.diff(forward[: peak + 1]) > 0).all()
    assert (np.diff(forward[peak:]) < 0).all()
    assert forward[0] > 0
    assert forward[-1] == pytest.approx(recipe.final_learning_rate, rel=0.1)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_trainings_have_a_learning_rate(scheme: Scheme, steps: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=scheme.learning_rate)
    schedule = learning_rate_schedule(optimizer, scheme, steps)
    for step in range(steps):
        schedule.step_update(step)
        assert 0 < optimizer.param_groups[0]["lr"] <= scheme.learning_rate


@pytest.mark.parametrize("name", ["adamw", "momentum", "rmsprop"])
def test_one_kernel_steps_as_single_operations_do(scheme: Scheme, name: str) -> None:
    torch.manual_seed(0)
    models = [nn.Linear(5, 3), nn.Linear(5, 3)]
    models[1].load_state_dict(models[0].state_dict())
    recipe = dataclasses.replace(scheme, optimizer=name)
    fast = make_optimizer(models[0], recipe)
    plain = make_optimizer(models[1], recipe)
    for group in plain.param_groups:
        if "fused" in group:
            assert group["fused"]
            group.update(fused=False, foreach=False)
    for _ in range(3):
        x = torch.randn(4, 5)
        for model, optimizer in zip(models, (fast, plain), strict=True):
            optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(models[0].weight, models[1].weight)


def groups_by_parameter(optimizer: torch.optim.Optimizer) -> dict[int, dict[str, object]]:
    return {id(p): group for group in optimizer.param_groups for p in group["params"]}


def test_routers_learn_slowly_and_are_not_decayed(scheme: Scheme) -> None:
    model = build_model("mobilevitv2_050", (1, 1, 1, 1, 1, 1, 2, 1, 3), seed=0)
    optimizer = make_optimizer(model, dataclasses.replace(scheme, router_rate=0.25))
    schedule = learning_rate_schedule(optimizer, scheme, 50)
    for step in (0, 7, 49):
        schedule.step_update(step)
        full = optimizer.param_groups[0]["lr"]
        found = groups_by_parameter(optimizer)
        assert len(found) == len(list(model.parameters()))  # each once
        for name, parameter in model.named_parameters():
            group = found[id(parameter)]
            router, matrix = "router" in name, parameter.ndim > 1 and not name.endswith("bias")
            assert group["lr"] == pytest.approx(full * (0.25 if router else 1))
            assert group["weight_decay"] == (scheme.weight_decay if matrix and not router else 0)


def test_what_the_model_exempts_is_not_decayed(scheme: Scheme) -> None:
    model = build_model("small_vit", seed=0)
    found = groups_by_parameter(make_optimizer(model, scheme))
    parameters = dict(model.named_parameters())
    exempt = model.no_weight_decay()
    assert exempt & set(parameters)
    for name in exempt & set(parameters):
        assert found[id(parameters[name])]["weight_decay"] == 0, name


def test_a_dense_model_has_no_group_for_routers(scheme: Scheme) -> None:
    optimizer = make_optimizer(build_model("mobilevitv2_050", seed=0), scheme)
    assert len(optimizer.param_groups) == 2


@pytest.mark.parametrize("name", ["router_rate", "expert_sharing"])
def test_rates_are_shares(scheme: Scheme, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be within 0–1"):
        dataclasses.replace(scheme, **{name: 1.5})


def test_plain_experts_are_trained_as_in_the_switch_transformer(scheme: Scheme) -> None:
    plain = scheme.plain_experts()
    assert (plain.router_rate, plain.expert_sharing) == (1.0, 0.0)
    assert dataclasses.replace(plain, router_rate=scheme.router_rate, expert_sharing=0.95) == scheme
