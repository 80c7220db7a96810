"""Score predictions that any model on any device has made: all you need is a table."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moenas import Predictions
from moenas.evaluation.scores import score

# A made-up log of a device: 3,000 images, six skin tones, four lights. The device sees persons of
# the two darkest tones less often (80 % against 90 %), and everybody less often in poor light.
rng = np.random.default_rng(0)
n = 3000
label = rng.integers(0, 2, n)
tone = rng.choice([1, 2, 3, 4, 5, 6], size=n, p=[0.25, 0.25, 0.2, 0.15, 0.1, 0.05])
light = rng.choice(["well_lit", "dimly_lit", "underexposed", "overexposed"], size=n)
sees = np.where(tone >= 5, 0.80, 0.90) - np.isin(light, ["dimly_lit", "underexposed"]) * 0.05
right = rng.random(n) < np.where(label == 1, sees, 0.93)

table = pd.DataFrame(
    {
        "image_id": [f"img{i}" for i in range(n)],
        "split": np.where(np.arange(n) < 600, "val", "report"),
        "label": label,  # 1 = person
        "prediction": np.where(right, label, 1 - label),  # or "probability", 0..1
        "group": pd.array(np.where(label == 1, tone, -1), dtype="Int16"),
        "lighting": light,
    }
)
table.loc[table["label"] == 0, "group"] = pd.NA  # an image without a person has no tone

scores = score(Predictions(table), split="report", parameters=0, macs=0)
print(scores.to_frame().dropna(subset="low").to_string(index=False, float_format="{:.3f}".format))
print(f"\nfairness {scores.fairness:.3f}; a perfectly fair model would score")
print(f"{scores.noise_floor_mean:.3f} on these images, and be as unfair as this one")
print(f"in {scores.fairness_p_value:.1%} of cases")
few = [group.group for group in scores.groups if group.too_few]
print(f"groups with too few images to say much: {few}")
