"""Converters print, log and warn of their own parts; none of it is for who exports a model."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

LOGGERS = ("torch", "torch.onnx", "onnxscript", "onnx_ir", "executorch", "litert_torch")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what other packages print, log and warn of from the user's screen; errors come through.

    A warning would also fail where warnings are errors.
    """
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
