"""The operators under torch's own checks, compiled and exported, with and without kernel."""

import pytest
import torch
import torch.nn.functional as F
from reference import masked, weights

from moenas.models.grouped_experts import grouped_experts
from moenas.models.kernels import ops
from moenas.models.switch_ffn import SwitchFFN


@pytest.fixture(params=["kernel", "torch"])
def path(request, monkeypatch):
    """Both ways to compute."""
    if request.param == "torch":
        monkeypatch.setenv("MOENAS_KERNEL", "0")
    else:
        request.getfixturevalue("kernel")
    return request.param


def inputs(grad, activation="silu", unit=False):
    w = [t.requires_grad_(grad) for t in weights(3, 8, 12)]
    x, gate = torch.randn(20, 8, requires_grad=grad), torch.rand(20, requires_grad=grad)
    return x, torch.randint(3, (20,)).byte(), gate, *w, activation, unit


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # theirs
@pytest.mark.parametrize("unit", [True, False])
def test_opcheck_of_the_experts(path, unit):
    torch.library.opcheck(ops.experts, inputs(True, "gelu", unit))
    x, expert, gate, w1, b1, w2, b2, *rest = inputs(False, "silu", unit)
    y, before = ops.experts(x, expert, gate, w1, b1, w2, b2, *rest)
    given = (torch.randn_like(y), x, expert, gate, before, w1, w2, b2, *rest)
    torch.library.opcheck(ops.experts_backward, given)


@pytest.mark.parametrize("x", [torch.randn(20, 8), torch.randn(2, 8, 3, 4).permute(0, 2, 3, 1)])
def test_opcheck_of_the_fused_operator(path, x):
    given = (x, torch.randn(3, 8), *weights(3, 8, 12), [1], "silu", True)
    torch.library.opcheck(ops.switch_ffn, given)


def test_gradients_equal_the_reference_on_both_paths(path):
    x, expert, gate, *w, activation, unit = inputs(True)
    y, _ = ops.experts(x, expert, gate, *w, activation, unit)
    expected = masked(x, expert, gate, w)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-4)
    upstream = torch.randn_like(y)
    theirs = torch.autograd.grad(expected, (x, gate, *w), upstream)
    for a, b in zip(torch.autograd.grad(y, (x, gate, *w), upstream), theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_second_derivative_is_refused_and_not_wrong(path):
    x, *rest = inputs(True)
    y, _ = ops.experts(x, *rest)
    (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="autograd"):
        first.sum().backward()


@pytest.mark.parametrize("gate", ["exact", "probability"])
def test_compiled_inference_and_training_equal_eager(path, gate):
    ffn, x = SwitchFFN(8, 12, 3, gate), torch.randn(2, 5, 8)
    compiled = torch.compile(ffn, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), ffn(x), atol=1e-5, rtol=1e-4)
    y = compiled(x)
    got = torch.autograd.grad(y.square().sum(), list(ffn.parameters()))
    want = torch.autograd.grad(ffn(x).square().sum(), list(ffn.parameters()))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_exported_program_takes_any_number_of_tokens(path):
    ffn = SwitchFFN(8, 12, 3).eval()
    shapes = {"x": {0: torch.export.Dim("tokens", min=1, max=4096)}}
    with torch.no_grad():
        program = torch.export.export(ffn, (torch.randn(7, 8),), dynamic_shapes=shapes)
        assert "moenas.switch_ffn" in program.graph_module.code
        x = torch.randn(50, 8)
        torch.testing.assert_close(program.module()(x), ffn(x), atol=1e-5, rtol=1e-4)


def test_fake_tensors_need_no_memory():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(), torch.no_grad():
        assert SwitchFFN(8, 12, 3).eval()(torch.randn(6, 8)).shape == (6, 8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_grouped_products_equal_the_reference(device, dtype):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    g = torch.Generator().manual_seed(0)
    x, gate = torch.randn(40, 16, generator=g), torch.rand(40, generator=g)
    expert = torch.randint(3, (40,), generator=g).byte()  # of 4: the last gets no token
    exact = [t.to(dtype).requires_grad_() for t in (x, gate, *weights(4, 16, 32))]
    mine = [t.detach().to(device).requires_grad_() for t in exact]
    if not hasattr(F, "grouped_mm"):
        pytest.skip("this torch has no grouped_mm")
    counts = torch.bincount(expert, minlength=4).to(device)
    y = grouped_experts(mine[0], expert.to(device), counts, mine[1], tuple(mine[2:]), "gelu")
    wide = [t.detach().double().requires_grad_() for t in exact]
    expected = masked(wide[0], expert, wide[1], wide[2:], "gelu")
    error = 1e-4 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(y.cpu().double(), expected, atol=error, rtol=error)
    got = torch.autograd.grad(y.sum(), mine)
    for a, b in zip(got, torch.autograd.grad(expected.sum(), wide), strict=True):
        assert (a.cpu().double() - b).norm() <= error * b.norm() + 1e-6
