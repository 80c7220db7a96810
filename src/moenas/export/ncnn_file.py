"""NCNN's files, for phones and small boards: ``.ncnn.param`` (text) and, beside it, ``.ncnn.bin``.

Masked: NCNN has no shape that depends on values. Its images are what ``Mat::from_pixels`` makes of
uint8 RGB pixels: ``[3, H, W]``, 0 to 255 in float32. Half-precision numbers, which NCNN takes on
processors that have them, move tokens to other experts: switch them off, as `NcnnModel` does.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from moenas.errors import CheckpointError, ConfigError
from moenas.export.deployed import Deployed
from moenas.export.exported import OneByOne, read_file
from moenas.export.formats import FORMATS
from moenas.export.metadata import Details
from moenas.export.quiet import quiet
from moenas.export.seal import seal, unseal

PARAM, BIN = ".ncnn.param", ".ncnn.bin"


class _OnMaps(nn.Module):
    """Takes maps instead of pixels."""

    def __init__(self, deployed: Deployed) -> None:
        super().__init__()
        self.deployed = deployed

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.deployed.answers(x)


def write_ncnn(model: nn.Module, details: Details, path: Path) -> None:
    """Write a model for NCNN, one image at a time, weights in float32.

    Args:
        model: A model of ours; it is not changed.
        details: Its card, stored behind the weights.
        path: Of the .ncnn.param file.

    Raises:
        ConfigError: pnnx cannot convert it.
    """
    import pnnx

    size = details.image_size
    deployed = Deployed(model, size, "masked", watch=True)
    with tempfile.TemporaryDirectory() as scratch:
        with torch.no_grad(), quiet():
            traced = torch.jit.trace(  # type: ignore[no-untyped-call]
                _OnMaps(deployed).eval(), torch.zeros(1, 3, size, size), check_trace=False
            )
            traced.save(f"{scratch}/model.pt")
        # Not pnnx.export, which runs the Python file that pnnx writes.
        shape = f"inputshape=[1,3,{size},{size}]f32"
        done = subprocess.run(  # noqa: S603 - pnnx's own program, no shell
            [pnnx.EXEC_PATH, "model.pt", shape, "fp16=0"],
            cwd=scratch,
            capture_output=True,
            check=False,
        )
        made = Path(scratch) / f"model{PARAM}", Path(scratch) / f"model{BIN}"
        if done.returncode or not all(part.exists() for part in made):
            raise ConfigError(
                f"pnnx cannot convert this model for NCNN (it ended with {done.returncode})."
            )
        param, weights = (part.read_bytes() for part in made)
    if lacking := _not_converted(param.decode()):
        raise ConfigError(
            f"NCNN has no operator {', '.join(lacking)}, which this model needs. MobileViTV2 with "
            "a linear head converts; for others there are 'litert' and 'executorch'."
        )
    path.write_bytes(param)
    _beside(path).write_bytes(seal(weights, details, deployed.layers, "ncnn", param))


class NcnnModel(OneByOne):
    """A file of `write_ncnn`, ready to run on one thread of the CPU, in float32.

    Files hold no code, but NCNN's own loader parses them, after the card's hash was checked: it is
    not made for files of strangers.

    Args:
        path: A .ncnn.param file that moenas exported; its .ncnn.bin lies beside it.

    Raises:
        CheckpointError: A file is missing, damaged or not one of ours.
        MissingDependencyError: The extra ``ncnn`` is not installed.
    """

    def __init__(self, path: Path | str) -> None:
        FORMATS["ncnn"].require()
        import ncnn

        self.path = Path(path)
        beside = _beside(self.path)
        param = read_file(self.path)
        _, self.details, self.layers = unseal(beside, param)
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = 1
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = False
        options.use_bf16_storage = False
        if self._net.load_param(str(self.path)) or self._net.load_model(str(beside)):
            raise CheckpointError(f"'{path}' cannot be loaded by this version of NCNN.")
        self._pixels = ncnn.Mat.PixelType.PIXEL_RGB
        self._mat = ncnn.Mat
        (self._input,) = self._net.input_names()
        self._outputs = sorted(self._net.output_names(), key=lambda name: int(name[3:]))  # out12

    def answer(self, image: npt.NDArray[np.uint8]) -> list[npt.NDArray[np.float32]]:
        """See `OneByOne`."""
        height, width, _ = image.shape
        with self._net.create_extractor() as extractor:
            extractor.input(self._input, self._mat.from_pixels(image, self._pixels, width, height))
            found = [extractor.extract(name) for name in self._outputs]
            if any(status for status, _ in found):
                raise CheckpointError(f"'{self.path}' cannot run in this version of NCNN.")
            return [np.array(value) for _, value in found]


def _not_converted(param: str) -> list[str]:
    """Operators that pnnx left as torch's: their names have a dot or colons, NCNN's have none."""
    kinds = {line.split()[0] for line in param.splitlines()[2:] if line.strip()}
    return sorted(kind for kind in kinds if "." in kind or ":" in kind)


def _beside(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(PARAM) + BIN)
