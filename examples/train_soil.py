"""From a dataset to a few steps of training: a small network that tells soil pH from Sentinel-2.

python examples/train_soil.py data/demo
"""

from __future__ import annotations

import sys

import torch
from torch import nn

import mmearth

dataset = mmearth.open(sys.argv[1] if len(sys.argv) > 1 else "data/demo")
train = dataset.select("soil_pH", "train", modalities=["sentinel2", "temperature"])
print(train)

torch.manual_seed(0)
model = nn.Sequential(
    *(nn.Conv2d(12, 16, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
    *(nn.Flatten(), nn.Linear(16, 1)),
)
target = dataset.statistics("soil_pH")["train"]["target"]["phaq"]
optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
loader = train.loader(batch_size=16, order="shuffled", seed=0, normalise="train")

for epoch in range(8):
    total = 0.0
    for batch in loader:  # the next epoch's batches are others; see docs/loaders.md
        labels = (batch["target"] - target["mean"]) / target["std"]
        errors = (model(batch["sentinel2"]) - labels).square().squeeze(1)
        loss = (errors * batch["weight"]).sum() / batch["weight"].sum().clamp(min=1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        total += float((errors.detach() * batch["weight"]).sum())
    print(f"epoch {epoch}: mean squared error {total / len(train):.3f} of the target's variance")
