"""torch.export's file ``.pt2``: for PyTorch without the model's code, and for its compilers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moenas.export.deployed import Deployed
from moenas.export.experts import ExportedExperts
from moenas.export.exported import Experts
from moenas.export.metadata import Details, content_of
from moenas.export.quiet import quiet

CARD = "moenas.json"
"""Name of the card within the file."""


def write_program(model: nn.Module, details: Details, path: Path) -> None:
    """Write a model as a program of torch's standard operators; each expert gets its own tokens.

    Args:
        model: A model of ours; it is not changed.
        details: Its card, stored in the file.
        path: Of the file.
    """
    size = details.image_size
    module = Deployed(model, size, "selected")
    layers = [each.name for each in module.modules() if isinstance(each, ExportedExperts)]
    image = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # one image would fix the batch
    with torch.no_grad():
        program = torch.export.export(
            module,
            (image,),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            strict=False,
        )
    card = json.dumps(content_of(details, layers, "pt2"))
    torch.export.save(program, path, extra_files={CARD: card})


class ProgramModel:
    """A file of `write_program`; it also tells tokens' experts.

    Only for files that were just written: it trusts them.
    """

    def __init__(self, path: Path) -> None:
        files: dict[str, Any] = {CARD: ""}
        with quiet():  # newer torch warns of parts of tensors, of which there are none
            program = torch.export.load(path, extra_files=files)
        self.layers: list[str] = json.loads(files[CARD])["layers"]
        self.program = _Watched(program.module())

    @torch.no_grad()
    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and each layer's experts ``[B, tokens]``."""
        self.program.chosen.clear()
        logits, _ = self.program.run(torch.from_numpy(images))
        experts = {
            layer: chosen.reshape(len(images), -1).numpy()
            for layer, chosen in zip(self.layers, self.program.chosen, strict=True)
        }
        return logits.numpy(), experts


class _Watched(torch.fx.Interpreter):
    """Runs a program and keeps what its routers choose: nothing else of ours takes an argmax."""

    def __init__(self, module: torch.fx.GraphModule) -> None:
        super().__init__(module)
        self.chosen: list[torch.Tensor] = []

    def run_node(self, n: torch.fx.Node) -> Any:
        result = super().run_node(n)
        if n.target is torch.ops.aten.argmax.default:
            self.chosen.append(result)
        return result
