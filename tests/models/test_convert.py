import copy

import pytest
import torch

from moenas.errors import ModelError
from moenas.models.convert import architecture_of, ffn_layers, remove_expert, upcycle
from moenas.models.ffn import FFN
from moenas.models.routing import disabled_experts, record_routing
from moenas.models.switch_ffn import SwitchFFN

VECTOR = (1, 8, 3, 1, 2, 4, 1, 1, 6)


def test_upcycled_model_computes_what_the_dense_one_computes(dense, images):
    before = copy.deepcopy(dense.state_dict())
    model = upcycle(dense, VECTOR)
    with torch.no_grad(), record_routing(model) as records:
        expected = dense(images)
        torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=0)
    assert len(records) == 5
    assert all((r.counts > 0).sum() > 1 for r in records.values())  # experts do differ in tokens
    assert expected.std() > 1e-3
    torch.testing.assert_close(model(images), expected, atol=1e-5, rtol=0)  # with gradients on
    assert all(torch.equal(before[n], v) for n, v in dense.state_dict().items())


def test_plain_probability_as_gate_changes_the_output(dense, images):
    with torch.no_grad():
        other = upcycle(dense, VECTOR, gate="probability")(images)
        assert not torch.allclose(other, dense(images), atol=1e-3)


def test_noise_makes_experts_differ(dense):
    layer = "stages.2.1.transformer.1.mlp"
    clean = upcycle(dense, VECTOR).get_submodule(layer).fc1.weight
    noisy = upcycle(dense, VECTOR, noise=0.1).get_submodule(layer).fc1.weight
    assert torch.equal(clean[0], clean[1])
    relative = (noisy - clean).std() / clean.std()
    assert relative.item() == pytest.approx(0.1, rel=0.1)


def test_seed_decides_the_routers_and_the_global_generator_is_left_alone(dense):
    state = torch.random.get_rng_state()
    same = [upcycle(dense, VECTOR, seed=3).state_dict() for _ in range(2)]
    other = upcycle(dense, VECTOR, seed=4).state_dict()
    assert torch.equal(torch.random.get_rng_state(), state)
    name = "stages.2.1.transformer.1.mlp.router.weight"
    assert torch.equal(same[0][name], same[1][name])
    assert not torch.equal(same[0][name], other[name])


def test_only_layers_with_several_experts_become_switches(dense):
    kinds = [type(m) for m in ffn_layers(upcycle(dense, VECTOR)).values()]
    assert kinds == [FFN if count == 1 else SwitchFFN for count in VECTOR]
    assert list(ffn_layers(dense)) == list(ffn_layers(upcycle(dense, VECTOR)))


def test_all_ones_is_a_copy(dense, images):
    model = upcycle(dense, (1,) * 9)
    assert model is not dense
    assert architecture_of(model).dense
    with torch.no_grad():
        assert torch.equal(model(images), dense(images))


def test_mode_is_kept(dense):
    assert not upcycle(dense, VECTOR).training
    training = copy.deepcopy(dense).train()
    assert all(m.training for m in upcycle(training, VECTOR).modules())


def test_every_parameter_trains(dense, images):
    model = upcycle(dense, VECTOR).train()
    model(images).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if name.endswith("router.weight"):
            assert parameter.grad.abs().max() > 0, name


def test_removing_an_expert_of_a_model_equals_disabling_it(dense, images):
    layer = "stages.4.1.transformer.2.mlp"
    model = upcycle(dense, VECTOR, noise=0.3)
    smaller = remove_expert(model, layer, 2)
    assert architecture_of(smaller).experts == (1, 8, 3, 1, 2, 4, 1, 1, 5)
    assert architecture_of(model).experts == VECTOR
    with torch.no_grad(), disabled_experts(model, {layer: {2}}):
        assert torch.equal(smaller(images), model(images))


def test_removing_down_to_one_gives_the_plain_ffn(dense, images):
    layer = "stages.3.1.transformer.2.mlp"
    model = upcycle(dense, VECTOR, noise=0.3)
    smaller = remove_expert(model, layer, 0)
    assert isinstance(smaller.get_submodule(layer), FFN)
    with torch.no_grad(), disabled_experts(model, {layer: {0}}):
        torch.testing.assert_close(smaller(images), model(images), atol=1e-5, rtol=0)


def test_errors(dense):
    with pytest.raises(ModelError, match="needs 9 expert counts"):
        upcycle(dense, (1, 2))
    with pytest.raises(ModelError, match="has experts already"):
        upcycle(upcycle(dense, VECTOR), VECTOR)
    with pytest.raises(ModelError, match="Unknown gate"):
        upcycle(dense, VECTOR, gate="none")
    with pytest.raises(ModelError, match="has no architecture"):
        upcycle(torch.nn.Linear(2, 2), VECTOR)
    with pytest.raises(ModelError, match="is not a Switch FFN"):
        remove_expert(upcycle(dense, VECTOR), "stages.2.1.transformer.0.mlp", 0)
