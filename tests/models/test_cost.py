import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from moenas.errors import ModelError
from moenas.models.builder import build_model
from moenas.models.cost import count_macs, count_parameters, layer_count

NINE = st.lists(st.integers(1, 8), min_size=9, max_size=9).map(tuple)


@given(st.sampled_from(["050", "075", "100", "083"]), NINE, st.integers(1, 20))
@settings(max_examples=12, deadline=None)
def test_parameters_equal_the_built_models(width, experts, num_classes):
    base = f"mobilevitv2_{width}"
    model = build_model(base, experts, num_classes=num_classes)
    built = sum(parameter.numel() for parameter in model.parameters())
    assert count_parameters(base, experts, num_classes) == built


@pytest.mark.parametrize("percent", [50, 75, 100, 125, 150, 175, 200, 25, 61, 90])
def test_dense_parameters_of_every_width(percent):
    base = f"mobilevitv2_{percent:03d}"
    built = sum(p.numel() for p in build_model(base, num_classes=3).parameters())
    assert count_parameters(base, num_classes=3) == built


@pytest.mark.parametrize("size", [64, 70, 96, 33, 128])
@pytest.mark.parametrize("width", ["050", "075"])
@pytest.mark.parametrize("experts", [None, (1, 8, 3, 1, 2, 4, 1, 1, 6)])
def test_macs_equal_what_torch_counts_while_running(size, width, experts):
    base = f"mobilevitv2_{width}"
    model = build_model(base, experts, num_classes=2).eval()
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(torch.randn(1, 3, size, size))
    assert count_macs(base, experts, size) == counter.get_total_flops() // 2


def test_known_sizes():
    assert count_parameters("mobilevitv2_050") == 1_114_107
    assert count_parameters("mobilevitv2_050", num_classes=1000) == 1_370_593  # timm's published
    assert count_parameters("mobilevitv2_050", (8,) * 9) == pytest.approx(3.8e6, rel=0.02)
    assert layer_count("mobilevitv2_050") == 9


def test_experts_cost_memory_and_hardly_work():
    base = "mobilevitv2_050"
    assert count_parameters(base, (8,) * 9) > 3 * count_parameters(base)
    assert count_macs(base, (8,) * 9, 96) < 1.02 * count_macs(base, None, 96)


def test_invalid_vectors_are_refused():
    with pytest.raises(ModelError, match="needs 9"):
        count_parameters("mobilevitv2_050", (1,))
    with pytest.raises(ModelError, match="whole number"):
        count_macs("mobilevitv2_050", (9,) * 9, 96)
    with pytest.raises(ModelError, match="no base model"):
        layer_count("resnet50")
