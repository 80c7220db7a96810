"""The quantum circuit's peer: as many parameters, the same wiring, no quantum state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moenas.models.quantum_circuit import reach


class ClassicalCore(nn.Module):
    """Values ``[B, q]`` to values ``[B, q]`` within -1 to 1, through L layers.

    In each layer a unit sees itself and the one that its qubit's CNOT would reach, through
    ``tanh(a x_i + b x_j + c)``: three parameters, as a rotation has.
    """

    def __init__(self, units: int, layers: int) -> None:
        """Draw the weights so that the values keep their size.

        Args:
            units: q.
            layers: L.
        """
        super().__init__()
        self.units, self.layers = units, layers
        weight = torch.randn(layers, units, 3)
        weight[:, :, 2] = 0.0
        self.weight = nn.Parameter(weight)

    def forward(self, x_Bq: Tensor) -> Tensor:
        """Apply the layers."""
        for layer in range(self.layers):
            own, other, shift = self.weight[layer].unbind(dim=1)
            seen = torch.roll(x_Bq, -reach(self.units, layer), dims=1)
            x_Bq = torch.tanh(own * x_Bq + other * seen + shift)
        return x_Bq

    def extra_repr(self) -> str:
        """What ``print`` shows."""
        return f"units={self.units}, layers={self.layers}"
