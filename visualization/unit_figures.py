# SPDX-License-Identifier: Apache-2.0
"""What lies under the numbers: the scores of all units, and the pictures that were compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .style import COLORS, ENCODINGS, INK, MUTED, WIDTH, finish, new_figure, panels, shorten

__all__ = ("triplet_figure", "unit_scatter")

CELL = 0.05
DENSE = 200  # from so many units on, cells are drawn instead of points that would hide each other


def _encodings(scores: NDArray[np.floating], threshold: float) -> dict[str, NDArray[np.bool_]]:
    static, dynamic = scores > threshold
    masks = (~static & dynamic, static & ~dynamic, static & dynamic, ~static & ~dynamic)
    return dict(zip(ENCODINGS, masks, strict=True))


def _cells(ax: Axes, static: NDArray[np.floating], dynamic: NDArray[np.floating], threshold: float) -> None:
    """Small squares, the darker the more units; their edges lie on λ, so that none belongs to two encodings."""
    first, last = np.floor((-1 - threshold) / CELL), np.ceil((1 - threshold) / CELL)
    edges = threshold + CELL * np.arange(first, last + 1)
    # A score equal to λ counts as not above it: cells are closed at their upper edge.
    counts, _, _ = np.histogram2d(-static, -dynamic, bins=[-edges[::-1], -edges[::-1]])
    counts = counts[::-1, ::-1].T
    above = edges[:-1] > threshold - CELL / 2
    strength = 0.3 + 0.7 * np.log1p(counts) / max(np.log1p(counts.max()), 1e-9)
    picture = np.zeros((*counts.shape, 4))
    for encoding, (right, up) in zip(ENCODINGS, ((0, 1), (1, 0), (1, 1), (0, 0)), strict=True):
        region = (above == up)[:, None] & (above == right)[None, :]
        picture[region, :3] = to_rgb(COLORS[encoding] if encoding != "residual" else MUTED)
    picture[..., 3] = np.where(counts > 0, strength, 0)
    extent = (edges[0], edges[-1], edges[0], edges[-1])
    ax.imshow(picture, origin="lower", extent=extent, interpolation="nearest", zorder=2)


def unit_scatter(scores: Mapping[str, NDArray[np.floating]], threshold: float = 0.5, caption: str = "") -> Figure:
    """Static against dynamic score of every unit, with the lines of λ that separate the four encodings.

    Args:
        scores: ``{layer: (2, C)}``, static then dynamic scores (Eq. 2).
        threshold: λ.
        caption: how it was measured.

    Returns:
        One panel a layer; layers of many units are drawn as cells, the darker the more units. The share of units is
        written into each quadrant.
    """
    figure, axes = panels(
        len(scores), 2.05 if len(scores) > 1 else 4.0, "static score (correlation)", "dynamic score (correlation)"
    )
    lowest = min(float(np.min(values)) for values in scores.values())
    start = -1.05 if lowest < -0.6 else -0.65
    names = shorten(list(scores), 24 if len(scores) > 1 else 55)
    for ax, (layer, values) in zip(axes, scores.items(), strict=True):
        masks = _encodings(values, threshold)
        if values.shape[1] >= DENSE:
            _cells(ax, values[0], values[1], threshold)
        else:
            for encoding, mask in masks.items():
                ax.scatter(
                    values[0, mask],
                    values[1, mask],
                    s=11,
                    color=COLORS[encoding],
                    alpha=0.75,
                    linewidth=0.3,
                    edgecolor=INK,
                )
        for line in (ax.axvline, ax.axhline):
            line(threshold, color=INK, linewidth=0.9, linestyle="--", zorder=3)
        for encoding, (x, y) in zip(ENCODINGS, ((0.03, 0.97), (0.97, 0.03), (0.97, 0.97), (0.03, 0.03)), strict=True):
            ax.text(
                x, y, f"{100 * masks[encoding].mean():.0f} %", transform=ax.transAxes, fontsize=8, color=INK,
                fontweight="bold", zorder=4, ha="left" if x < 0.5 else "right", va="bottom" if y < 0.5 else "top",
                bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1},
            )  # fmt: skip
        ax.set_xlim(start, 1.05)
        ax.set_ylim(start, 1.05)
        ax.set_xticks(np.arange(-1.0 if start < -1 else -0.5, 1.01, 0.5))
        ax.set_yticks(ax.get_xticks())
        ax.set_aspect("equal")
        ax.set_title(f"{names[layer]}\n{values.shape[1]} units", fontsize=8.5, color=INK, loc="left", pad=4)
    text = f"Dashed: λ = {threshold:g}. Per cent: units of each encoding."
    return finish(figure, "Scores of the units", f"{text}\n{caption}", ENCODINGS)


def _strip(frames: NDArray[np.floating], gap: int) -> NDArray[np.float32]:
    """Frames ``(T, H, W, 3)`` side by side, with white between them."""
    white = np.ones((frames.shape[1], gap, 3))
    parts = [part for frame in frames for part in (np.clip(frame, 0, 1), white)]
    return np.concatenate(parts[:-1], axis=1).astype(np.float32)


def triplet_figure(
    rows: Mapping[str, NDArray[np.floating]],
    num_frames: int = 6,
    caption: str = "",
    title: str = "A triplet: what was compared",
) -> Figure:
    """The inputs of a triplet, or of pairs, frame by frame, to see what was compared.

    Args:
        rows: ``{name: (T, H, W, 3)}`` pixels in [0, 1], for instance anchor, same static, same dynamic.
        num_frames: at most so many frames, evenly spread.
        caption: how it was measured.
        title: above the rows.

    Returns:
        One row of frames for each entry.
    """
    length = min(len(clip) for clip in rows.values())
    chosen = np.linspace(0, length - 1, min(num_frames, length)).round().astype(int)
    gap = max(1, next(iter(rows.values())).shape[2] // 20)
    strips = {name: _strip(clip[chosen], gap) for name, clip in rows.items()}
    high, wide = next(iter(strips.values())).shape[:2]
    figure = new_figure((min(WIDTH * high / wide, 1.8) + 0.22) * len(rows) + (1.0 if caption else 0.8))
    for ax, (name, strip) in zip(figure.subplots(len(rows), 1, squeeze=False).flat, strips.items(), strict=True):
        ax.imshow(strip, interpolation="nearest")
        ax.set_axis_off()
        ax.set_title(name, fontsize=8.5, color=INK, loc="left", pad=3)
    return finish(figure, title, caption)
