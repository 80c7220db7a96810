import pytest
import timm
import torch
from timm.models.mobilevit import model_cfgs

from moenas.models.bases import BASES, get_base
from moenas.models.builder import build_model
from moenas.models.mobilevitv2 import MobileViTV2, multiple_of_8

SIZES = [(64, 64), (96, 96), (70, 70), (33, 47), (128, 40)]


@pytest.mark.parametrize("width", ["050", "075", "100", "150"])
def test_output_equals_timms(width):
    timms = timm.create_model(f"mobilevitv2_{width}", num_classes=5).eval()
    with torch.no_grad():
        for parameter in timms.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    ours = build_model(f"mobilevitv2_{width}", num_classes=5).eval()
    ours.load_state_dict(timms.state_dict())
    for height, width_px in SIZES:
        x = torch.randn(2, 3, height, width_px)
        with torch.no_grad():
            expected = timms(x)
            assert expected.std() > 1e-3  # the comparison is not of zeros
            torch.testing.assert_close(ours(x), expected, atol=1e-5, rtol=1e-5)
            channels_last = x.to(memory_format=torch.channels_last)
            torch.testing.assert_close(ours(channels_last), expected, atol=1e-5, rtol=1e-5)


def test_gradients_equal_timms():
    timms = timm.create_model("mobilevitv2_050", num_classes=2).double().train()
    ours = build_model("mobilevitv2_050").double().train()
    ours.load_state_dict(timms.state_dict())
    x = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    for model in (timms, ours):
        model(x).square().sum().backward()
    mine = dict(ours.named_parameters())
    for name, parameter in timms.named_parameters():
        scale = parameter.grad.abs().max().item()
        torch.testing.assert_close(
            mine[name].grad, parameter.grad, atol=1e-9 * max(scale, 1), rtol=1e-7, msg=name
        )


def test_dense_state_dict_loads_into_timm_unchanged(dense):
    timms = timm.create_model("mobilevitv2_050", num_classes=2)
    timms.load_state_dict(dense.state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(timms.eval()(x), dense(x), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(BASES))
def test_our_configuration_is_timms(name):
    assert BASES[name]._timm_config() == model_cfgs[name]


@pytest.mark.parametrize("percent", [25, 83, 110])
def test_widths_that_timm_has_no_name_for(percent):
    base = MobileViTV2(percent)
    model = base.create(num_classes=2).eval()
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 2)
    for layer in base.layers:
        ffn = model.get_submodule(layer.name)
        assert (ffn.dim, ffn.hidden) == (layer.dim, layer.hidden)


def test_layers_are_those_of_the_paper():
    dims = [layer.dim for layer in get_base("mobilevitv2_050").layers]
    assert dims == [64] * 2 + [96] * 4 + [128] * 3


def test_no_module_changes_its_input_in_training(dense):
    """An in-place operation on a leaf or on the batch would surprise the caller."""
    x = torch.randn(1, 3, 64, 64)
    before = x.clone()
    with torch.no_grad():
        dense(x)
    assert torch.equal(x, before)


def test_rounding_to_multiples_of_8_is_timms():
    from timm.layers import make_divisible

    values = [v / 4 for v in range(1, 4000)]
    assert [multiple_of_8(v) for v in values] == [make_divisible(v) for v in values]


def test_bfloat16_autocast_is_close(dense, images):
    with torch.no_grad():
        exact = dense(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = dense(images)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), exact, atol=0.05, rtol=0.05)
