from __future__ import annotations

from typing import Any

import numpy as np
import torch

from moenas.data.dataset import normalise
from moenas.models.builder import build_model
from moenas.training import recalibration
from moenas.training.recalibration import recalibrate

CPU = torch.device("cpu")


def test_statistics_are_those_of_the_images(pictures: tuple[Any, Any]) -> None:
    images, _ = pictures
    model = build_model("mobilevitv2_050", seed=0)
    norm = model.get_submodule("stem.bn")
    assert isinstance(norm, torch.nn.BatchNorm2d)
    assert norm.running_mean is not None
    norm.running_mean.fill_(99.0)
    rows = np.arange(4, 20)
    recalibrate(model, images, rows, seed=0, device=CPU, batch_size=16)
    conv = model.get_submodule("stem.conv")(normalise(torch.from_numpy(images[rows])))
    torch.testing.assert_close(norm.running_mean, conv.mean((0, 2, 3)), rtol=1e-4, atol=1e-4)
    assert norm.running_var is not None
    torch.testing.assert_close(norm.running_var, conv.var((0, 2, 3)), rtol=1e-3, atol=1e-4)
    assert not model.training
    assert norm.momentum == 0.1


def test_only_so_many_images_are_looked_at(pictures: tuple[Any, Any], monkeypatch: Any) -> None:
    images, _ = pictures
    monkeypatch.setattr(recalibration, "IMAGES", 5)
    models = []
    for seed in (0, 0, 1):
        model = build_model("mobilevitv2_050", seed=0)
        recalibrate(model, images, np.arange(24), seed=seed, device=CPU, batch_size=4)
        models.append(model.state_dict()["stem.bn.running_mean"])
    assert torch.equal(models[0], models[1])
    assert not torch.equal(models[0], models[2])
