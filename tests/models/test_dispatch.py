import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moenas.models.activation import ACTIVATIONS
from moenas.models.dispatch import dispatch

F64 = torch.float64
FUNCTIONS = {"silu": torch.nn.SiLU(), "gelu": torch.nn.GELU()}


def case(tokens, dim, hidden, experts, seed, used=None):
    """Random distinct experts and a random assignment that uses only the first ``used``."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(shape, generator=g, dtype=F64).requires_grad_()

    expert = torch.randint(used or experts, (tokens,), generator=g).to(torch.uint8)
    counts = torch.bincount(expert.long(), minlength=experts)
    weights = (draw(experts, hidden, dim), draw(experts, hidden))
    weights += (draw(experts, dim, hidden), draw(experts, dim))
    gate = torch.rand(tokens, generator=g, dtype=F64).add(0.1).requires_grad_()
    return draw(tokens, dim), expert, counts, weights, gate


def masked(x, expert, weights, gate, activation="silu"):
    """Every expert on every token, then pick: slow, obvious."""
    w1, b1, w2, b2 = weights
    hidden = FUNCTIONS[activation](torch.einsum("td,ehd->teh", x, w1) + b1)
    every = torch.einsum("teh,edh->ted", hidden, w2) + b2
    one_hot = torch.nn.functional.one_hot(expert.long(), w1.shape[0]).to(x.dtype)
    return torch.einsum("ted,te->td", every, one_hot) * gate[:, None]


@given(
    tokens=st.integers(0, 40),
    dim=st.integers(1, 9),
    hidden=st.integers(1, 12),
    experts=st.integers(1, 8),
    used=st.integers(1, 8),
    activation=st.sampled_from(ACTIVATIONS),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=80, deadline=None)
def test_output_and_all_gradients_equal_the_masked_reference(
    tokens, dim, hidden, experts, used, activation, seed
):
    x, expert, counts, weights, gate = case(tokens, dim, hidden, experts, seed, min(used, experts))
    inputs = (x, gate, *weights)
    upstream = torch.randn(tokens, dim, dtype=F64)
    expected = masked(x, expert, weights, gate, activation)
    wanted = torch.autograd.grad(expected, inputs, upstream)

    def ours():
        return dispatch(x, expert, counts, *weights, gate_T=gate, activation=activation)

    got = ours()
    torch.testing.assert_close(got, expected)
    for mine, theirs in zip(torch.autograd.grad(got, inputs, upstream), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)
    with torch.no_grad():
        torch.testing.assert_close(ours(), expected)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_numerical_gradients(activation):
    x, expert, counts, weights, gate = case(7, 3, 4, 3, seed=0)

    def f(x, gate, *weights):
        return dispatch(x, expert, counts, *weights, gate_T=gate, activation=activation)

    assert torch.autograd.gradcheck(f, (x, gate, *weights))


def test_negative_control_swapped_experts_are_noticed():
    x, expert, counts, weights, gate = case(30, 4, 8, 4, seed=1)
    swapped = [w[[1, 0, 2, 3]] for w in weights]
    got = dispatch(x, expert, counts, *swapped, gate_T=gate)
    assert not torch.allclose(got, masked(x, expert, weights, gate), atol=1e-3)


def test_negative_control_another_activation_is_noticed():
    x, expert, counts, weights, gate = case(30, 4, 8, 4, seed=1)
    got = dispatch(x, expert, counts, *weights, gate_T=gate, activation="gelu")
    assert not torch.allclose(got, masked(x, expert, weights, gate), atol=1e-3)


def test_unit_gate_gives_the_gates_gradient_without_scaling():
    x, expert, counts, weights, p = case(20, 4, 8, 4, seed=2)
    gate = p / p.detach()
    assert torch.equal(gate, torch.ones_like(gate))
    got = dispatch(x, expert, counts, *weights, gate_T=gate, unit_gate=True)
    upstream = torch.randn_like(got)
    mine = torch.autograd.grad(got, (x, p, *weights), upstream)
    expected = masked(x, expert, weights, p / p.detach())
    theirs = torch.autograd.grad(expected, (x, p, *weights), upstream)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert mine[1].abs().max() > 0.1


@pytest.mark.parametrize("frozen", ["x", "weights", "gate"])
def test_frozen_inputs_get_no_gradient(frozen):
    x, expert, counts, weights, gate = case(9, 3, 5, 2, seed=3)
    if frozen == "x":
        x = x.detach()
    if frozen == "gate":
        gate = gate.detach()
    if frozen == "weights":
        weights = tuple(w.detach() for w in weights)
    dispatch(x, expert, counts, *weights, gate_T=gate).sum().backward()
    assert (x.grad is None) == (frozen == "x")
    assert (gate.grad is None) == (frozen == "gate")
    assert (weights[0].grad is None) == (frozen == "weights")


def test_experts_without_tokens_get_zero_gradients_and_not_garbage():
    x, expert, counts, weights, gate = case(12, 3, 5, 8, seed=4, used=2)
    dispatch(x, expert, counts, *weights, gate_T=gate).sum().backward()
    for weight in weights:
        assert torch.count_nonzero(weight.grad[2:]) == 0
        assert torch.count_nonzero(weight.grad[:2]) > 0


def test_inputs_and_upstream_gradient_are_not_changed():
    x, expert, counts, weights, gate = case(12, 3, 5, 3, seed=5)
    upstream = torch.randn(12, 3, dtype=F64)
    before = [t.detach().clone() for t in (x, gate, upstream, *weights)]
    y = dispatch(x, expert, counts, *weights, gate_T=gate)
    torch.autograd.grad(y, (x, gate, *weights), upstream)
    for kept, now in zip(before, (x, gate, upstream, *weights), strict=True):
        assert torch.equal(kept, now)


def test_second_derivative_is_refused_and_not_wrong():
    x, expert, counts, weights, gate = case(5, 3, 4, 2, seed=6)
    y = dispatch(x, expert, counts, *weights, gate_T=gate)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
