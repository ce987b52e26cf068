# SPDX-License-Identifier: Apache-2.0
"""What would change if scores were correlations *within* pairs of styles, an estimator that the package does not have.

The two styles of a clip always differ, so a unit that tells styles apart has a negative dynamic score (and a positive
static one). Correlating within each ordered pair of styles, with moments kept for each of the twelve pairs and summed
about the means of their own pair, leaves the style's own effect out of both scores: a unit of weights s, d, j, y, e
(``parts/recovery_layers.py``) then has static score (s + j) / (1 - y) and dynamic score (d + j) / (1 - y).
"""

from __future__ import annotations

from typing import Any

import torch
from parts.recovery_layers import DYNAMIC, JOINT, STATIC, STYLE, layer, style_pairs
from parts.recovery_rows import Case, summary
from torch import Tensor

from staticdropout.metrics import correlation, encode_units, layer_shares, merge_moments, pair_moments
from staticdropout.metrics.correlation import MEAN_A, MEAN_B
from staticdropout.metrics.encodings import unit_percentages


def within_pairs(moments: Tensor) -> Tensor:
    """Scores ``(2, C)`` about the means of each pair of styles, from moments ``(12, 2, 6, C)``."""
    centred = moments.clone()
    centred[..., (MEAN_A, MEAN_B), :] = 0.0
    return correlation(merge_moments(centred)).score


def pair_rows(repetitions: int, units: int = 256) -> list[dict[str, Any]]:
    """Rows for ``recovery.csv``: both estimators against their own limits."""
    torch.set_num_threads(1)
    truth = layer("style", units)
    w = truth.weights.double()
    limits = {"plain": truth.scores(), "within": (w[[STATIC, DYNAMIC]] + w[JOINT]) / (1 - w[STYLE])}
    rows = []
    for clips in (30, 100, 300, 1000):
        values: dict[str, list[Tensor]] = {}
        for repetition in range(repetitions):
            generator = torch.Generator().manual_seed(repetition)
            styles = style_pairs(clips, generator)
            anchor, *others = truth.draw(clips, generator, styles)
            pair = 3 * styles[:, 0] + (styles[:, 1] - styles[:, 0]) % 4 - 1
            moments = torch.stack([pair_moments(anchor, other, pair, 12) for other in others], dim=1)
            for way, scores in (
                ("plain", correlation(merge_moments(moments)).score),
                ("within", within_pairs(moments)),
            ):
                values.setdefault(f"static share, {way}", []).append(layer_shares(scores.mean(-1), units)[:1])
                values.setdefault(f"dynamic share, {way}", []).append(layer_shares(scores.mean(-1), units)[1:2])
                values.setdefault(f"dynamic units, {way}", []).append(unit_percentages(encode_units(scores))[:1])
        known = {
            f"{factor} share, {way}": layer_shares(scores.mean(-1), units)[place]
            for way, scores in limits.items()
            for place, factor in enumerate(("static", "dynamic"))
        } | {f"dynamic units, {way}": unit_percentages(encode_units(scores))[0] for way, scores in limits.items()}
        about = Case("pairs", "style", units, clips).about()
        rows += [{**about, **summary(name, known[name], torch.stack(value))} for name, value in values.items()]
    return rows
