"""Whose a stored result is: written with it, and compared before it is used again.

A folder's name does not say it: once an earlier study was put back, a trial's number may mean
another architecture.
"""

from __future__ import annotations

import dataclasses

from torch import nn

from moenas.models.architecture import Architecture


@dataclasses.dataclass(frozen=True)
class Identity:
    """What a job's result, or the state of a training, is of.

    The recipe and the images are no part of it: a run folder has one of each, held by its settings.

    Attributes:
        architecture: Id of what was trained or judged.
        seed: The job's; None where whoever wrote it did not know.
        supernet: Hash of the supernet that it is a part of (see `read_hash`); None for a model with
            weights of its own.
    """

    architecture: str
    seed: int | None = None
    supernet: str | None = None

    @classmethod
    def of_training(cls, model: nn.Module, seed: int) -> Identity:
        """What a training is of; a model that has no architecture of ours is known by its class."""
        found = getattr(model, "architecture", None)
        name = found.id if isinstance(found, Architecture) else type(model).__qualname__
        return cls(name, seed)

    def fits(self, wanted: Identity) -> bool:
        """Whether what is stored as this may be used where another is wanted."""
        return (
            self.architecture == wanted.architecture
            and self.supernet == wanted.supernet
            and self.seed in (None, wanted.seed)
        )

    def __str__(self) -> str:
        seed = "" if self.seed is None else f", seed {self.seed}"
        part = "" if self.supernet is None else f", a part of the supernet {self.supernet[:12]}"
        return f"'{self.architecture}'{seed}{part}"
