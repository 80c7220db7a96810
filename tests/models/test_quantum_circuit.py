"""The simulation computes what PennyLane computes, and its gradients are right."""

from __future__ import annotations

import builtins
import math
import warnings
from typing import Any

import pytest
import torch

from moenas.errors import MissingDependencyError, ModelError
from moenas.models.classical_core import ClassicalCore
from moenas.models.pennylane_circuit import pennylane_circuit
from moenas.models.quantum_circuit import QuantumCircuit, reach

SIZES = [(1, 1), (1, 3), (2, 2), (3, 3), (4, 1), (5, 2), (8, 2), (9, 4)]


def circuit(qubits: int, layers: int) -> QuantumCircuit:
    torch.manual_seed(qubits)
    return QuantumCircuit(qubits, layers).double()


def angles(batch: int, qubits: int) -> torch.Tensor:
    draw = torch.rand(batch, qubits, generator=torch.Generator().manual_seed(1))
    return (2 * draw.double() - 1) * math.pi


@pytest.mark.parametrize(("qubits", "layers"), SIZES)
def test_pennylane_gives_the_same_values_and_gradients(qubits: int, layers: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("pennylane")
        ours = circuit(qubits, layers)
        theirs = pennylane_circuit(ours)
        results = []
        for call in (ours, lambda x: torch.stack(theirs(x, ours.weight), dim=1)):
            x = angles(3, qubits).requires_grad_()
            values = call(x)
            total = (values * torch.arange(1, values.numel() + 1).reshape(values.shape)).sum()
            results.append((values, *torch.autograd.grad(total, (x, ours.weight))))
    for mine, other in zip(*results, strict=True):
        assert mine.shape == other.shape
        assert torch.allclose(mine, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("qubits", "layers"), [(1, 2), (3, 2), (5, 2)])
def test_gradients_against_differences(qubits: int, layers: int) -> None:
    ours = circuit(qubits, layers)

    def values(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(ours, {"weight": weight}, (x,))

    inputs = (angles(2, qubits).requires_grad_(), ours.weight.detach().clone().requires_grad_())
    assert torch.autograd.gradcheck(values, inputs)


def test_one_qubit_by_hand() -> None:
    """RX, then RY after RZ: <Z> = cos(theta) cos(x) - sin(theta) sin(phi) sin(x)."""
    ours = circuit(1, 1)
    phi, theta, _ = ours.weight.detach()[0, 0]
    x = angles(7, 1)
    expected = theta.cos() * x.cos() - theta.sin() * phi.sin() * x.sin()
    assert torch.allclose(ours(x), expected, atol=1e-12)


def test_a_state_has_norm_one() -> None:
    """The mean of Z is that of a probability: with signs of one, the sum is 1."""
    for qubits in (2, 7, 10):
        ours = circuit(qubits, 3)
        ours.signs = torch.ones(2**qubits, 1, dtype=torch.float64)
        assert torch.allclose(ours(angles(3, qubits)), torch.ones(3, 1).double(), atol=1e-12)


def test_rows_of_a_batch_are_independent() -> None:
    ours = circuit(6, 2)
    x = angles(4, 6)
    whole = ours(x)
    assert torch.allclose(whole[2:3], ours(x[2:3]), atol=1e-12)
    assert ours(x[:0]).shape == (0, 6)
    assert whole.abs().max() <= 1


def test_the_last_angle_of_each_qubit_changes_nothing() -> None:
    """A turn about Z right before the measurement of Z: those q weights are dead."""
    ours = circuit(4, 2)
    ours(angles(3, 4)).square().sum().backward()
    assert ours.weight.grad is not None
    assert ours.weight.grad[-1, :, 2].abs().max() < 1e-12
    assert ours.weight.grad[0, :, 2].abs().min() > 1e-6


def test_only_the_weights_are_stored() -> None:
    assert set(QuantumCircuit(16, 2).state_dict()) == {"weight"}


def test_half_precision_around_it_does_not_reach_in() -> None:
    torch.manual_seed(0)
    ours = QuantumCircuit(4, 2)
    x = angles(3, 4).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ours(x), QuantumCircuit.forward(ours, x))
        assert ours(x.bfloat16()).dtype == torch.float32


def test_the_classical_core_has_the_circuits_wiring() -> None:
    """An input reaches the outputs that its qubit's CNOT chain of one layer would touch."""
    core = ClassicalCore(5, 1)
    jacobian = torch.autograd.functional.jacobian(core, torch.rand(1, 5))[0, :, 0]
    for unit in range(5):
        seen = {unit, (unit + reach(5, 0)) % 5}
        assert set(jacobian[unit].nonzero().flatten().tolist()) == seen
    assert core.weight.numel() == QuantumCircuit(5, 1).weight.numel()


def test_without_pennylane_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name: str, *rest: Any) -> Any:
        if name == "pennylane":
            raise ImportError(name)
        return found(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(MissingDependencyError, match=r"pip install 'moenas\[quantum\]'"):
        pennylane_circuit(QuantumCircuit(2, 1))


def test_only_a_quantum_circuit_is_drawn() -> None:
    with pytest.raises(ModelError, match="ClassicalCore is no quantum circuit"):
        pennylane_circuit(ClassicalCore(2, 1))  # type: ignore[arg-type]
