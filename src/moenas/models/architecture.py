"""An architecture: the base model's name and how many experts each of its FFNs has."""

from __future__ import annotations

import dataclasses
import re

from moenas.errors import ModelError
from moenas.models.zoo import get_model, is_model

MIN_EXPERTS = 1
MAX_EXPERTS = 8

_ID = re.compile(r"(?P<base>.+)-e(?P<experts>\d+)")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A base model with its vector of expert counts; hashable, validated when made.

    Attributes:
        base: Name of the base model, e.g. ``"mobilevitv2_050"``, or of any other model of timm.
        experts: Experts of each FFN, 1 to 8, in the order an image passes them; 1 is the plain FFN.
            Empty for a model without FFNs that are converted.

    Raises:
        ModelError: Unknown base model, wrong length, or a count out of range.
    """

    base: str
    experts: tuple[int, ...]

    def __post_init__(self) -> None:
        layers = len(get_model(self.base).layers)
        if self.experts and not layers:
            raise ModelError(
                f"'{self.base}' has no FFN that is converted here: it takes no expert counts."
            )
        if len(self.experts) != layers:
            raise ModelError(
                f"'{self.base}' has {layers} FFNs and needs {layers} expert counts, "
                f"not {len(self.experts)}."
            )
        for position, count in enumerate(self.experts, start=1):
            whole = isinstance(count, int) or getattr(count, "dtype", None) is not None
            if not whole or count != int(count) or not MIN_EXPERTS <= count <= MAX_EXPERTS:
                raise ModelError(
                    f"Layer {position} of '{self.base}' cannot have {count!r} experts: choose a "
                    f"whole number from {MIN_EXPERTS} to {MAX_EXPERTS}."
                )
        object.__setattr__(self, "experts", tuple(int(count) for count in self.experts))

    @classmethod
    def dense_base(cls, base: str) -> Architecture:
        """Return the dense base model's architecture: one expert everywhere."""
        return cls(base, (1,) * len(get_model(base).layers))

    @classmethod
    def parse(cls, text: str) -> Architecture:
        """Read an `id`.

        Raises:
            ModelError: It is not one.
        """
        match = _ID.fullmatch(text)
        if match is None and is_model(text) and not get_model(text).layers:
            return cls(text, ())
        if match is None:
            raise ModelError(
                f"'{text}' is not an architecture: write it like mobilevitv2_050-e183124116 "
                "(base model, '-e', one digit a layer)."
            )
        return cls(match["base"], tuple(int(digit) for digit in match["experts"]))

    @property
    def id(self) -> str:
        """Name such as ``mobilevitv2_050-e183124116``, or the base alone; `parse` reads it back."""
        if not self.experts:
            return self.base
        return f"{self.base}-e{''.join(map(str, self.experts))}"

    @property
    def dense(self) -> bool:
        """Whether this is the base model itself."""
        return all(count == 1 for count in self.experts)

    def __str__(self) -> str:
        return self.id
