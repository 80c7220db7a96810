"""A packed layer never outlives its weights."""

import copy
import pickle

import pytest
import torch
import torch.nn.utils.prune
from torch.autograd import forward_ad

from moenas.errors import ModelError
from moenas.models.folding import fold_batch_norms
from moenas.models.kernels.layer import forget, is_kept
from moenas.models.precision import bfloat16_experts
from moenas.models.routing import disabled_experts, record_routing
from moenas.models.switch_ffn import SwitchFFN

pytestmark = pytest.mark.usefixtures("kernel")


def infer(ffn, x):
    with torch.inference_mode():
        return ffn(x)


def truth(ffn, x):
    """The torch path: float64 has no kernel."""
    wide = copy.deepcopy(ffn).double()
    with torch.no_grad():
        return wide(x.double()).float()


@pytest.fixture
def ffn():
    torch.manual_seed(0)
    ffn = SwitchFFN(16, 24, 4).eval()
    infer(ffn, torch.randn(3, 16))
    assert is_kept(ffn.fc1.weight)
    return ffn


def optimizer_step(ffn):
    ffn(torch.randn(20, 16)).square().sum().backward()
    torch.optim.AdamW(ffn.parameters(), lr=0.1).step()


def write_numpy(ffn):
    ffn.fc2.weight.detach().numpy()[1] += 1


CHANGES = {
    "an optimizer's step": optimizer_step,
    "in place": lambda f: torch.no_grad()(f.fc1.weight.mul_)(2),
    "one number in place": lambda f: torch.no_grad()(f.fc1.weight[2, 3, 4].fill_)(9.0),
    "biases": lambda f: torch.no_grad()(f.fc1.bias.add_)(1),
    "second layer": lambda f: torch.no_grad()(f.fc2.weight[0].zero_)(),
    "through .data": lambda f: f.fc1.weight.data.mul_(2),
    "one expert through .data": lambda f: f.fc2.weight.data[3].mul_(2),
    "through NumPy": write_numpy,
    "new .data": lambda f: setattr(f.fc1.weight, "data", torch.randn(4, 24, 16)),
    "load_state_dict": lambda f: f.load_state_dict(SwitchFFN(16, 24, 4).state_dict()),
    "a new parameter": lambda f: setattr(f.fc1, "weight", torch.nn.Parameter(-f.fc1.weight)),
    "there and back in another type": lambda f: f.to(torch.bfloat16).to(torch.float32),
    "the router": lambda f: torch.no_grad()(f.router.weight.neg_)(),
    "the router through .data": lambda f: f.router.weight.data.neg_(),
    "another activation": lambda f: setattr(f, "activation", "gelu"),
    "another gate": lambda f: setattr(f, "gate", "probability"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_at_once(ffn, change):
    x = torch.randn(200, 16)
    before = infer(ffn, x)
    CHANGES[change](ffn)
    after = infer(ffn, x)
    torch.testing.assert_close(after, truth(ffn, x), atol=1e-4, rtol=1e-4)
    assert not torch.equal(after, before)


def test_copies_and_pickles_do_not_carry_it(ffn):
    size = len(pickle.dumps(SwitchFFN(16, 24, 4)))
    assert abs(len(pickle.dumps(ffn)) - size) < 200
    for other in (copy.deepcopy(ffn), pickle.loads(pickle.dumps(ffn))):
        assert not is_kept(other.fc1.weight)
        x = torch.randn(9, 16)
        assert torch.equal(infer(other, x), infer(ffn, x))


def test_it_goes_with_its_weight_and_can_be_dropped(ffn):
    from moenas.models.kernels import layer

    kept = len(layer._layers)
    forget(ffn.fc1.weight)
    assert not is_kept(ffn.fc1.weight)
    infer(ffn, torch.randn(3, 16))
    assert len(layer._layers) == kept
    del ffn.fc1
    assert len(layer._layers) == kept - 1


def test_weights_made_in_inference_mode_are_packed_anew_each_time():
    with torch.inference_mode():
        ffn, x = SwitchFFN(16, 24, 4).eval(), torch.randn(30, 16)
        ffn(x)
        ffn.fc1.weight[1, 2, 3] += 5
        torch.testing.assert_close(ffn(x), truth(ffn, x), atol=1e-5, rtol=1e-5)


def test_a_folded_copy_made_in_inference_mode_has_ordinary_weights(dense):
    with torch.inference_mode():
        folded = fold_batch_norms(dense)
    assert not any(parameter.is_inference() for parameter in folded.parameters())


@pytest.mark.parametrize("gate", ["exact", "probability"])
def test_disabling_equals_removing_bit_for_bit(gate):
    ffn, x = SwitchFFN(16, 24, 5, gate).eval(), torch.randn(300, 16)
    smaller = ffn.without_expert(2)
    with disabled_experts(ffn, {"": {2}}):
        masked = infer(ffn, x)
    assert torch.equal(infer(smaller, x), masked)
    assert not torch.equal(infer(ffn, x), masked)


def test_recorded_routing_is_the_routing_that_was_used():
    ffn, x = SwitchFFN(16, 24, 4).eval(), torch.randn(500, 16)
    with record_routing(ffn) as records, torch.inference_mode():
        y = ffn(x)
    expert = records[""].expert
    for e in range(4):
        alone = ffn.expert(e)(x[expert == e])
        torch.testing.assert_close(y[expert == e], alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(infer(ffn, x), y, atol=1e-5, rtol=1e-5)


def test_bfloat16_experts_halve_the_weights_and_change_little(kernel):
    ffn, x = SwitchFFN(48, 100, 4, "probability"), torch.randn(300, 48)
    half = bfloat16_experts(ffn)
    assert half.fc1.weight.dtype == torch.bfloat16
    assert half.router.weight.dtype == half.fc1.bias.dtype == torch.float32
    assert ffn.fc1.weight.dtype == torch.float32
    assert not half.training
    got = infer(half, x)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got, truth(half, x), atol=1e-5, rtol=1e-4)
    assert 0 < (got - infer(ffn, x)).norm() / got.norm() < 0.01
    smaller = half.without_expert(1)
    assert smaller.fc1.weight.dtype == torch.bfloat16
    assert smaller.without_expert(0).without_expert(0)(x).dtype == torch.float32


WIDTHS = [(48, 100), (64, 128), (32, 96), (96, 32)]  # all but the first fit a matrix unit


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("activation", ["silu", "gelu"])
def test_bfloat16_experts_on_the_torch_path_agree(kernel, monkeypatch, widths, activation):
    ffn = SwitchFFN(*widths, 4, activation=activation)
    half, x = bfloat16_experts(ffn), torch.randn(333, widths[0])
    fast = infer(half, x)
    monkeypatch.setenv("MOENAS_KERNEL", "0")
    slow = infer(half, x)
    if kernel.amx and widths != WIDTHS[0]:  # which rounds tokens and hidden layer too
        assert 0 < (fast - slow).norm() / slow.norm() < 0.01
    else:
        torch.testing.assert_close(slow, fast, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("widths", WIDTHS)
def test_a_bfloat16_tokens_bits_depend_on_no_other_token_nor_on_threads(kernel, widths):
    half, x = bfloat16_experts(SwitchFFN(*widths, 4)), torch.randn(700, widths[0])
    whole = infer(half, x)
    some = torch.randperm(700)[:33]
    assert torch.equal(infer(half, x[some]), whole[some])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert torch.equal(infer(half, x), whole)
    finally:
        torch.set_num_threads(before)


def test_a_matrix_unit_is_left_as_it_was_found(kernel):
    """torch's own bfloat16 products use the same registers."""
    half, x = bfloat16_experts(SwitchFFN(64, 128, 4)), torch.randn(50, 64)
    a, b = torch.randn(70, 64).bfloat16(), torch.randn(64, 48).bfloat16()
    first, product = infer(half, x), a @ b
    for _ in range(3):
        assert torch.equal(infer(half, x), first)
        assert torch.equal(a @ b, product)
    torch.testing.assert_close(product.float(), a.float() @ b.float(), atol=0.1, rtol=0.01)


@pytest.mark.parametrize("widths", WIDTHS)
def test_bfloat16_experts_keep_nan_and_infinity_with_their_token(kernel, widths):
    half, x = bfloat16_experts(SwitchFFN(*widths, 4)), torch.randn(60, widths[0])
    clean = infer(half, x)
    x[7, 3], x[20, 0] = torch.nan, torch.inf
    dirty = infer(half, x)
    assert dirty[7].isnan().all()
    assert not dirty[20].isfinite().all()
    rest = [i for i in range(60) if i not in (7, 20)]
    assert torch.equal(dirty[rest], clean[rest])


def test_a_fused_optimiser_which_counts_no_versions_drops_what_is_kept(ffn):
    optimizer = torch.optim.AdamW(ffn.parameters(), lr=0.1, fused=True)
    optimizer_step(ffn)
    infer(ffn, torch.randn(3, 16))
    assert is_kept(ffn.fc1.weight)
    optimizer.step()
    assert not is_kept(ffn.fc1.weight)


def test_a_slice_of_the_same_memory_is_another_layer(ffn):
    ffn.fc1.weight.data = ffn.fc1.weight.data[:, :12]
    ffn.fc1.bias.data = ffn.fc1.bias.data[:, :12].contiguous()
    ffn.fc2.weight.data = ffn.fc2.weight.data[:, :, :12]
    x = torch.randn(30, 16)
    torch.testing.assert_close(infer(ffn, x), truth(ffn, x), atol=1e-5, rtol=1e-5)


def test_a_weight_whose_copy_was_packed_is_not_kept(ffn):
    ffn.fc1.weight.data = ffn.fc1.weight.data.transpose(1, 2).contiguous().transpose(1, 2)
    x = torch.randn(30, 16)
    infer(ffn, x)
    ffn.fc1.weight.data.mul_(2)
    torch.testing.assert_close(infer(ffn, x), truth(ffn, x), atol=1e-5, rtol=1e-5)


def test_zeros_and_signs_that_are_only_noted(ffn):
    zeros = torch._efficientzerotensor((5, 16))
    with torch.no_grad():
        torch.testing.assert_close(ffn(zeros), ffn(torch.zeros(5, 16)), atol=1e-5, rtol=1e-5)
        flipped = torch.randn(40, 16, dtype=torch.complex64).conj().imag
        assert flipped.is_neg()
        torch.testing.assert_close(ffn(flipped), truth(ffn, flipped), atol=1e-5, rtol=1e-5)


def test_the_default_type_of_tensors_does_not_matter(ffn):
    x = torch.randn(2, 2, 5, 4, 16)[:, :, ::2, ::3]
    expected = truth(ffn, x)
    torch.set_default_dtype(torch.float64)
    try:
        got = infer(ffn, x)
    finally:
        torch.set_default_dtype(torch.float32)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_the_default_device_does_not_matter(ffn):
    x = torch.randn(6, 16)
    expected = truth(ffn, x)
    with torch.no_grad(), record_routing(ffn), torch.device("meta"):
        got = ffn(x)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_indices_are_bytes():
    with pytest.raises(ModelError, match="at most 255"):
        SwitchFFN(8, 8, 256)


def test_weights_that_another_thread_is_writing(ffn, monkeypatch):
    """Hogwild: what was packed a moment ago differs already; no call may fail for it."""
    from moenas.models.kernels.library import Kernel

    pack = Kernel.layer

    def written_meanwhile(self, weights, *args, **kwargs):
        layer = pack(self, weights, *args, **kwargs)
        weights[0].data.add_(1)
        return layer

    monkeypatch.setattr(Kernel, "layer", written_meanwhile)
    ffn.fc1.weight.data.add_(1)
    assert infer(ffn, torch.randn(5, 16)).isfinite().all()


def test_weights_pruned_by_torch_are_used_as_pruned(ffn):
    torch.nn.utils.prune.random_unstructured(ffn.fc1, "weight", 0.5)
    x = torch.randn(40, 16)
    for _ in range(2):  # the mask is applied anew in each pass
        ffn(x).square().sum().backward()
        torch.optim.SGD(ffn.parameters(), lr=0.1).step()
    got = infer(ffn, x)
    torch.nn.utils.prune.remove(ffn.fc1, "weight")
    torch.testing.assert_close(got, truth(ffn, x), atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:.torch.jit.script.:FutureWarning")  # torch's own use of it
@pytest.mark.parametrize("grad", [True, False])
def test_forward_mode_derivatives_are_refused_not_lost(ffn, grad):
    with forward_ad.dual_level(), torch.set_grad_enabled(grad):
        x = forward_ad.make_dual(torch.randn(3, 16), torch.randn(3, 16))
        with pytest.raises(NotImplementedError, match="forward"):
            ffn(x)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")  # of vmap's own
@pytest.mark.filterwarnings("ignore:.torch.jit.script.:FutureWarning")
@pytest.mark.parametrize("grad", [True, False])
def test_vmap_over_tokens_and_over_models(ffn, grad):
    """What vmap hands over stands for many tensors, and has no memory of its own."""
    other, x = copy.deepcopy(ffn), torch.randn(3, 5, 16)
    with torch.no_grad():
        other.fc1.weight.neg_()
    with torch.set_grad_enabled(grad):
        expected = torch.stack([ffn(x), other(x)])
        torch.testing.assert_close(torch.func.vmap(ffn)(x), expected[0])
        stacked, _ = torch.func.stack_module_state([ffn, other])
        each = torch.func.vmap(lambda weights: torch.func.functional_call(ffn, weights, (x,)))
        torch.testing.assert_close(each(stacked), expected)
