"""A model with a quantum head: replaced, stored, refused, exported."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

from moenas.errors import CheckpointError, ModelError
from moenas.models import storage
from moenas.models.builder import build_model
from moenas.models.heads import Head
from moenas.models.pennylane_circuit import pennylane_circuit
from moenas.models.quantum_head import NarrowHead, with_head
from moenas.models.storage import load_model, save_model

QUANTUM = Head("quantum", 4, 2)


@pytest.fixture(scope="module")
def model(dense: nn.Module) -> nn.Module:
    return with_head(dense, QUANTUM, seed=3)


def test_only_the_head_is_new(model: nn.Module, dense: nn.Module) -> None:
    before, after = dense.state_dict(), model.state_dict()
    new = {name for name in after if name.startswith("head.fc.")}
    assert new == {
        "head.fc.reduce.weight", "head.fc.reduce.bias", "head.fc.core.weight",
        "head.fc.expand.weight", "head.fc.expand.bias",
    }  # fmt: skip
    assert all(torch.equal(after[name], before[name]) for name in after.keys() - new)
    assert model.architecture.id == "mobilevitv2_050-e111111111-quantum4x2"  # type: ignore[union-attr]
    assert dense.architecture.head is None  # type: ignore[union-attr]
    assert with_head(model, None).state_dict().keys() == before.keys()


def test_a_seed_gives_the_same_head_and_draws_from_no_global_generator(
    dense: nn.Module, model: nn.Module
) -> None:
    state = torch.random.get_rng_state()
    again, other = with_head(dense, QUANTUM, seed=3), with_head(dense, QUANTUM, seed=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    weight = "head.fc.core.weight"
    assert torch.equal(again.state_dict()[weight], model.state_dict()[weight])
    assert not torch.equal(other.state_dict()[weight], model.state_dict()[weight])


def test_the_head_is_what_it_says() -> None:
    """Linear, tanh times pi, PennyLane's circuit, linear."""
    qml = pytest.importorskip("pennylane")
    assert qml
    torch.manual_seed(0)
    head = NarrowHead(Head("quantum", 3, 2), 6, 2)
    features = torch.randn(5, 6)
    angles = (features @ head.reduce.weight.T + head.reduce.bias).tanh() * math.pi
    expected = torch.stack(pennylane_circuit(head.core)(angles, head.core.weight), dim=1).float()
    assert torch.allclose(head(features), head.expand(expected), atol=1e-5)


@pytest.mark.parametrize("head", ["quantum8x2", "classical3x1"])
def test_a_stored_model_comes_back(head: str, images: torch.Tensor, tmp_path: Path) -> None:
    model = build_model("mobilevitv2_050", seed=0, head=head).eval()
    save_model(tmp_path / "m.safetensors", model, image_size=64)
    loaded, card = load_model(tmp_path / "m.safetensors")
    assert card.architecture == f"mobilevitv2_050-e111111111-{head}"
    assert loaded.architecture == model.architecture
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("photonic4x2", "no head 'photonic'"),
        ("quantum99x2", "99 qubits"),
        ("quantum4x3", r"tensor 'head\.fc\.core\.weight' is \[2, 4, 3\]"),
        ("classical4x3", r"tensor 'head\.fc\.core\.weight'"),
    ],
)
def test_a_card_with_another_head_is_refused(
    model: nn.Module, head: str, message: str, tmp_path: Path
) -> None:
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    card = {
        "architecture": f"mobilevitv2_050-e111111111-{head}",
        "gate": "exact",
        "num_classes": 2,
        "image_size": 64,
    }
    content = {"format": 1, "card": card, "sha256": storage._hash(card, tensors)}
    path = tmp_path / "m.safetensors"
    path.write_bytes(safetensors.torch.save(tensors, {"moenas": json.dumps(content)}))
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_a_head_that_was_put_in_by_hand_is_not_saved(dense: nn.Module, tmp_path: Path) -> None:
    other = with_head(dense, None)
    other.set_submodule("head.fc", NarrowHead(QUANTUM, 256, 2))
    with pytest.raises(ModelError, match="changed after it was built"):
        save_model(tmp_path / "m.safetensors", other, image_size=64)


def test_it_learns_what_no_linear_head_can() -> None:
    """Parity of two signs, the smallest task that is not linear: the circuit is in use."""
    torch.manual_seed(0)
    x = torch.randn(256, 2)
    y = (x[:, 0] * x[:, 1] > 0).long()
    head = NarrowHead(Head("quantum", 2, 2), 2, 2)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    for _ in range(60):
        loss = nn.functional.cross_entropy(head(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (head(x).argmax(1) == y).float().mean() > 0.85


@pytest.mark.parametrize("kind", ["quantum", "classical"])
def test_it_exports_as_plain_tensor_operations(kind: str) -> None:
    """One graph for any batch, without complex numbers and control flow."""
    torch.manual_seed(0)
    head = NarrowHead(Head(kind, 5, 2), 6, 2).eval()  # type: ignore[arg-type]
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(head, (torch.randn(3, 6),), dynamic_shapes=({0: batch},))
    for size in (1, 7):
        features = torch.randn(size, 6)
        assert torch.allclose(program.module()(features), head(features), atol=1e-6)
    values = [node.meta.get("val") for node in program.graph.nodes]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert len(tensors) > 10
    assert not any(tensor.is_complex() for tensor in tensors)


@pytest.mark.slow
def test_onnx_runtime_computes_the_same(tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript"):
        pytest.importorskip(name)
    runtime = pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    head = NarrowHead(Head("quantum", 8, 2), 256, 2).eval()
    path = tmp_path / "head.onnx"
    batch = torch.export.Dim("batch", min=1, max=1024)
    torch.onnx.export(
        head, (torch.randn(3, 256),), str(path), dynamo=True, verbose=False,
        dynamic_shapes=({0: batch},), input_names=["features"],
    )  # fmt: skip
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for size in (1, 64):
        features = torch.randn(size, 256)
        (logits,) = session.run(None, {"features": features.numpy()})
        assert torch.allclose(torch.from_numpy(logits), head(features), atol=1e-5)
