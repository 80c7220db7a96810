import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from moenas.errors import ModelError
from moenas.models.activation import ACTIVATIONS
from moenas.models.ffn import FFN
from moenas.models.routing import disabled_experts
from moenas.models.switch_ffn import GATES, SwitchFFN

FUNCTIONS = {"silu": torch.nn.SiLU(), "gelu": torch.nn.GELU()}


def reference(ffn, x):
    """All experts on all tokens with ordinary autograd, then the argmax one times its gate."""
    logits = x.float() @ ffn.router.weight.float().t()
    p, chosen = logits.softmax(-1).max(-1)
    gate = p if ffn.gate == "probability" else p / p.detach()
    y = torch.zeros_like(x)
    for e in range(ffn.num_experts):
        hidden = FUNCTIONS[ffn.activation](F.linear(x, ffn.fc1.weight[e], ffn.fc1.bias[e]))
        out = F.linear(hidden, ffn.fc2.weight[e], ffn.fc2.bias[e])
        y = y + (chosen == e).to(x.dtype).unsqueeze(-1) * out
    return y * gate.to(x.dtype).unsqueeze(-1)


@given(
    lead=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    dim=st.integers(2, 10),
    hidden=st.integers(1, 12),
    experts=st.integers(2, 8),
    gate=st.sampled_from(GATES),
    activation=st.sampled_from(ACTIVATIONS),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_output_and_all_gradients_equal_all_experts_masked(
    lead, dim, hidden, experts, gate, activation, seed
):
    torch.manual_seed(seed)
    ffn = SwitchFFN(dim, hidden, experts, gate, activation=activation).double()
    x = torch.randn(*lead, dim, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(*lead, dim, dtype=torch.float64)
    inputs = [x, *ffn.parameters()]
    expected = reference(ffn, x)
    wanted = torch.autograd.grad(expected, inputs, upstream)
    got = ffn(x)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(got, inputs, upstream), wanted, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ffn(x), expected, atol=1e-6, rtol=1e-6)


def test_negative_control_one_wrong_expert_is_noticed():
    ffn = SwitchFFN(8, 16, 4)
    x = torch.randn(100, 8)
    broken = copy.deepcopy(ffn)
    with torch.no_grad():
        broken.fc1.weight[2] *= 1.5
    assert not torch.allclose(reference(ffn, x), broken(x), atol=1e-5)


def test_non_contiguous_input():
    ffn = SwitchFFN(6, 12, 3)
    x = torch.randn(2, 6, 4, 5)
    view = x.permute(0, 2, 3, 1)
    assert not view.is_contiguous()
    torch.testing.assert_close(ffn(view), ffn(view.contiguous()))
    wide = torch.randn(10, 12)[:, ::2]
    torch.testing.assert_close(ffn(wide), ffn(wide.contiguous()))


def test_gradients_reach_a_non_contiguous_input_unbroken():
    ffn = SwitchFFN(6, 12, 3).double()
    x = torch.randn(2, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    (got,) = torch.autograd.grad(ffn(x.permute(0, 2, 3, 1)).square().sum(), x)
    flat = x.detach().permute(0, 2, 3, 1).reshape(-1, 6).requires_grad_()
    (want,) = torch.autograd.grad(reference(ffn, flat).square().sum(), flat)
    torch.testing.assert_close(got.permute(0, 2, 3, 1).reshape(-1, 6), want, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("grad", [True, False])
def test_nan_token_gives_nan_there_and_only_there(grad):
    ffn = SwitchFFN(6, 12, 3)
    x = torch.randn(9, 6)
    with torch.set_grad_enabled(grad):
        clean = ffn(x)
        x[4, 2] = float("nan")
        dirty = ffn(x)
    assert dirty[4].isnan().all()
    rest = [i for i in range(9) if i != 4]
    torch.testing.assert_close(dirty[rest], clean[rest])


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("tokens", [0, 1])
def test_no_token_and_one_token(gate, tokens):
    ffn = SwitchFFN(6, 12, 8, gate)
    x = torch.randn(tokens, 6, requires_grad=True)
    y = ffn(x)
    assert y.shape == x.shape
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ffn.parameters())


def conv_ffn(activation):
    return FFN(torch.nn.Conv2d(10, 20, 1), torch.nn.Conv2d(20, 10, 1), activation)


def linear_ffn(activation):
    return FFN(torch.nn.Linear(10, 20), torch.nn.Linear(20, 10), activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("make", [conv_ffn, linear_ffn])
def test_the_plain_ffn_is_two_layers_around_the_activation(make, activation):
    ffn = make(activation)
    x = torch.randn(4, 7, 10)
    one, two = (layer.weight.flatten(1) for layer in (ffn.fc1, ffn.fc2))
    hidden = FUNCTIONS[activation](F.linear(x, one, ffn.fc1.bias))
    expected = F.linear(hidden, two, ffn.fc2.bias)
    torch.testing.assert_close(ffn(x), expected)
    with torch.no_grad():
        torch.testing.assert_close(ffn(x), expected)
    assert (ffn.dim, ffn.hidden) == (10, 20)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("make", [conv_ffn, linear_ffn])
def test_activation_and_kind_of_layer_survive_every_conversion(make, activation):
    plain = make(activation)
    x = torch.randn(30, 10)
    switch = SwitchFFN.from_ffn(plain, 3)
    last = switch.without_expert(1).without_expert(0)
    for part in (switch, switch.without_expert(0), switch.expert(2), last):
        assert part.activation == activation
        torch.testing.assert_close(part(x), plain(x))
    for part in (switch.expert(2), last):
        shapes = {name: value.shape for name, value in part.state_dict().items()}
        assert shapes == {name: value.shape for name, value in plain.state_dict().items()}


def test_maps_with_channels_first_are_tokens_in_another_order():
    plain = FFN(torch.nn.Conv2d(10, 20, 1), torch.nn.Conv2d(20, 10, 1), "gelu", channels_first=True)
    x = torch.randn(2, 10, 3, 5)
    expected = plain.fc2(F.gelu(plain.fc1(x)))
    switch = SwitchFFN.from_ffn(plain, 3)
    last = switch.without_expert(1).without_expert(0)
    for part in (plain, switch, switch.without_expert(0), switch.expert(2), last):
        torch.testing.assert_close(part(x), expected)
    other = SwitchFFN(10, 20, 4, channels_first=True)
    got = other(x).movedim(1, -1)
    torch.testing.assert_close(got, reference(other, x.movedim(1, -1)))
    with pytest.raises(ModelError, match="channel axis has 9"):
        switch(torch.randn(2, 9, 3, 10))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("make", [conv_ffn, linear_ffn])
def test_exact_gate_with_equal_experts_is_the_plain_ffn_and_its_gradient(make, activation):
    plain = make(activation).double()
    switch = SwitchFFN.from_ffn(plain, 5)
    x = torch.randn(64, 10, dtype=torch.float64)
    torch.testing.assert_close(switch(x), plain(x), atol=1e-12, rtol=1e-12)
    plain(x).square().sum().backward()
    switch(x).square().sum().backward()
    summed = switch.fc1.weight.grad.sum(0)
    torch.testing.assert_close(summed, plain.fc1.weight.grad.flatten(1), atol=1e-9, rtol=1e-9)
    assert switch.router.weight.grad.abs().max() > 0


def test_probability_gate_scales_in_training_and_inference_alike():
    ffn = SwitchFFN(6, 12, 3, gate="probability")
    x = torch.randn(20, 6)
    trained = ffn(x)
    with torch.no_grad():
        torch.testing.assert_close(ffn(x), trained)
        torch.testing.assert_close(trained, reference(ffn, x), atol=1e-6, rtol=1e-5)


def test_bfloat16_autocast_in_training_and_inference():
    ffn = SwitchFFN(32, 64, 4)
    x = torch.randn(200, 32, requires_grad=True)
    upstream = torch.randn(200, 32)
    exact = torch.autograd.grad(ffn(x), [x, *ffn.parameters()], upstream)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = ffn(x)
        with torch.no_grad():
            inferred = ffn(x)
    assert y.dtype == inferred.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), ffn(x), atol=0.05, rtol=0.05)
    assert torch.equal(y, inferred)
    rough = torch.autograd.grad(y, [x, *ffn.parameters()], upstream.bfloat16())
    for a, b in zip(rough, exact, strict=True):
        assert a.dtype == torch.float32
        assert (a - b).norm() <= 0.03 * b.norm()


@given(st.integers(2, 8), st.integers(0, 7), st.sampled_from(GATES), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_removed_expert_equals_masked_logit(experts, index, gate, seed):
    index %= experts
    torch.manual_seed(seed)
    ffn = SwitchFFN(8, 16, experts, gate)
    x = torch.randn(60, 8)
    smaller = ffn.without_expert(index)
    with torch.no_grad(), disabled_experts(ffn, {"": {index}}):
        masked = ffn(x)
        removed = smaller(x)
        if experts == 2:
            assert isinstance(smaller, FFN)
            torch.testing.assert_close(removed, masked, atol=1e-6, rtol=1e-5)
        elif gate == "exact":
            assert torch.equal(removed, masked)
        else:
            torch.testing.assert_close(removed, masked, atol=1e-6, rtol=1e-6)
            kept = [e for e in range(experts) if e != index]
            assert torch.equal(smaller.router(x).counts, ffn.router(x).counts[kept])


def test_removal_keeps_the_original_and_further_disabled_experts():
    ffn = SwitchFFN(8, 16, 4)
    before = copy.deepcopy(ffn.state_dict())
    state = torch.random.get_rng_state()
    ffn.without_expert(0).without_expert(0).without_expert(0)
    assert torch.equal(torch.random.get_rng_state(), state)
    with disabled_experts(ffn, {"": {0, 3}}):
        smaller = ffn.without_expert(0)
        x = torch.randn(50, 8)
        assert torch.equal(smaller(x), ffn(x))
    assert smaller.router.disabled == frozenset({2})
    assert all(torch.equal(before[name], value) for name, value in ffn.state_dict().items())
    assert sum(p.numel() for p in smaller.parameters()) < sum(p.numel() for p in ffn.parameters())


def test_expert_extracts_that_expert():
    ffn = SwitchFFN(8, 16, 4)
    x = torch.randn(5, 8)
    expected = F.linear(
        F.silu(F.linear(x, ffn.fc1.weight[2], ffn.fc1.bias[2])), ffn.fc2.weight[2], ffn.fc2.bias[2]
    )
    torch.testing.assert_close(ffn.expert(2)(x), expected)


def test_weight_decay_of_timm_leaves_expert_biases_out():
    from timm.optim import param_groups_weight_decay

    ffn = SwitchFFN(8, 16, 4)
    free, decayed = param_groups_weight_decay(ffn, 0.1)
    assert {id(p) for p in free["params"]} == {id(ffn.fc1.bias), id(ffn.fc2.bias)}
    assert len(decayed["params"]) == 3


def test_training_learns_to_use_both_experts():
    """Two linear maps, told apart by the sign of one feature: one expert cannot fit both."""
    torch.manual_seed(0)
    ffn = SwitchFFN(4, 16, 2)
    x = torch.randn(512, 4)
    target = torch.where(x[:, :1] > 0, x.flip(1) * 2, -x)
    optimizer = torch.optim.Adam(ffn.parameters(), 0.02)
    losses = []
    for _ in range(150):
        loss = F.mse_loss(ffn(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert (ffn.router(x).counts > 20).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SwitchFFN(8, 16, 1), "at least 2 experts"),
        (lambda: SwitchFFN(8, 16, 2, gate="softmax"), "Unknown gate 'softmax'"),
        (lambda: SwitchFFN(8, 16, 2, activation="relu"), "Unknown activation 'relu'"),
        (lambda: SwitchFFN(8, 16, 3).without_expert(3), "no expert 3"),
        (lambda: SwitchFFN(8, 16, 3).without_expert(-1), "no expert -1"),
        (lambda: SwitchFFN(8, 16, 3)(torch.randn(4, 7)), "width 8"),
    ],
)
def test_bad_input_is_explained(make, message):
    with pytest.raises(ModelError, match=message):
        make()
