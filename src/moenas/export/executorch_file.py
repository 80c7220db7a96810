"""ExecuTorch's file ``.pte``: PyTorch's runtime for phones and boards, computed by XNNPACK.

Masked: XNNPACK takes the whole graph then. A routed one leaves each expert's choice of tokens to
ExecuTorch's plain kernels between many small delegates, and takes 2.7 times as long (see
docs/export.md).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moenas.errors import CheckpointError
from moenas.export.exported import OneByOne, first_line
from moenas.export.formats import FORMATS
from moenas.export.masked_file import write_masked
from moenas.export.metadata import Details
from moenas.export.quiet import quiet
from moenas.export.seal import unseal

WORKS = "ExecuTorch fits few versions of torch; executorch 1.5.1 with torch 2.14.1 works."


def write_executorch(model: nn.Module, details: Details, path: Path) -> None:
    """Write a model for ExecuTorch; see `write_masked`."""
    write_masked(model, details, path, "executorch", _convert, WORKS)


def _convert(module: nn.Module, example: tuple[Tensor]) -> bytes:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    program = torch.export.export(module, example, strict=False)
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    return bytes(lowered.to_executorch().buffer)


class ExecuTorchModel(OneByOne):
    """A file of `write_executorch`, ready to run on the CPU.

    A file holds no code, but ExecuTorch's own loader parses it, after the card's hash was checked:
    it is not made for files of strangers.

    Args:
        path: A .pte file that moenas exported.

    Raises:
        CheckpointError: The file is missing, damaged or not one of ours.
        MissingDependencyError: The extra ``executorch`` is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        FORMATS["executorch"].require()
        self.path = Path(path)
        content, self.details, self.layers = unseal(self.path)
        try:
            with quiet():
                from executorch.runtime import Runtime, Verification

                self._program = Runtime.get().load_program(
                    content, verification=Verification.InternalConsistency
                )
                self._method = self._program.load_method("forward")
        except Exception as error:
            raise CheckpointError(f"'{path}' cannot be loaded: {first_line(error)}") from error

    def answer(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """See `OneByOne`."""
        try:
            return [out.numpy() for out in self._method.execute([torch.from_numpy(image[None])])]
        except Exception as error:
            raise CheckpointError(f"'{self.path}' cannot run: {first_line(error)}") from error
