"""The quantum head's circuit in PennyLane: to draw it, or to run it on another device.

PennyLane is imported here alone. Training and inference don't need it.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from moenas.errors import MissingDependencyError, ModelError
from moenas.models.quantum_circuit import QuantumCircuit


def pennylane_circuit(circuit: QuantumCircuit, device: Any = None) -> Any:
    """Return the circuit as a PennyLane ``QNode``.

    It is called as ``qnode(angles, weights)``, angles ``[B, q]`` or ``[q]`` and weights
    ``[L, q, 3]``, and returns a list of q expectations. ``qml.draw_mpl(qnode)(...)`` draws it.

    Args:
        circuit: Its sizes are used; its weights are passed in each call, e.g. ``circuit.weight``.
        device: A PennyLane device with at least q wires, a simulator or real hardware; None for
            ``default.qubit``, which is exact and differentiable.

    Raises:
        MissingDependencyError: PennyLane is not installed.
        ModelError: This is no quantum circuit.
    """
    try:
        import pennylane as qml
    except ImportError as error:
        raise MissingDependencyError(
            "pennylane", "quantum", "The quantum circuit as a QNode"
        ) from error
    if not isinstance(circuit, QuantumCircuit):
        raise ModelError(
            f"A {type(circuit).__name__} is no quantum circuit: pass the core of a quantum head."
        )
    wires = range(circuit.qubits)
    if device is None:
        device = qml.device("default.qubit", wires=circuit.qubits)

    @qml.qnode(device, interface="torch")  # type: ignore[untyped-decorator]
    def qnode(inputs: Tensor, weights: Tensor) -> list[Any]:
        qml.AngleEmbedding(inputs, wires=wires, rotation="X")
        qml.StronglyEntanglingLayers(weights, wires=wires)
        return [qml.expval(qml.PauliZ(wire)) for wire in wires]

    return qnode
