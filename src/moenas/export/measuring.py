"""Models as they run on a device: threads pinned, nothing watched, and the memory that one takes.

Memory is that of a process of its own, which this file is when it runs as a program: it imports the
runtime, then opens one file, answers a few times and prints how far its memory rose above what the
imports had left. It is also where a file that crashes its runtime crashes alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moenas.errors import ModelError
from moenas.export.quiet import quiet
from moenas.runtime import peak_memory

Answer = Callable[[npt.NDArray[np.uint8]], object]
"""Takes uint8 images ``[B, height, width, 3]``."""

CHECKPOINT = "torch"
"""What a checkpoint is called among formats: it runs in torch, as ``moenas predict`` runs it."""

ONNX = ".onnx"
"""How the files of ONNX Runtime end, whichever of its formats they are."""

RUNS = 3
"""Of a model whose memory is measured."""

MOST_SECONDS = 300
"""That opening a file and `RUNS` answers may take."""


def open_timed(kind: str, path: Path, threads: int) -> Answer:
    """Open a model to be timed; it must have been written just now, or read by its backend.

    Args:
        kind: A format's name, or `CHECKPOINT`.
        path: Of the file.
        threads: Threads of one run, if `takes_threads`; torch's are those of the process.
    """
    if path.suffix == ONNX:
        return _onnx(path, threads)
    if kind in _OPENERS:
        return _OPENERS[kind](path, threads)
    from moenas.export.backends import BACKENDS

    return BACKENDS[kind].open(path).run


def _onnx(path: Path, threads: int) -> Answer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what fails is raised
    # Threads that wait by running in circles would slow down whose turn comes next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["logits"], {"image": images})


def _openvino(path: Path, threads: int) -> Answer:
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    model = openvino.Core().compile_model(path, "CPU", settings)
    return lambda images: model({"image": images})


def _program(path: Path, threads: int) -> Answer:
    import torch

    with quiet():
        program = torch.export.load(path).module()

    def answer(images: npt.NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return program(torch.from_numpy(images))

    return answer


def _checkpoint(path: Path, threads: int) -> Answer:
    import torch

    from moenas.data.dataset import normalise
    from moenas.models.folding import fold_batch_norms
    from moenas.models.storage import load_model

    model = fold_batch_norms(load_model(path)[0])

    def answer(images: npt.NDArray[np.uint8]) -> object:
        with torch.inference_mode():
            return model(normalise(torch.from_numpy(images)))

    return answer


_OPENERS: dict[str, Callable[[Path, int], Answer]] = {
    "openvino": _openvino,
    "pt2": _program,
    CHECKPOINT: _checkpoint,
}


def takes_threads(kind: str, file: str) -> bool:
    """Whether a format's threads can be set; else it runs as it is checked, on one.

    Args:
        kind: A format's name, or `CHECKPOINT`.
        file: How its files end.
    """
    return file.endswith(ONNX) or kind in _OPENERS


def memory_of(kind: str, path: Path, images: Path, threads: int) -> int:
    """Return the bytes by which a fresh process's memory rises when it opens and runs a model.

    Args:
        kind: A format's name, or `CHECKPOINT`.
        path: Of the file.
        images: An ``.npy`` file of uint8 images ``[B, height, width, 3]``.
        threads: Threads to run with.

    Raises:
        ModelError: It cannot be opened or run, or takes longer than `MOST_SECONDS`.
    """
    # -P: it imports what this process would, and never from the current folder
    command = [sys.executable, "-P", "-m", __name__, kind, str(path), str(images), str(threads)]
    places = [place for place in sys.path if isinstance(place, str) and place]
    try:
        done = subprocess.run(  # noqa: S603 - this very file
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=MOST_SECONDS,
            env=os.environ
            | {
                "OMP_NUM_THREADS": str(threads),
                "PYTHONIOENCODING": "utf-8",
                "PYTHONPATH": os.pathsep.join(places),
            },
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"it took more than {MOST_SECONDS} s") from None
    if done.returncode < 0:
        raise ModelError(f"its runtime crashed (signal {-done.returncode})")
    if done.returncode:
        raise ModelError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    return int(done.stdout.split()[-1])


def main(kind: str, path: str, images: str, threads: str) -> None:
    """Print by how many bytes this process's memory rises with a model."""
    if Path(path).suffix == ONNX:
        import onnxruntime  # noqa: F401 - no torch: as on a device
    elif kind == "openvino":
        import openvino  # noqa: F401
    else:
        import torch

        import moenas.data.dataset
        import moenas.models.storage  # noqa: F401

        torch.set_num_threads(int(threads))
    batch = np.load(images, allow_pickle=False)
    with contextlib.suppress(OSError):  # Linux: forget the imports' peak
        Path("/proc/self/clear_refs").write_text("5")
    before = peak_memory()
    answer = open_timed(kind, Path(path), int(threads))
    for _ in range(RUNS):
        answer(batch)
    sys.stdout.write(f"{max(0, peak_memory() - before)}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
