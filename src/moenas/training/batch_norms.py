"""Batch norms of several processes: each sees a part of the batch, and they should see it all."""

from __future__ import annotations

import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from moenas.console import logger
from moenas.training import processes


def share_batch_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """Return the model with batch norms that take their statistics from all processes' images.

    torch has such norms for GPUs alone: on a CPU they stay as they are, with a warning.

    Args:
        model: Its norms are replaced in place; their weights and buffers stay the same tensors.
        device: Where it is trained.
    """
    norms = [each for each in model.modules() if isinstance(each, _BatchNorm)]
    if not any(each.weight.requires_grad for each in norms if each.affine):
        return model  # none, or frozen
    if device.type == "cuda":
        shared: nn.Module = convert_sync_batchnorm(model)
        return shared
    if processes.index() == 0:
        logger.warning(
            "On a CPU batch norms see their own process' images only: the result differs from that "
            "of one process, as with smaller batches."
        )
    return model
