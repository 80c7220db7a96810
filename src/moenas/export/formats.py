"""The formats that models are exported to: one table, which ``moenas export --list`` shows."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import Literal

from moenas.errors import ConfigError, MissingDependencyError, did_you_mean

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

    @property
    def missing(self) -> str | None:
        """The first package that is not installed, by pip's name."""
        for module, package in self.packages:
            if importlib.util.find_spec(module) is None:
                return package
        return None

    def require(self) -> None:
        """Check that it can be written and run here.

        Raises:
            MissingDependencyError: Its extra is not installed.
        """
        if self.extra is not None and (package := self.missing) is not None:
            raise MissingDependencyError(package, self.extra, f"The format '{self.name}'")


_ONNX = (("onnx", "onnx"), ("onnxscript", "onnxscript"), ("onnxruntime", "onnxruntime"))

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
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
            "openvino",
            ".xml",
            "OpenVINO",
            "openvino",
            (*_ONNX[:2], ("openvino", "openvino")),
            "routed",
            True,
            False,
            "weights in a .bin file beside it",
        ),
        Format("pt2", ".pt2", "PyTorch (torch.export)", None, (), "routed", True, False),
        Format(
            "executorch",
            ".pte",
            "ExecuTorch (XNNPACK)",
            "executorch",
            (("executorch", "executorch"),),
            "masked",
            False,
            False,
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
            "weights in a .bin file beside it; run it with half precision off",
        ),
        Format(
            "litert",
            ".tflite",
            "LiteRT (TensorFlow Lite)",
            "litert",
            (("litert_torch", "litert-torch"), ("ai_edge_litert", "ai-edge-litert")),
            "masked",
            False,
            False,
        ),
    )
}
"""By name, in the order in which they are shown."""


def get_format(name: str) -> Format:
    """Return a format by its name.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in FORMATS:
        raise ConfigError(f"There is no format '{name}'. {did_you_mean(name, FORMATS)}")
    return FORMATS[name]
