"""A model with experts in a script of timm's, and in a folder that can be published."""

from __future__ import annotations

import tempfile
from pathlib import Path

import timm
import torch
from timm.data import create_transform, resolve_model_data_config
from timm.optim import create_optimizer_v2

import moenas
import moenas.timm  # timm knows our models from now on

EXPERTS = (1, 2, 1, 1, 2, 4, 1, 1, 2)

print(f"timm knows {len(timm.list_models('moenas_*'))} models with experts")
model = timm.create_model("moenas_mobilevitv2_050", experts=EXPERTS, num_classes=2)

# From here on nothing is special: timm's optimizers, augmentations and training loops.
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
transform = create_transform(**resolve_model_data_config(model), is_training=True)
images, labels = torch.randn(8, 3, 64, 64), torch.tensor([0, 1] * 4)
for step in range(3):
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(f"step {step}: loss {loss.item():.3f}")

with tempfile.TemporaryDirectory() as folder:
    moenas.save_pretrained(model, folder, image_size=64, threshold=0.4)
    print("the folder:", *sorted(path.name for path in Path(folder).iterdir()))
    # moenas.push_to_hub(folder, "owner/name") would publish it.

    ours, card = moenas.from_pretrained(folder)  # or "owner/name"
    theirs = timm.create_model(
        f"local-dir:{folder}", pretrained=True
    ).eval()  # or hf-hub:owner/name
    with torch.inference_mode():
        difference = (ours(images) - theirs(images)).abs().max().item()
    print(f"{card.architecture}: the same in moenas and timm: {difference < 1e-5}")
    print("images as", resolve_model_data_config(theirs))
