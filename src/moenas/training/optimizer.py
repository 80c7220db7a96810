"""Optimiser and learning rate: timm's, with the routers in a group of their own."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from timm.optim import create_optimizer_v2, get_optimizer_class, param_groups_weight_decay
from timm.scheduler import CosineLRScheduler, StepLRScheduler
from torch import nn

from moenas.models.routing import Router
from moenas.training.schemes import Scheme


def make_optimizer(model: nn.Module, scheme: Scheme) -> torch.optim.Optimizer:
    """Return timm's optimiser of the scheme; where torch has it as one kernel, that one.

    Routers learn at ``scheme.router_rate`` of the learning rate and without weight decay, which
    would make their choices ever less sure.
    """
    kind = get_optimizer_class(scheme.optimizer, bind_defaults=False)
    options: dict[str, Any] = {}
    if "fused" in inspect.signature(kind).parameters:
        options["fused"] = True
    if scheme.epsilon is not None:
        options["eps"] = scheme.epsilon
    routers = [p for m in model.modules() if isinstance(m, Router) for p in m.parameters()]
    names = {id(router) for router in routers}
    exempt: set[str] = getattr(model, "no_weight_decay", set)()  # timm: class tokens, positions
    groups = param_groups_weight_decay(model, scheme.weight_decay, no_weight_decay_list=exempt)
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) not in names]
    if routers:
        group = {"params": routers, "weight_decay": 0.0, "lr_scale": scheme.router_rate}
        groups.append(group)
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        groups, opt=scheme.optimizer, lr=scheme.learning_rate, **options
    )
    return optimizer


def learning_rate_schedule(
    optimizer: torch.optim.Optimizer, scheme: Scheme, steps: int
) -> CosineLRScheduler | StepLRScheduler:
    """Return timm's schedule over ``steps`` optimiser steps, a function of the step alone."""
    warmup = min(int(scheme.warmup * steps), steps - 1)
    options: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": scheme.learning_rate / max(1, warmup + 1),
        "warmup_prefix": True,
        "t_in_epochs": False,
    }
    if not scheme.stairs:
        return CosineLRScheduler(
            optimizer, t_initial=steps - warmup, lr_min=scheme.final_learning_rate, **options
        )
    fall = scheme.final_learning_rate / scheme.learning_rate
    return StepLRScheduler(
        optimizer,
        decay_t=(steps - warmup) / scheme.stairs,
        decay_rate=fall ** (1 / max(1, scheme.stairs - 1)),
        **options,
    )


def lay_out_as_parameters(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments their parameters' strides: fused kernels walk both as flat memory."""
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
