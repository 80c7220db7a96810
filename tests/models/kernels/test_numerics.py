"""The kernel's numbers against all experts, masked, in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import masked, weights

from moenas.models.activation import ACTIVATIONS
from moenas.models.kernels import ops

sizes = {
    "tokens": st.sampled_from([0, 1, 2, 5, 7, 13, 95, 97, 200]),
    "dim": st.sampled_from([1, 3, 8, 16, 21, 33, 64]),
    "hidden": st.sampled_from([1, 5, 16, 37, 64]),
    "experts": st.integers(1, 9),
    "used": st.integers(1, 9),
    "activation": st.sampled_from(ACTIVATIONS),
    "seed": st.integers(0, 2**20),
}


def case(tokens, dim, hidden, experts, used, seed):
    g = torch.Generator().manual_seed(seed)
    expert = torch.randint(min(used, experts), (tokens,), generator=g).to(torch.uint8)
    gate = torch.rand(tokens, generator=g) + 0.1
    return torch.randn(tokens, dim, generator=g), expert, gate, weights(experts, dim, hidden, seed)


@given(**sizes, unit=st.booleans())
@settings(max_examples=60, deadline=None)
def test_output_and_all_gradients_equal_the_masked_reference(
    kernel, tokens, dim, hidden, experts, used, activation, seed, unit
):
    x, expert, gate, w = case(tokens, dim, hidden, experts, used, seed)
    inputs = [t.requires_grad_() for t in (x, gate, *w)]
    exact = [t.detach().double().requires_grad_() for t in inputs]
    factor = exact[1] / exact[1].detach() if unit else exact[1]
    expected = masked(exact[0], expert, factor, exact[2:], activation)
    upstream = torch.randn(tokens, dim)
    ratio = gate / gate.detach() if unit else gate
    y, _ = ops.experts(x, expert, ratio, *w, activation, unit)
    torch.testing.assert_close(y, expected.float(), atol=2e-5, rtol=1e-4)
    wanted = torch.autograd.grad(expected, exact, upstream.double())
    for mine, theirs in zip(torch.autograd.grad(y, inputs, upstream), wanted, strict=True):
        torch.testing.assert_close(mine, theirs.float(), atol=1e-4, rtol=1e-3)
    layer = kernel.layer(tuple(t.detach() for t in w), activation)
    inferred, _ = kernel.experts(x.detach(), expert, None if unit else gate, layer, keep=False)
    assert torch.equal(inferred, y)


@given(**sizes, scale=st.booleans())
@settings(max_examples=40, deadline=None)
def test_fused_routing_equals_router_then_experts(
    kernel, tokens, dim, hidden, experts, used, activation, seed, scale
):
    x, _, _, w = case(tokens, dim, hidden, experts, used, seed)
    router = torch.randn(experts, dim)
    disabled = frozenset(range(min(used, experts) - 1))
    logits = x.double() @ router.double().t()
    logits[:, list(disabled)] = -torch.inf
    best = logits.topk(min(2, experts), dim=1).values
    clear = best[:, 0] - best[:, -1] > 1e-4 if experts - len(disabled) > 1 else best[:, 0] > -1e9
    p, expert = logits.softmax(1).max(1)
    gate = p if scale else torch.ones_like(p)
    expected = masked(x.double(), expert, gate, [t.double() for t in w], activation).float()
    got = kernel.switch_ffn(x, router, kernel.layer(w, activation), scale=scale, disabled=disabled)
    torch.testing.assert_close(got[clear], expected[clear], atol=2e-5, rtol=1e-4)


def test_negative_control_one_wrong_number_is_noticed(kernel):
    x, expert, gate, w = case(50, 16, 32, 3, 3, seed=1)
    wrong = [t.clone() for t in w]
    wrong[0][1, 3, 4] += 0.5
    got, _ = kernel.experts(x, expert, gate, kernel.layer(tuple(wrong), "silu"), keep=False)
    assert not torch.allclose(got, masked(x, expert, gate, w), atol=1e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations_hold_over_the_whole_range(kernel, activation):
    """One expert whose layers are the identity: the kernel's activation, bare."""
    values = torch.cat([torch.linspace(-30, 30, 4001), torch.tensor([-1e38, -200.0, 1e38, 0.0])])
    one = torch.ones(1, 1, 1), torch.zeros(1, 1), torch.ones(1, 1, 1), torch.zeros(1, 1)
    expert = torch.zeros(len(values), dtype=torch.uint8)
    got, _ = kernel.experts(values[:, None], expert, None, kernel.layer(one, activation), False)
    function = torch.nn.SiLU() if activation == "silu" else torch.nn.GELU()
    expected = function(values.double()).float()
    torch.testing.assert_close(got[:, 0], expected, atol=1e-7, rtol=2e-6)

    x = values[:, None].requires_grad_()
    y, _ = ops.experts(x, expert, torch.ones(len(values)), *one, activation, True)
    (slope,) = torch.autograd.grad(y.sum(), x)
    wide = values.detach().double().requires_grad_()
    (expected,) = torch.autograd.grad(function(wide).sum(), wide)
    torch.testing.assert_close(slope[:, 0], expected.float(), atol=3e-7, rtol=2e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_nan_and_infinity_stay_with_their_token(kernel, activation):
    x, _, _, w = case(40, 16, 32, 4, 4, seed=2)
    router = torch.randn(4, 16)
    layer = kernel.layer(w, activation)
    clean = kernel.switch_ffn(x, router, layer, scale=True)
    x[3, 5], x[7, 0], x[9] = torch.nan, torch.inf, 1e30
    dirty = kernel.switch_ffn(x, router, layer, scale=True)
    assert dirty[3].isnan().all()
    assert not dirty[7].isfinite().all()
    rest = [i for i in range(40) if i not in (3, 7, 9)]
    assert torch.equal(dirty[rest], clean[rest])
    y, _ = ops.experts(
        x.requires_grad_(), torch.zeros(40).byte(), torch.ones(40), *w, activation, True
    )
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert grad[3].isnan().all()
    assert grad[rest].isfinite().all()


def test_ties_go_to_the_first_and_nan_logits_to_a_valid_expert(kernel):
    w = weights(4, 8, 16)
    layer = kernel.layer(w, "silu")
    x = torch.randn(30, 8)

    def chosen(router):
        got = kernel.switch_ffn(x, router, layer, scale=False)
        each = [masked(x, torch.full((30,), e), torch.ones(30), w) for e in range(4)]
        return [
            next(e for e in range(4) if torch.allclose(row, each[e][i], atol=1e-5))
            for i, row in enumerate(got)
        ]

    assert chosen(torch.zeros(4, 8)) == [0] * 30
    router = torch.zeros(4, 8)
    router[2] = torch.nan
    assert chosen(router) == (x @ router.t()).max(1).indices.tolist() == [2] * 30


@pytest.mark.parametrize("dim", [8, 21])
def test_tokens_may_lie_anywhere(kernel, dim):
    w, router = weights(4, dim, 16), torch.randn(4, dim)
    layer = kernel.layer(w, "silu")
    views = {
        "channels first": torch.randn(2, dim, 4, 5).permute(0, 2, 3, 1),
        "channels last": torch.randn(2, dim, 4, 5).to(memory_format=torch.channels_last)
        .permute(0, 2, 3, 1),
        "every other column": torch.randn(30, 2 * dim)[:, ::2],
        "a slice of columns": torch.randn(30, 3 * dim)[:, 2 : 2 + dim],
        "every third row": torch.randn(30, dim)[::3],
        "one token": torch.randn(dim),
        "one row, many times": torch.randn(1, dim).expand(7, dim),
        "more strides than two": torch.randn(3, 4, 5, 2, dim)[:, ::2, 1::2].transpose(0, 3),
        "none": torch.randn(0, 3, dim),
    }  # fmt: skip
    for name, view in views.items():
        got = kernel.switch_ffn(view, router, layer, scale=True)
        want = kernel.switch_ffn(view.contiguous(), router, layer, scale=True)
        assert torch.equal(got, want), name
        assert got.stride() == torch.empty_like(view).stride(), name


def test_a_tokens_result_does_not_depend_on_its_neighbours_or_threads(kernel):
    x, expert, _, w = case(4000, 24, 40, 8, 8, seed=3)
    router, layer = torch.randn(8, 24), kernel.layer(w, "silu")
    alone = torch.cat(
        [kernel.switch_ffn(x[i : i + 1], router, layer, scale=True) for i in range(9)]
    )
    results = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            y = kernel.switch_ffn(x, router, layer, scale=True)
            inputs = [t.clone().requires_grad_() for t in (x, torch.ones(4000), *w)]
            out, _ = ops.experts(inputs[0], expert, *inputs[1:], "silu", False)
            results.append([y, out, *torch.autograd.grad(out.square().sum(), inputs)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    assert torch.equal(results[0][0][:9], alone)


def test_bfloat16_experts_equal_their_rounded_weights(kernel):
    x, expert, gate, w = case(70, 21, 37, 5, 5, seed=4)
    rounded = tuple(t.bfloat16() if t.dim() == 3 else t for t in w)
    exact = [t.double() for t in rounded]
    got, _ = kernel.experts(x, expert, gate, kernel.layer(rounded, "silu"), keep=False)
    expected = masked(x.double(), expert, gate.double(), exact).float()
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(got, masked(x, expert, gate, w), atol=2e-5)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda a: a.update(expert=a["expert"] + 3),
        lambda a: a.update(expert=a["expert"].long()),
        lambda a: a.update(expert=a["expert"][:-1]),
        lambda a: a.update(gate=a["gate"][:-1]),
        lambda a: a.update(gate=a["gate"].double()),
        lambda a: a.update(x=a["x"][:, :-1]),
        lambda a: a.update(x=a["x"].double()),
        lambda a: a.update(x=a["x"].to("meta")),
    ],
)
def test_bad_input_raises_and_never_crashes(kernel, break_it):
    from moenas.errors import ModelError

    x, expert, gate, w = case(12, 8, 16, 3, 3, seed=5)
    arguments = {"x": x, "expert": expert, "gate": gate}
    expert[0] = 2
    break_it(arguments)
    with pytest.raises(ModelError):
        kernel.experts(*arguments.values(), kernel.layer(w, "silu"), keep=False)


def test_bad_weights_raise(kernel):
    from moenas.errors import ModelError

    w = weights(3, 8, 16)
    bad = [(w[0][:2], *w[1:]), (w[0], w[1][:, 1:], *w[2:]), (*w[:2], w[2].bfloat16(), w[3])]
    bad += [(w[0].double(), w[1], w[2].double(), w[3]), (w[0][0], *w[1:])]
    bad += [(w[0][:, :, :0], w[1], w[2][:, :0], w[3][:, :0])]
    for wrong in bad:
        with pytest.raises(ModelError):
            kernel.layer(wrong, "silu")
    layer = kernel.layer(w, "silu")
    with pytest.raises(ModelError):
        kernel.switch_ffn(torch.randn(4, 8), torch.randn(4, 8), layer, scale=False)
    everything = frozenset(range(3))
    with pytest.raises(ModelError):
        kernel.switch_ffn(
            torch.randn(4, 8), torch.randn(3, 8), layer, scale=False, disabled=everything
        )
