"""What writes and runs each of `FORMATS`; heavy packages are imported when one of them is used."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import nn

from moenas.errors import ConfigError
from moenas.export.answers import Runner
from moenas.export.exported import ExportedModel
from moenas.export.formats import FORMATS
from moenas.export.metadata import Details, layers_of
from moenas.export.onnx_session import OnnxModel
from moenas.export.parity import FLOAT, INT8, Tolerances


class Source:
    """What files are made of; formats that start from ONNX share one ONNX model.

    Args:
        model: A model of ours.
        details: Its card.
        calibration: Gives images ``[n, height, width, 3]`` to take the ranges of int8 from.
    """

    def __init__(
        self,
        model: nn.Module,
        details: Details,
        calibration: Callable[[], npt.NDArray[np.uint8]],
    ) -> None:
        self.model = model
        self.details = details
        self.calibration = calibration

    @functools.cached_property
    def onnx(self) -> bytes:
        """The routed ONNX model in float32."""
        from moenas.export.onnx_file import onnx_model

        content: bytes = onnx_model(self.model, self.details).SerializeToString()
        return content


@dataclasses.dataclass(frozen=True)
class Backend:
    """How a format is written and run.

    Attributes:
        write: Writes a file, and what belongs beside it.
        open: Opens a file just written, for the comparison with its model.
        tolerances: How far it may be from its model.
        read: Opens a file that may have any origin, None where its runtime would trust it.
    """

    write: Callable[[Source, Path], None]
    open: Callable[[Path], Runner]
    tolerances: Tolerances = FLOAT
    read: Callable[[Path], ExportedModel] | None = None


def _write_onnx(source: Source, path: Path) -> None:
    path.write_bytes(source.onnx)


def _write_int8(source: Source, path: Path) -> None:
    from moenas.export.int8 import int8_model

    model = int8_model(source.onnx, source.details, source.calibration())
    path.write_bytes(model.SerializeToString())


def _write_int8_weights(source: Source, path: Path) -> None:
    from moenas.export.int8_weights import int8_weights_model

    path.write_bytes(int8_weights_model(source.onnx, source.details).SerializeToString())


def _open_onnx(path: Path) -> Runner:
    return OnnxModel(path, watch=True)


def _write_openvino(source: Source, path: Path) -> None:
    import onnx

    from moenas.export.openvino_file import write_openvino

    layers = layers_of(onnx.load_model_from_string(source.onnx))
    write_openvino(source.onnx, source.details, layers, path)


def _open_openvino(path: Path) -> Runner:
    from moenas.export.openvino_file import OpenVinoModel

    return OpenVinoModel(path)


def _write_program(source: Source, path: Path) -> None:
    from moenas.export.program_file import write_program

    write_program(source.model, source.details, path)


def _open_program(path: Path) -> Runner:
    from moenas.export.program_file import ProgramModel

    return ProgramModel(path)


def _write_executorch(source: Source, path: Path) -> None:
    from moenas.export.executorch_file import write_executorch

    write_executorch(source.model, source.details, path)


def _open_executorch(path: Path) -> ExportedModel:
    from moenas.export.executorch_file import ExecuTorchModel

    return ExecuTorchModel(path)


def _write_ncnn(source: Source, path: Path) -> None:
    from moenas.export.ncnn_file import write_ncnn

    write_ncnn(source.model, source.details, path)


def _open_ncnn(path: Path) -> ExportedModel:
    from moenas.export.ncnn_file import NcnnModel

    return NcnnModel(path)


def _write_litert(source: Source, path: Path) -> None:
    from moenas.export.litert_file import write_litert

    write_litert(source.model, source.details, path)


def _open_litert(path: Path) -> ExportedModel:
    from moenas.export.litert_file import LiteRtModel

    return LiteRtModel(path)


BACKENDS: dict[str, Backend] = {
    "onnx": Backend(_write_onnx, _open_onnx, read=OnnxModel),
    "onnx-int8": Backend(_write_int8, _open_onnx, INT8, OnnxModel),
    "onnx-int8-weights": Backend(_write_int8_weights, _open_onnx, INT8, OnnxModel),
    "openvino": Backend(_write_openvino, _open_openvino),
    "pt2": Backend(_write_program, _open_program),
    "executorch": Backend(_write_executorch, _open_executorch, read=_open_executorch),
    "ncnn": Backend(_write_ncnn, _open_ncnn, read=_open_ncnn),
    "litert": Backend(_write_litert, _open_litert, read=_open_litert),
}
"""By the format's name."""


def read_exported(path: Path) -> ExportedModel | None:
    """Open an exported file by the end of its name; None where that is of no format.

    Raises:
        CheckpointError: The file cannot be used.
        ConfigError: Its format is only for other programs.
        MissingDependencyError: Its extra is not installed.
    """
    for name, kind in FORMATS.items():
        if path.name.endswith(kind.suffix):
            read = BACKENDS[name].read
            if read is None:
                readable = ", ".join(n for n, backend in BACKENDS.items() if backend.read)
                raise ConfigError(
                    f"'{path}' is for {kind.runtime}; moenas itself runs files of the formats "
                    f"{readable}, and the checkpoint that it was made from."
                )
            return read(path)
    return None
