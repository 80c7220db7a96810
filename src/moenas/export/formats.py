"""The formats that models are exported to: one table, which ``moenas export --list`` shows."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Literal

from moenas.errors import MissingDependencyError
from moenas.registry import Registry

Routing = Literal["routed", "masked"]


@dataclasses.dataclass(frozen=True)
class Format:
    """A format of exported models.

    Attributes:
        name: What ``--format`` takes.
        suffix: Of its file.
        runtime: What runs it.
        extra: The extra of moenas that it needs, None for none.
        packages: Modules to import and the names that pip has for them.
        routing: Whether each token visits its expert only, or all experts and all but one count
            nothing.
        dynamic_batch: Whether the number of images is free; else it is one.
        int8: Whether weights and activations are 8-bit integers.
        note: What else to know.
        input: What the file takes.
        weights: Suffix of the file beside it that has the weights; empty: they are in it.
    """

    name: str
    suffix: str
    runtime: str
    extra: str | None
    packages: tuple[tuple[str, str], ...]
    routing: Routing
    dynamic_batch: bool
    int8: bool
    note: str = ""
    input: str = "uint8 [batch, height, width, 3]"
    weights: str = ""

    @property
    def missing(self) -> str | None:
        """The first package that is not installed, by pip's name."""
        for module, package in self.packages:
            if importlib.util.find_spec(module) is None:
                return package
        return None

    def files(self, path: Path) -> list[Path]:
        """The file ``path`` of this format and, where they are apart, that of its weights."""
        if not self.weights:
            return [path]
        return [path, path.with_name(path.name.removesuffix(self.suffix) + self.weights)]

    def require(self) -> None:
        """Check that it can be written and run here.

        Raises:
            MissingDependencyError: Its extra is not installed.
        """
        if self.extra is not None and (package := self.missing) is not None:
            raise MissingDependencyError(package, self.extra, f"The format '{self.name}'")


_ONNX = (("onnx", "onnx"), ("onnxscript", "onnxscript"), ("onnxruntime", "onnxruntime"))
_ONE_IMAGE = "uint8 [1, height, width, 3]"

FORMATS: Registry[Format] = Registry("format")
"""By name, in the order in which they are shown."""

for _each in (
    Format("onnx", ".onnx", "ONNX Runtime", "export", _ONNX, "routed", True, False),
    Format(
        "onnx-int8",
        "-int8.onnx",
        "ONNX Runtime",
        "export",
        _ONNX,
        "routed",
        True,
        True,
        "smaller, not faster everywhere; routers in float32",
    ),
    Format(
        "onnx-int8-weights",
        "-int8w.onnx",
        "ONNX Runtime",
        "export",
        _ONNX,
        "routed",
        True,
        True,
        "experts' weights alone; computes in float32",
    ),
    Format(
        "openvino",
        ".xml",
        "OpenVINO",
        "openvino",
        (*_ONNX[:2], ("openvino", "openvino")),
        "routed",
        True,
        False,
        "weights in a .bin file beside it",
        weights=".bin",
    ),
    Format("pt2", ".pt2", "PyTorch", None, (), "routed", True, False, "for torch.export.load"),
    Format(
        "executorch",
        ".pte",
        "ExecuTorch",
        "executorch",
        (("executorch", "executorch"),),
        "masked",
        False,
        False,
        "computed by XNNPACK",
        _ONE_IMAGE,
    ),
    Format(
        "ncnn",
        ".ncnn.param",
        "NCNN",
        "ncnn",
        (("ncnn", "ncnn"), ("pnnx", "pnnx")),
        "masked",
        False,
        False,
        "weights in a .bin file beside it; switch half precision off",
        "float32 [3, height, width] from 0 to 255, as Mat::from_pixels makes it",
        ".ncnn.bin",
    ),
    Format(
        "litert",
        ".tflite",
        "LiteRT",
        "litert",
        (("litert_torch", "litert-torch"), ("ai_edge_litert", "ai-edge-litert")),
        "masked",
        False,
        False,
        "TensorFlow Lite's successor, reads and writes its files",
        _ONE_IMAGE,
    ),
):
    FORMATS.add(_each.name, _each)
