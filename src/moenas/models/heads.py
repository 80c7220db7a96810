"""What stands where a base model has its linear classifier, as a value: kind, width and depth."""

from __future__ import annotations

import dataclasses
import re
from typing import Literal, get_args

from moenas.errors import ModelError, did_you_mean

HeadKind = Literal["quantum", "classical"]
KINDS: tuple[str, ...] = get_args(HeadKind)

MAX_QUBITS = 16
"""A batch of 64 states of 16 qubits has 34 MB, and training keeps about a dozen of them."""
MAX_LAYERS = 16
QUBITS, LAYERS = 8, 2

_ID = re.compile(r"(?P<kind>[a-z]+)(?P<qubits>\d+)(x(?P<layers>\d+))?")


@dataclasses.dataclass(frozen=True)
class Head:
    """A narrow head: linear layer to ``qubits`` values, a core, linear layer to the classes.

    Attributes:
        kind: ``quantum``: the core is a simulated circuit. ``classical``: layers of tanh with the
            same wiring and the same number of parameters.
        qubits: Width of the core, 1 to 16: qubits, or units.
        layers: Depth of the core, 1 to 16.

    Raises:
        ModelError: A value is out of range.
    """

    kind: HeadKind
    qubits: int = QUBITS
    layers: int = LAYERS

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ModelError(f"There is no head '{self.kind}'. {did_you_mean(self.kind, KINDS)}")
        for what, count, most in (
            ("qubits", self.qubits, MAX_QUBITS),
            ("layers", self.layers, MAX_LAYERS),
        ):
            if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= most:
                raise ModelError(
                    f"A head cannot have {count!r} {what}: choose a whole number from 1 to {most}"
                    + (" (a state of n qubits has 2^n values)." if what == "qubits" else ".")
                )

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read an `id`; without ``x2`` at its end it has two layers.

        Raises:
            ModelError: It is not one.
        """
        match = _ID.fullmatch(text)
        if match is None:
            raise ModelError(
                f"'{text}' is not a head: write it like quantum8x2 (kind, qubits, 'x', layers). "
                f"Kinds: {', '.join(KINDS)}."
            )
        return cls(match["kind"], int(match["qubits"]), int(match["layers"] or LAYERS))  # type: ignore[arg-type]

    @property
    def id(self) -> str:
        """Name such as ``quantum8x2``; `parse` reads it back."""
        return f"{self.kind}{self.qubits}x{self.layers}"

    def parameters(self, width: int, num_classes: int) -> int:
        """Parameters of the head; both kinds have as many.

        Args:
            width: Of the pooled features.
            num_classes: Of the model.
        """
        q = self.qubits
        return (width + 1) * q + 3 * self.layers * q + (q + 1) * num_classes

    def macs(self, width: int, num_classes: int) -> int:
        """Multiply-accumulates of one image: matrix products, as computed here.

        Args:
            width: Of the pooled features.
            num_classes: Of the model.
        """
        q = self.qubits
        core = 0  # the classical core multiplies element by element
        if self.kind == "quantum":
            # A block of k qubits: 2^(q-k) rows of 2 * 2^k reals times a square matrix.
            each = sum((2 * 2**k) ** 2 * 2 ** (q - k) for k in block_sizes(q))
            core = self.layers * each + 2**q * q
        return width * q + core + q * num_classes


BLOCK = 4
"""Qubits whose rotations are one matrix product: 3 to 6 are equally fast, 1 is much slower."""


def block_sizes(qubits: int) -> list[int]:
    """Return how many qubits each block has: as equal as possible, at most `BLOCK`."""
    blocks = -(-qubits // BLOCK)
    return [qubits // blocks + (index < qubits % blocks) for index in range(blocks)]
