import pytest
import torch
from torch import nn

from moenas.models.builder import build_model

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def dense() -> nn.Module:
    """A dense base model with weights away from their start; tests must not change it."""
    model = build_model("mobilevitv2_050", seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
    return model


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(2))
