"""The kernel as Python functions on tensors: arguments are checked, then C computes.

Nothing here knows autograd: `ops` does. Axes: T tokens, E experts, D width of a token, H width of
the hidden layer.
"""

from __future__ import annotations

import ctypes
import functools
import os
from ctypes import byref, c_uint8
from pathlib import Path

import torch
from torch import Tensor

from moenas.errors import ModelError
from moenas.models.activation import ACTIVATIONS, Activation
from moenas.models.kernels.abi import NO_ROUTES, Experts, Gradients, Routes, layout, open_library
from moenas.models.kernels.layer import Layer, key_of
from moenas.models.sorted_experts import Weights

MAX_EXPERTS = 255
MAX_TOKENS = 2**31 - 1
DTYPES = (torch.float32, torch.bfloat16)
"""Types of the experts' weights; tokens are float32."""


class OutOfDateError(Exception):
    """Weights were written to behind torch's back after they were packed."""


class Kernel:
    """A loaded library.

    Attributes:
        path: The library.
        description: Compiler and vector width, for people.
        amx: Whether bfloat16 experts whose widths are multiples of 32 run on the CPU's matrix unit,
            which rounds tokens and hidden layer to bfloat16 too.
    """

    def __init__(self, path: os.PathLike[str], compiler: str) -> None:
        lib = open_library(path)
        self._lib = lib
        self.path = Path(path)
        self.amx = bool(lib.moenas_amx())
        self.description = f"{compiler}, {lib.moenas_lanes() * 32}-bit vectors"
        if self.amx:
            self.description += ", AMX for bfloat16"

    def pack(self, weight: Tensor) -> Tensor:
        """Return a weight ``[E, out, in]`` of one of `DTYPES` in the kernel's order, as bytes."""
        _require(weight.dim() == 3 and weight.numel() > 0, "a weight is [experts, out, in]")
        _require(weight.device.type == "cpu" and weight.dtype in DTYPES, "a weight's type")
        weight = weight.detach().contiguous()
        half = weight.dtype == torch.bfloat16
        E, columns, depth = weight.shape
        each = self._lib.moenas_packed_bytes(columns, depth, half)
        packed = torch.empty(E * each, dtype=torch.uint8, device="cpu")
        threads = torch.get_num_threads()
        self._lib.moenas_pack(weight.data_ptr(), *weight.shape, half, packed.data_ptr(), threads)
        return packed

    def layer(self, weights: Weights, activation: Activation, watched: bool = True) -> Layer:
        """Pack a layer's experts: weights of one of `DTYPES`; sums are float32 always.

        Args:
            weights: The experts.
            activation: The hidden layer's.
            watched: Each call looks whether the weights still are what was packed. Not for a layer
                of one call, whose weights another thread may be writing (Hogwild).

        Raises:
            ModelError: Shapes or types do not fit.
        """
        w1, b1, w2, b2 = weights
        _require(w1.dim() == 3 and w1.shape[0] <= MAX_EXPERTS, "the first weight's shape")
        E, H, D = w1.shape
        _require(w2.shape == (E, D, H) and w2.dtype == w1.dtype, "the second weight")
        _require(b1.shape == (E, H) and b2.shape == (E, D), "the biases' shapes")
        _require(all(t.device.type == "cpu" for t in weights), "the CPU")
        given = [t.detach().contiguous() for t in weights]
        biases = [b.float() for b in (given[1], given[3])]
        packed = [self.pack(given[0]), self.pack(given[2])]
        originals = [given[0], given[2]] if watched else []
        pointers = [t.data_ptr() for t in (*packed, *biases, *originals)]  # those left out are null
        half = w1.dtype == torch.bfloat16
        structure = Experts(E, D, H, ACTIVATIONS.index(activation), half, *pointers)
        memory = (*packed, *biases, *given, *(t.detach() for t in weights))
        return Layer(E, D, H, structure, memory, activation, key_of(weights))

    def switch_ffn(
        self,
        x: Tensor,
        router: Tensor,
        layer: Layer,
        *,
        scale: bool,
        disabled: frozenset[int] = frozenset(),
    ) -> Tensor:
        """Route tokens and apply their experts, without gradients.

        Args:
            x: Tokens ``[..., D]``, float32, with any strides.
            router: ``[E, D]``, float32.
            layer: The experts.
            scale: Multiply each output with its expert's probability.
            disabled: Experts that are not candidates.

        Returns:
            As ``x``, laid out alike.
        """
        E, D = layer.experts, layer.dim
        candidates = [e for e in range(E) if e not in disabled] if disabled else range(E)
        _require(router.shape == (E, D) and len(candidates) > 0, "the router's shape")
        _require(router.dtype == torch.float32 and router.device.type == "cpu", "the router's type")
        rows = router.detach()
        if disabled:
            rows = rows[list(candidates)]
        rows = rows.contiguous()
        routes = Routes(
            rows.data_ptr(), ctypes.addressof(_names(bytes(candidates))), len(candidates)
        )
        y = torch.empty_like(x)
        self._forward(x, y, layer, routes, None, None, scale, None)
        return y

    def experts(
        self, x_TD: Tensor, expert_T: Tensor, gate_T: Tensor | None, layer: Layer, keep: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Apply given experts to tokens.

        Args:
            x_TD: Tokens, float32.
            expert_T: Expert of each token, uint8.
            gate_T: Factor of each token, float32; None for 1.
            layer: The experts.
            keep: Whether the backward pass will need the hidden layer.

        Returns:
            The output ``[T, D]`` and, with ``keep``, the hidden layer before its activation
            ``[T, H]``, sorted by expert.

        Raises:
            ModelError: An expert's index is out of range, or a shape or type is wrong.
        """
        T = x_TD.shape[0]
        _check_tokens(x_TD, expert_T, gate_T)
        before = x_TD.new_empty(T, layer.hidden) if keep else None
        y = torch.empty(x_TD.shape, dtype=torch.float32, device="cpu")
        expert_T = expert_T.contiguous()
        gate_T = None if gate_T is None else gate_T.detach().contiguous()
        self._forward(x_TD, y, layer, NO_ROUTES, expert_T, gate_T, False, before)
        return y, before

    def experts_backward(
        self,
        grad_TD: Tensor,
        x_TD: Tensor,
        expert_T: Tensor,
        gate_T: Tensor | None,
        before_TH: Tensor,
        w1_EHD: Tensor,
        w2_EDH: Tensor,
        b2_ED: Tensor,
        activation: Activation,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return the gradients of `experts` in x, gate, w1, b1, w2 and b2; all are float32."""
        E, H, D = w1_EHD.shape
        T = x_TD.shape[0]
        _require(w2_EDH.shape == (E, D, H) and b2_ED.shape == (E, D), "the weights' shapes")
        _require(before_TH.shape == (T, H) and grad_TD.shape == (T, D), "the gradient's shape")
        inputs = [t.contiguous() for t in (x_TD, grad_TD, before_TH, w1_EHD, w2_EDH, b2_ED)]
        floats = [*inputs, *(() if gate_T is None else (gate_T,))]
        _require(all(t.dtype == torch.float32 for t in floats), "float32")
        _require(all(t.device.type == "cpu" for t in (*floats, expert_T)), "the CPU")
        _require(x_TD.shape == (T, D), "the tokens' shape")
        _require(expert_T.shape == (T,) and expert_T.dtype == torch.uint8, "the experts' indices")
        _require(gate_T is None or gate_T.shape == (T,), "the gate's shape")
        x, grad, before, w1, w2, b2 = inputs
        expert_T = expert_T.contiguous()
        gate_T = None if gate_T is None else gate_T.contiguous()
        result = (
            *(torch.empty_like(x), x.new_empty(T), torch.empty_like(w1), w1.new_empty(E, H)),
            *(torch.empty_like(w2), torch.empty_like(b2)),
        )
        code = ACTIVATIONS.index(activation)
        pointers = (w1.data_ptr(), w2.data_ptr(), None, b2.data_ptr())
        experts = Experts(E, D, H, code, 0, *pointers, None, None)
        _raise(
            self._lib.moenas_backward(
                byref(experts),
                T,
                x.data_ptr(),
                grad.data_ptr(),
                expert_T.data_ptr(),
                None if gate_T is None else gate_T.data_ptr(),
                before.data_ptr(),
                byref(Gradients(*(t.data_ptr() for t in result))),
                torch.get_num_threads(),
            )
        )
        return result

    def _forward(
        self,
        x: Tensor,
        y: Tensor,
        layer: Layer,
        routes: Routes,
        expert: Tensor | None,
        gate: Tensor | None,
        scale: bool,
        before: Tensor | None,
    ) -> None:
        _require(x.dtype == torch.float32 and x.device.type == "cpu", "float32 tokens on the CPU")
        _require(x.shape[-1] == layer.dim, "the tokens' width")
        source, target = layout(x), layout(y)
        if source is None or target is None:
            rows = x.contiguous(), torch.empty(y.shape, dtype=torch.float32, device="cpu")
            self._forward(*rows, layer, routes, expert, gate, scale, before)
            y.copy_(rows[1])
            return
        _raise(
            self._lib.moenas_forward(
                byref(layer.structure),
                byref(routes),
                byref(source),
                byref(target),
                None if expert is None else expert.data_ptr(),
                None if gate is None else gate.data_ptr(),
                scale,
                None if before is None else before.data_ptr(),
                torch.get_num_threads(),
            )
        )


@functools.cache
def _names(candidates: bytes) -> ctypes.Array[c_uint8]:
    return (c_uint8 * len(candidates)).from_buffer_copy(candidates)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ModelError(f"The Switch FFN kernel cannot take these tensors: check {what}.")


def _check_tokens(x_TD: Tensor, expert_T: Tensor, gate_T: Tensor | None) -> None:
    T = x_TD.shape[0]
    _require(x_TD.dim() == 2 and T <= MAX_TOKENS, "the tokens' shape")
    _require(expert_T.shape == (T,) and expert_T.dtype == torch.uint8, "the experts' indices")
    _require(expert_T.device.type == "cpu", "the CPU")
    if gate_T is not None:
        _require(gate_T.shape == (T,) and gate_T.dtype == torch.float32, "the gate")
        _require(gate_T.device.type == "cpu", "the CPU")


def _raise(status: int) -> None:
    if status == 3:
        raise OutOfDateError
    if status == 1:
        raise ModelError("A token was sent to an expert that does not exist.")
    if status:
        raise MemoryError("The Switch FFN kernel found no memory for its tiles.")
