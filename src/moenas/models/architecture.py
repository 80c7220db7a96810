"""An architecture: a base model's name, how many experts each of its FFNs has, and its head."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from moenas.errors import ModelError
from moenas.models.classifier import NO_CLASSIFIER
from moenas.models.heads import Head
from moenas.models.zoo import get_model, is_model

MIN_EXPERTS = 1
MAX_EXPERTS = 8

_ID = re.compile(r"(?P<base>.+?)(-e(?P<experts>\d+))?(-(?P<head>[a-z]+\d+x\d+))?")


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A base model with its vector of expert counts; hashable, validated when made.

    Attributes:
        base: Name of the base model, e.g. ``"mobilevitv2_050"``, or of any other model of timm.
        experts: Experts of each FFN, 1 to 8, in the order an image passes them; 1 is the plain FFN.
            Empty for a model without FFNs that are converted.
        head: What stands in place of the linear classifier; None where it stays.

    Raises:
        ModelError: Unknown base model, wrong length, a count out of range, or a head that the base
            model cannot have.
    """

    base: str
    experts: tuple[int, ...]
    head: Head | None = None

    def __post_init__(self) -> None:
        base = get_model(self.base)
        layers = len(base.layers)
        object.__setattr__(self, "experts", _counts(self.experts))
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
            number = isinstance(count, int) or getattr(count, "dtype", None) is not None
            if not number or not MIN_EXPERTS <= count <= MAX_EXPERTS or count != int(count):
                raise ModelError(
                    f"Layer {position} of '{self.base}' cannot have {count!r} experts: choose a "
                    f"whole number from {MIN_EXPERTS} to {MAX_EXPERTS}."
                )
        if self.head is not None and base.pooled_width is None:
            raise ModelError(NO_CLASSIFIER.format(name=self.base))
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
        name = match["base"] if match else text
        if match is None or not (
            match["experts"] or (is_model(name) and not get_model(name).layers)
        ):
            raise ModelError(
                f"'{text}' is not an architecture: write it like mobilevitv2_050-e183124116 "
                "(base model, '-e', one digit a layer), with another head mobilevitv2_050-"
                "e183124116-quantum8x2."
            )
        head = Head.parse(match["head"]) if match["head"] else None
        return cls(name, tuple(int(digit) for digit in match["experts"] or ""), head)

    def with_experts(self, experts: Sequence[int]) -> Architecture:
        """Return the same with other expert counts."""
        return dataclasses.replace(self, experts=_counts(experts))

    def with_head(self, head: Head | None) -> Architecture:
        """Return the same with another head."""
        return dataclasses.replace(self, head=head)

    @property
    def id(self) -> str:
        """Name such as ``mobilevitv2_050-e183124116``, or the base alone; `parse` reads it back.

        A head is added to it: ``mobilevitv2_050-e183124116-quantum8x2``.
        """
        parts = [self.base]
        if self.experts:
            parts.append(f"e{''.join(map(str, self.experts))}")
        if self.head is not None:
            parts.append(self.head.id)
        return "-".join(parts)

    @property
    def dense(self) -> bool:
        """Whether no layer has experts."""
        return all(count == 1 for count in self.experts)

    def __str__(self) -> str:
        return self.id


def _counts(experts: Sequence[int]) -> tuple[int, ...]:
    try:
        return tuple(experts)
    except TypeError as error:
        raise ModelError(
            f"Give the experts of each FFN, e.g. (1, 8, 3, 1, 2, 4, 1, 1, 6), not {experts!r}."
        ) from error
