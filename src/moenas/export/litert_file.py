"""LiteRT's file ``.tflite`` (TensorFlow Lite): the runtime of Android and of microcontrollers.

Masked: LiteRT's converter takes no shape that depends on values.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from moenas.errors import CheckpointError
from moenas.export.exported import OneByOne, first_line
from moenas.export.formats import FORMATS
from moenas.export.masked_file import write_masked
from moenas.export.metadata import Details
from moenas.export.quiet import quiet
from moenas.export.seal import unseal

WORKS = "litert-torch 0.10.0 with torch 2.14.1 works."


def write_litert(model: nn.Module, details: Details, path: Path) -> None:
    """Write a model for LiteRT; see `write_masked`."""
    write_masked(model, details, path, "litert", _convert, WORKS)


def _convert(module: nn.Module, example: tuple[Tensor]) -> bytes:
    import litert_torch

    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "model.tflite"
        litert_torch.convert(module, example).export(str(file))
        return file.read_bytes()


class LiteRtModel(OneByOne):
    """A file of `write_litert`, ready to run on one thread of the CPU.

    A file holds no code, but LiteRT's own loader parses it, after the card's hash was checked: it
    is not made for files of strangers.

    Args:
        path: A .tflite file that moenas exported.

    Raises:
        CheckpointError: The file is missing, damaged or not one of ours.
        MissingDependencyError: The extra ``litert`` is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        FORMATS["litert"].require()
        self.path = Path(path)
        content, self.details, self.layers = unseal(self.path)
        try:
            with quiet():
                from ai_edge_litert.interpreter import Interpreter

                self._interpreter = Interpreter(model_content=content, num_threads=1)
                self._interpreter.allocate_tensors()
                (self._input,) = (d["index"] for d in self._interpreter.get_input_details())
                outputs = self._interpreter.get_output_details()
                self._outputs = [d["index"] for d in sorted(outputs, key=_place)]
        except Exception as error:
            raise CheckpointError(f"'{path}' cannot be loaded: {first_line(error)}") from error

    def answer(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """See `OneByOne`."""
        try:
            self._interpreter.set_tensor(self._input, image[None])
            self._interpreter.invoke()
            return [self._interpreter.get_tensor(index) for index in self._outputs]
        except Exception as error:
            raise CheckpointError(f"'{self.path}' cannot run: {first_line(error)}") from error


def _place(output: dict[str, str]) -> int:
    """Which output of the model it is: its name is ``serving_default_output_3_output``."""
    return int("".join(c for c in output["name"] if c.isdigit()))
