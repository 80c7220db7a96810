"""Corruptions of images that door and car cameras meet, in five severities, on torch.

Most are ImageNet-C's (Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to
common corruptions and perturbations") with its parameters, unless said; `low_light` is unprocessing
(Brooks et al. 2019). One more is one file with a registered function, imported here.
"""

from moenas.data.corruptions import blur, compression, low_light, noise, tone, weather  # noqa: F401
from moenas.data.corruptions.corruption import CORRUPTIONS, SEVERITIES, Draws, corrupt

__all__ = ["CORRUPTIONS", "SEVERITIES", "Draws", "corrupt"]
