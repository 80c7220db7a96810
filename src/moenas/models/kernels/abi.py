"""The C interface of ``switch_ffn.cpp``: its structures and functions, tensors in its terms."""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_int, c_int64, c_void_p

from torch import Tensor


class Experts(ctypes.Structure):
    """Sizes and weights of a layer."""

    _fields_ = (
        *((name, c_int64) for name in ("count", "dim", "hidden", "activation", "bfloat16")),
        *((name, c_void_p) for name in ("w1", "w2", "b1", "b2", "unpacked_w1", "unpacked_w2")),
    )


class Routes(ctypes.Structure):
    """The router's rows and whose they are."""

    _fields_ = (("router", c_void_p), ("names", c_void_p), ("candidates", c_int64))


class Tokens(ctypes.Structure):
    """Where tokens lie; strides count numbers, not bytes."""

    _fields_ = (
        ("data", c_void_p),
        *((n, c_int64) for n in ("outer", "inner", "outer_stride", "inner_stride", "channel")),
    )


class Gradients(ctypes.Structure):
    """Where gradients go."""

    _fields_ = tuple((name, c_void_p) for name in ("x", "gate", "w1", "b1", "w2", "b2"))


NO_ROUTES = Routes(None, None, 0)


def open_library(path: os.PathLike[str]) -> ctypes.CDLL:
    """Load the library and declare its functions; calls release Python's lock.

    Raises:
        OSError: It cannot be loaded.
    """
    lib = ctypes.CDLL(os.fspath(path))
    lib.moenas_packed_bytes.argtypes = (c_int64, c_int64, c_int)
    lib.moenas_packed_bytes.restype = c_int64
    lib.moenas_pack.argtypes = (c_void_p, c_int64, c_int64, c_int64, c_int, c_void_p, c_int)
    lib.moenas_pack.restype = None
    lib.moenas_forward.argtypes = (
        *(POINTER(t) for t in (Experts, Routes, Tokens, Tokens)),
        *(c_void_p, c_void_p, c_int, c_void_p, c_int),
    )
    lib.moenas_backward.argtypes = (
        *(POINTER(Experts), c_int64, c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
        *(POINTER(Gradients), c_int),
    )
    return lib


def layout(x: Tensor) -> Tokens | None:
    """Describe tokens ``[..., D]`` by two strides; None for those that need more."""
    D = x.shape[-1]
    if x.is_contiguous():
        return Tokens(x.data_ptr(), 1, x.numel() // D, 0, D, 1)
    axes: list[tuple[int, int]] = [(1, 0), (1, 0)]  # (size, stride), neighbours merged
    for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True):
        if size > 1 and axes[-1][1] == stride * size:
            axes[-1] = (axes[-1][0] * size, stride)
        elif size > 1:
            axes.append((size, stride))
    if len(axes) > 4:
        return None
    (outer, outer_stride), (inner, inner_stride) = axes[-2:]
    channel = x.stride(-1) if D > 1 else 1
    return Tokens(x.data_ptr(), outer, inner, outer_stride, inner_stride, channel)
