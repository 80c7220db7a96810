"""Build a model with experts, make one from a dense model, and store it in one safe file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

import moenas

BASE = "mobilevitv2_050"
EXPERTS = (1, 8, 3, 1, 2, 4, 1, 1, 6)

# Sizes are exact and need no model.
print(f"dense {BASE}: {moenas.count_parameters(BASE):,} parameters")
print(f"experts {EXPERTS}: {moenas.count_parameters(BASE, EXPERTS):,} parameters")
dense_macs = moenas.count_macs(BASE, image_size=96)
macs = moenas.count_macs(BASE, EXPERTS, image_size=96)
print(f"work for one image: {macs / dense_macs:.4f} of the dense model's (top-1 routing)")

# Upcycling: every expert starts as a copy of the dense FFN, so nothing changes at first.
dense = moenas.build_model(BASE, seed=0).eval()
sparse = moenas.upcycle(dense, EXPERTS)
images = torch.rand(4, 3, 96, 96)
with torch.inference_mode():
    difference = (dense(images) - sparse(images)).abs().max().item()
print(f"largest difference of a logit after upcycling: {difference:.1e}")

# One file holds the weights, the architecture, the image size and the decision threshold.
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "model.safetensors"
    moenas.save_model(path, sparse, image_size=96, threshold=0.5)
    loaded, card = moenas.load_model(path)
    print(f"read back: {card.architecture}, {card.image_size} px, threshold {card.threshold}")
    with torch.inference_mode():
        print(f"same output: {torch.equal(loaded(images), sparse(images))}")
