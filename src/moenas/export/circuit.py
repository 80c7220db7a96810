"""A quantum head's circuit as devices get it: its rotations are constants.

What is trained are angles; a file needs the matrices that follow from them. Written out at export,
no device computes sines of weights, and a file holds fewer and plainer operators.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from moenas.models.quantum_circuit import QuantumCircuit


class FixedCircuit(nn.Module):
    """Angles ``[B, q]`` to the expectations of Z ``[B, q]``; see `QuantumCircuit`.

    Args:
        circuit: What it computes.
    """

    def __init__(self, circuit: QuantumCircuit) -> None:
        super().__init__()
        self.circuit = circuit
        with torch.no_grad():
            self.blocks = nn.ParameterList(circuit.matrices())

    def forward(self, angles_Bq: Tensor) -> Tensor:
        """Embed the angles, apply the layers, measure."""
        return self.circuit.measured(angles_Bq, list(self.blocks))
