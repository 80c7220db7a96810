"""By which rule a published data set's images were labelled, as a manifest remembers it.

The same photographs are other data sets by another rule: a number of one is none of the other.
"""

from __future__ import annotations

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class Labelling:
    """How all labels of a manifest were made from annotations.

    Attributes:
        source: Name of the data source, as in the manifest's column ``source``.
        rule: Name of the rule.
        measure: What of a person was measured: the area of its mask, or of its box.
        above: Share of the image that it covers more than, 0-1; exactly as much is not enough.
        crowds: Whether a crowd, which is annotated as one, counts as a person.
        smaller: What an image is whose persons are all smaller, or crowds that do not count: a
            negative, or left out.
        annotations: The files that were read, by name.
    """

    source: str
    rule: str
    measure: Literal["mask", "box"]
    above: float
    crowds: bool
    smaller: Literal["negative", "left out"]
    annotations: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.source}, rule {self.rule} ({self.measure} > {100 * self.above:g} %)"
