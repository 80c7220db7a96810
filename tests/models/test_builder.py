import pytest
import torch

from moenas.errors import ModelError
from moenas.models.builder import build_model
from moenas.models.convert import architecture_of

BASE = "mobilevitv2_050"


def test_model_carries_what_it_is():
    model = build_model(BASE, (2,) + (1,) * 8, num_classes=7, gate="probability")
    assert architecture_of(model).id == f"{BASE}-e211111111"
    assert model.gate == "probability"
    assert model.num_classes == 7
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 7)


@pytest.mark.parametrize("experts", [None, (1,) * 9])
def test_one_expert_everywhere_is_dense(experts):
    model = build_model(BASE, experts)
    assert architecture_of(model).dense
    assert not any("router" in name for name, _ in model.named_parameters())


def test_fresh_experts_compute_what_the_fresh_dense_model_computes():
    x = torch.randn(2, 3, 64, 64)
    dense, switched = (build_model(BASE, e, seed=5).eval() for e in (None, (4,) * 9))
    with torch.no_grad():
        torch.testing.assert_close(switched(x), dense(x), atol=1e-5, rtol=0)


def test_seed_repeats_and_spares_the_global_generator():
    state = torch.random.get_rng_state()
    first, again, other = (build_model(BASE, (2,) * 9, seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    different = [name for name in first if not torch.equal(first[name], other[name])]
    assert "stages.2.1.transformer.0.mlp.router.weight" in different
    assert "stem.conv.weight" in different


def test_without_a_seed_the_global_generator_decides():
    torch.manual_seed(3)
    first = build_model(BASE).state_dict()
    second = build_model(BASE).state_dict()
    torch.manual_seed(3)
    third = build_model(BASE).state_dict()
    assert torch.equal(first["stem.conv.weight"], third["stem.conv.weight"])
    assert not torch.equal(first["stem.conv.weight"], second["stem.conv.weight"])


def test_weights_lie_channels_last():
    model = build_model(BASE)
    weight = model.get_parameter("stages.2.1.conv_kxk.conv.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"base": "mobilvit2_050"}, "Did you mean 'mobilevitv2_050'"),
        ({"base": BASE, "experts": (1, 2)}, "needs 9 expert counts"),
        ({"base": BASE, "experts": (0,) * 9}, "whole number from 1 to 8"),
        ({"base": BASE, "experts": (9,) * 9}, "whole number from 1 to 8"),
        ({"base": BASE, "gate": "max"}, "Unknown gate 'max'"),
        ({"base": BASE, "num_classes": 0}, "at least one class"),
    ],
)
def test_bad_arguments_are_explained(arguments, message):
    with pytest.raises(ModelError, match=message):
        build_model(**arguments)
