"""A variational quantum circuit, simulated exactly with plain tensor operations.

Angle embedding, strongly entangling layers, the expectation of Z of each qubit: what PennyLane's
``AngleEmbedding``, ``StronglyEntanglingLayers`` and ``expval(PauliZ)`` compute, which is tested.
All numbers are real (real and imaginary parts side by side), so it trains with autograd and exports
like any other layer.

Letters: B batch, L layers, q qubits, N = 2^q values of a state; qubit 0 is the highest bit of their
index, as in PennyLane.

Source of the layers: Schuld et al., Circuit-centric quantum classifiers, 2020, Figure 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moenas.models.heads import block_sizes


class QuantumCircuit(nn.Module):
    """Angles ``[B, q]`` to the expectations of Z ``[B, q]``, each within -1 to 1."""

    signs: Tensor
    phases: Tensor
    entangled: Tensor

    def __init__(self, qubits: int, layers: int) -> None:
        """Draw all weights from 0 to 2 pi.

        Args:
            qubits: q.
            layers: L.
        """
        super().__init__()
        self.qubits, self.layers = qubits, layers
        self.weight = nn.Parameter(torch.rand(layers, qubits, 3) * (2 * math.pi))
        index = torch.arange(2**qubits)
        bits_Nq = (index[:, None] >> torch.arange(qubits - 1, -1, -1)) & 1
        rings_LN = torch.stack([_ring(qubits, reach(qubits, layer)) for layer in range(layers)])
        # RX turns |0> to cos|0> - i sin|1>: a state's phase is (-i)^(number of ones).
        turns = bits_Nq.sum(dim=1) % 4
        real, imaginary = torch.tensor([[1.0, 0.0, -1.0, 0.0], [0.0, -1.0, 0.0, 1.0]])
        self._constant("phases", torch.stack([real[turns], imaginary[turns]]))  # [2, N]
        # The last ring only renames what is measured: the signs are renamed instead.
        renamed = torch.empty_like(index).scatter_(0, rings_LN[-1], index)
        self._constant("signs", (1.0 - 2.0 * bits_Nq)[renamed])  # [N, q]
        self._constant("entangled", rings_LN[:-1].clone())  # [L - 1, N]; files hold no views

    def _constant(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)  # it follows from the sizes

    def forward(self, angles_Bq: Tensor) -> Tensor:
        """Embed the angles, apply the layers, measure. Always in the weights' precision."""
        with torch.autocast(angles_Bq.device.type, enabled=False):
            return self.measured(angles_Bq.to(self.weight.dtype), self.matrices())

    def matrices(self) -> list[Tensor]:
        """Return the rotations of each block of qubits, last block first: all that is trained.

        One ``[L, 2 * 2^k, 2 * 2^k]`` a block, see `_as_real`.
        """
        return [_as_real(matrix) for matrix in _block_matrices(self.weight)]

    def measured(self, angles_Bq: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        """Compute what `forward` does, with given rotations.

        Args:
            angles_Bq: Angles.
            blocks: As `matrices` gives them.
        """
        state_B2N = self._embed(angles_Bq)
        for layer in range(self.layers):
            for block in blocks:
                state_B2N = _turn(state_B2N, block[layer])
            if layer + 1 < self.layers:
                state_B2N = state_B2N.index_select(2, self.entangled[layer])
        return state_B2N.square().sum(dim=1) @ self.signs

    def _embed(self, angles_Bq: Tensor) -> Tensor:
        """Turn each qubit of |0...0> by RX: a product state ``[B, 2, N]``."""
        half = angles_Bq / 2
        single_Bq2 = torch.stack([half.cos(), half.sin()], dim=2)
        state = single_Bq2[:, 0]
        for qubit in range(1, self.qubits):
            state = (state[:, :, None] * single_Bq2[:, None, qubit]).flatten(1)
        return state[:, None] * self.phases

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"qubits={self.qubits}, layers={self.layers}"


def reach(qubits: int, layer: int) -> int:
    """Return how far the ring of a layer reaches: qubit i controls qubit i + reach."""
    return layer % (qubits - 1) + 1 if qubits > 1 else 0


def _ring(qubits: int, reach: int) -> Tensor:
    """Return where each value of the state after a ring of CNOTs comes from, ``[N]``."""
    index = torch.arange(2**qubits)
    if reach:
        for control in reversed(range(qubits)):  # a CNOT undoes itself, the last one first
            target = (control + reach) % qubits
            is_set = (index >> (qubits - 1 - control)) & 1
            index = index ^ (is_set << (qubits - 1 - target))
    return index


def _turn(state_B2N: Tensor, matrix: Tensor) -> Tensor:
    """Apply one block's matrix to the last k qubits, which then become the first.

    After all blocks every qubit has been last once and is where it was.

    Args:
        state_B2N: Real and imaginary parts.
        matrix: ``[2 * 2^k, 2 * 2^k]``, see `_as_real`.
    """
    batch, _, values = state_B2N.shape
    n = matrix.shape[0] // 2
    rows = state_B2N.reshape(batch, 2, values // n, n).transpose(1, 2).reshape(-1, 2 * n)
    turned = (rows @ matrix).reshape(batch, values // n, 2, n)
    return turned.permute(0, 2, 3, 1).reshape(batch, 2, values)


def _block_matrices(weight_Lq3: Tensor) -> list[Tensor]:
    """Return the rotations of each block of qubits as ``[L, 2, 2^k, 2^k]``, last block first."""
    gates = _rotations(weight_Lq3)
    matrices, end = [], gates.shape[1]
    for k in reversed(block_sizes(end)):
        matrix = gates[:, end - k]
        for qubit in range(end - k + 1, end):
            matrix = _kronecker(matrix, gates[:, qubit])
        matrices.append(matrix)
        end -= k
    return matrices


def _rotations(weight_Lq3: Tensor) -> Tensor:
    """Return ``RZ(omega) RY(theta) RZ(phi)``, real and imaginary part: ``[L, q, 2, 2, 2]``."""
    phi, theta, omega = weight_Lq3.unbind(dim=2)
    cos, sin = (theta / 2).cos(), (theta / 2).sin()
    plus, minus = (phi + omega) / 2, (phi - omega) / 2
    real = [plus.cos() * cos, -minus.cos() * sin, minus.cos() * sin, plus.cos() * cos]
    imaginary = [-plus.sin() * cos, -minus.sin() * sin, -minus.sin() * sin, plus.sin() * cos]
    parts = [torch.stack(real, dim=2), torch.stack(imaginary, dim=2)]
    return torch.stack(parts, dim=2).reshape(*phi.shape, 2, 2, 2)


def _kronecker(a: Tensor, b: Tensor) -> Tensor:
    """Kronecker product of complex ``[L, 2, m, m]`` and ``[L, 2, n, n]``."""
    layers, _, m, _ = a.shape
    n = b.shape[2]
    products = a[:, :, None, :, None, :, None] * b[:, None, :, None, :, None, :]
    products = products.reshape(layers, 2, 2, m * n, m * n)
    real = products[:, 0, 0] - products[:, 1, 1]
    return torch.stack([real, products[:, 0, 1] + products[:, 1, 0]], dim=1)


def _as_real(matrix: Tensor) -> Tensor:
    """Return ``[L, 2n, 2n]`` which, from the right, acts on rows of n real and n imaginary parts.

    Args:
        matrix: Complex ``[L, 2, n, n]``, which acts on columns.
    """
    real, imaginary = matrix[:, 0].mT, matrix[:, 1].mT
    upper = torch.cat([real, imaginary], dim=2)
    return torch.cat([upper, torch.cat([-imaginary, real], dim=2)], dim=1)
