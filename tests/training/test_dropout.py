from __future__ import annotations

import torch
from torch import nn

from moenas.models.builder import build_model
from moenas.training.dropout import classifier_dropout


def test_a_share_of_the_classifiers_inputs_is_dropped_in_training() -> None:
    model = nn.Sequential(nn.Linear(4, 1000), nn.Linear(1000, 1000, bias=False))
    nn.init.constant_(model[0].weight, 0.25)
    nn.init.zeros_(model[0].bias)
    nn.init.eye_(model[1].weight)
    x = torch.ones(1, 4)
    torch.manual_seed(0)
    with classifier_dropout(model, 0.2):
        y = model.train()(x)
        assert torch.equal(model.eval()(x), torch.ones(1, 1000))
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert 150 < int((y == 0).sum()) < 250  # binomial(1000, .2): +-4 deviations
    assert torch.equal(model.train()(x), torch.ones(1, 1000))  # over when the context is


def test_models_of_the_zoo_have_a_classifier_to_drop_from() -> None:
    model = build_model("mobilevitv2_050", seed=0).train()
    image = torch.rand(2, 3, 64, 64)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    torch.manual_seed(0)
    with classifier_dropout(model, 0.5):
        assert not torch.equal(model(image), model(image))
    with classifier_dropout(model, 0.0):
        assert torch.equal(model(image), model(image))
