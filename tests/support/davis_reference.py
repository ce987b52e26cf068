# SPDX-License-Identifier: Apache-2.0
"""The measures of DAVIS stated once more from their definitions, in NumPy and SciPy, and masks to try them on."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[3] / "shared" / "data"))

Mask = NDArray[np.bool_]


def reference_j(prediction: Mask, mask: Mask) -> float:
    """Jaccard index of two sets of pixels; two empty sets are equal."""
    ours, theirs = ({tuple(pixel) for pixel in np.argwhere(picture).tolist()} for picture in (prediction, mask))
    return len(ours & theirs) / len(ours | theirs) if ours | theirs else 1.0


def reference_outline(mask: Mask) -> Mask:
    """The official boundary map: three neighbours, two in the last row, two in the last column, none in the corner."""
    east, south, south_east = np.zeros_like(mask), np.zeros_like(mask), np.zeros_like(mask)
    east[:, :-1] = mask[:, 1:]
    south[:-1] = mask[1:]
    south_east[:-1, :-1] = mask[1:, 1:]
    outline: Mask = (mask != east) | (mask != south) | (mask != south_east)
    outline[-1] = (mask != east)[-1]
    outline[:, -1] = (mask != south)[:, -1]
    outline[-1, -1] = False
    return outline


def reference_f(prediction: Mask, mask: Mask, tolerance: float = 0.008) -> tuple[float, float, float]:
    """F, precision and recall of outlines, by the distance of each of their pixels to the other outline."""
    radius = tolerance if tolerance >= 1 else np.ceil(tolerance * np.linalg.norm(mask.shape))
    ours, theirs = reference_outline(prediction), reference_outline(mask)
    if not ours.any() or not theirs.any():
        precision, recall = float(not ours.any()), float(not theirs.any())
    else:
        precision = float((ndimage.distance_transform_edt(~theirs)[ours] <= radius).mean())
        recall = float((ndimage.distance_transform_edt(~ours)[theirs] <= radius).mean())
    f = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return f, precision, recall


def reference_statistics(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """Mean, recall and decay; the bins by rounding a ``linspace`` from 1 to the number of frames."""
    ends = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    bins = [values[start : end + 1] for start, end in pairwise(ends)]
    return float(values.mean()), float((values > 0.5).mean()), float(bins[0].mean() - bins[3].mean())


def blob(seed: int, height: int = 60, width: int = 83, level: float = 0.0) -> Mask:
    """A random mask of smooth regions, some of which touch the edge."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    smooth = ndimage.gaussian_filter(noise, 5)
    picture: Mask = smooth / smooth.std() > level
    return picture


def special_masks(height: int = 40, width: int = 57) -> dict[str, Mask]:
    """Masks at the limits: empty, full, one pixel in the middle and in each corner, a line along each edge."""
    masks = {"empty": np.zeros((height, width), bool), "full": np.ones((height, width), bool)}
    places: dict[str, Any] = {
        "middle": (height // 2, width // 2),
        "first": (0, 0),
        "right": (0, -1),
        "low": (-1, 0),
        "last": (-1, -1),
    }
    places |= {"top": np.s_[0], "bottom": np.s_[-1], "left_side": np.s_[:, 0], "right_side": np.s_[:, -1]}
    for name, index in places.items():
        masks[name] = np.zeros((height, width), bool)
        masks[name][index] = True
    return masks


def davis_masks(sequence: str, frames: int | None = None) -> list[Mask]:
    """Real masks of DAVIS 2016, 480 x 854."""
    folder = DATA / "davis16_mini" / "Annotations" / "480p" / sequence
    return [np.asarray(Image.open(path)) > 0 for path in sorted(folder.glob("*.png"))[:frames]]
