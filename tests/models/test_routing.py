import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moenas.errors import ModelError
from moenas.models.routing import (
    Router,
    Routing,
    balance_loss,
    disabled_experts,
    record_routing,
    z_loss,
)
from moenas.models.switch_ffn import SwitchFFN


def routing(logits):
    expert = logits.argmax(-1)
    counts = torch.bincount(expert, minlength=logits.shape[1])
    return Routing(logits, expert.to(torch.uint8), counts, logits.shape[1])


@pytest.mark.parametrize("experts", [2, 5, 8])
def test_balance_loss_is_one_at_a_uniform_load_and_e_at_collapse(experts):
    uniform = torch.eye(experts).repeat(3, 1) * 1e-4
    assert balance_loss(routing(uniform)).item() == pytest.approx(1, abs=1e-4)
    collapsed = torch.zeros(12, experts)
    collapsed[:, 0] = 100.0
    assert balance_loss(routing(collapsed)).item() == pytest.approx(experts, rel=1e-5)


@given(st.integers(1, 50), st.integers(2, 8), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_losses_equal_the_papers_formulas(tokens, experts, seed):
    logits = torch.randn(tokens, experts, generator=torch.Generator().manual_seed(seed))
    p = torch.softmax(logits.double(), -1)
    f = torch.stack([(logits.argmax(-1) == e).double().mean() for e in range(experts)])
    expected = experts * (f * p.mean(0)).sum()  # Switch Transformer, equations 4-6
    assert balance_loss(routing(logits)).item() == pytest.approx(expected.item(), rel=1e-5)
    z = torch.log(torch.exp(logits.double()).sum(-1)).square().mean()  # ST-MoE, equation 5
    assert z_loss(routing(logits)).item() == pytest.approx(z.item(), rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("scale", [0.01, 1.0, 1e4])
def test_z_loss_and_its_gradient_are_those_of_log_sum_exp(scale):
    logits = (torch.randn(40, 5, dtype=torch.float64) * scale).requires_grad_()
    expected = logits.logsumexp(-1).square().mean()
    (wanted,) = torch.autograd.grad(expected, logits)
    loss = z_loss(routing(logits))
    (got,) = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(got, wanted)


def test_balance_loss_pushes_load_away_from_the_busy_expert():
    logits = torch.zeros(10, 2)
    logits[:8, 0] = 1.0
    logits[8:, 1] = 1.0
    logits.requires_grad_()
    balance_loss(routing(logits)).backward()
    assert (logits.grad[:, 0] > 0).all()
    assert (logits.grad[:, 1] < 0).all()


def test_losses_of_no_tokens_are_finite_zeros():
    empty = routing(torch.zeros(0, 3))
    assert balance_loss(empty).item() == 0
    assert z_loss(empty).item() == 0


def test_router_starts_small_random_and_repeatable():
    router = Router(256, 8)
    router.reset_parameters(torch.Generator().manual_seed(5))
    first = router.weight.detach().clone()
    assert first.std().item() == pytest.approx(0.1 / math.sqrt(256), rel=0.1)
    router.reset_parameters(torch.Generator().manual_seed(5))
    assert torch.equal(first, router.weight)
    used = router(torch.randn(4000, 256)).counts
    assert (used > 200).all()


def test_router_stays_in_fp32_under_autocast_and_for_bfloat16_tokens():
    router = Router(16, 4)
    x = torch.randn(50, 16)
    exact = router(x.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = router(x.bfloat16())
    assert cast.logits.dtype == torch.float32
    assert torch.equal(cast.logits, exact.logits)
    assert cast.probability.dtype == torch.float32


def test_probability_is_the_softmax_of_the_chosen_expert():
    result = Router(6, 5)(torch.randn(30, 6))
    assert torch.equal(result.probability, result.probabilities.max(-1).values)
    assert result.counts.sum() == 30
    assert result.expert.dtype == torch.uint8


def test_record_routing_sees_every_switch_layer_in_order_and_leaves_no_hook():
    layers = {"0": SwitchFFN(8, 16, 3), "1": torch.nn.SiLU(), "2": SwitchFFN(8, 16, 2)}
    model = torch.nn.Sequential(*layers.values())
    with record_routing(model) as records:
        model(torch.randn(5, 8))
        first = dict(records)
        model(torch.randn(7, 8))
    assert list(records) == ["0", "2"]
    assert first["0"].counts.sum() == 5
    assert records["0"].counts.sum() == 7
    assert records["2"].logits.shape == (7, 2)
    loss = sum(balance_loss(r) + z_loss(r) for r in records.values())
    loss.backward()
    assert model[0].router.weight.grad.abs().sum() > 0
    model(torch.randn(9, 8))
    assert records["0"].counts.sum() == 7


def test_record_routing_of_a_lone_switch_ffn_and_after_an_error():
    ffn = SwitchFFN(8, 16, 3)
    with pytest.raises(RuntimeError, match="stop"), record_routing(ffn):
        raise RuntimeError("stop")
    assert not ffn.router._forward_hooks
    with record_routing(ffn) as records:
        ffn(torch.randn(2, 8))
    assert list(records) == [""]


def test_disabled_experts_are_never_chosen_and_come_back():
    ffn = SwitchFFN(8, 16, 4)
    x = torch.randn(200, 8)
    with disabled_experts(ffn, {"": {1, 3}}):
        with disabled_experts(ffn, {"": {0}}):
            assert ffn.router(x).counts.tolist() == [0, 0, 200, 0]
        inside = ffn.router(x)
        assert inside.counts[[1, 3]].tolist() == [0, 0]
        assert torch.isfinite(inside.probability).all()
        assert torch.isfinite(balance_loss(inside))
        (grad,) = torch.autograd.grad(z_loss(inside), ffn.router.weight)
        assert torch.isfinite(grad).all()
    assert (ffn.router(x).counts > 0).all()


@pytest.mark.parametrize("experts", [{"": {0, 1, 2, 3}}, {"": {4}}, {"nowhere": {0}}])
def test_disabling_all_or_unknown_experts_is_refused(experts):
    ffn = SwitchFFN(8, 16, 4)
    with pytest.raises(ModelError), disabled_experts(ffn, experts):
        pass
    assert ffn.router.disabled == frozenset()
