# SPDX-License-Identifier: Apache-2.0
"""What ``staticdropout compare`` prints and writes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ..files import write_whole
from ..metrics import (
    ClassComparison,
    FrequencyDifference,
    clip_mean,
    difference_by_frequency,
    frequency_bands,
    mean_with_interval,
)
from ..visualization import class_frequency_figure, frequency_difference_figure, png_bytes, rendered
from ..visualization.comparison_table import comparison_table, signed
from ..visualization.results_table import results_csv
from ..visualization.style import shorten

__all__ = ("ComparisonReport", "report_of")

LEAST_IN_BAND = 5


class ComparisonReport(NamedTuple):
    """A comparison with what its tables and figures show.

    Attributes:
        comparison: the classes side by side.
        names: of the two runs.
        abouts: what each evaluated, as a line.
        by_frequency: mean differences over the most and least common classes; empty if no class is rarer than others.
        bands: indices of the classes of each band of frequency, from the rarest to the most common; empty likewise.
    """

    comparison: ClassComparison
    names: tuple[str, str]
    abouts: tuple[str, str]
    by_frequency: list[FrequencyDifference]
    bands: list[NDArray[np.int64]]

    def print(self, console: Console, most: int) -> None:
        """Print the tables: overall, by frequency, by band, and the classes that gain and lose most."""
        comparison, columns = self.comparison, [*shorten(self.names, 16).values(), "difference"]
        for letter, name, about in zip("AB", self.names, self.abouts, strict=True):
            console.print(f"{letter}  {name}" + (f": {about}" if about else ""), markup=False, highlight=False)
        console.print(
            comparison_table(
                "Overall, in percent", ["", *columns], [self._mean("top-1", True), self._mean("class mean", False)]
            )
        )
        if self.by_frequency:
            heads = ["k", "k least common", "clips", "k most common", "clips", "rare - common"]
            title = "Difference in points, over k classes"
            console.print(comparison_table(title, heads, self._frequency_rows(), self._ties()))
            console.print(comparison_table("By training clips", ["clips", "classes", *columns], self._band_rows()))
        heads = ["class", "train\nclips", "eval.\nclips", *columns]
        for title, rows in self._extremes(most):
            if rows:
                console.print(comparison_table(title, heads, rows))
        for note in comparison.notes:
            console.print(f"Note: {note}", markup=False, highlight=False)

    def _mean(self, name: str, over_clips: bool) -> list[str | float]:
        """Means of both runs over clips or over classes, and their difference."""
        (a, b), (clips_a, clips_b) = self.comparison.accuracy, self.comparison.clips
        if over_clips:
            means = clip_mean(a, clips_a)[0], clip_mean(b, clips_b)[0]
            half = clip_mean(a - b, clips_a)[1] if (clips_a == clips_b).all() else math.nan
        else:
            means = float(a.mean()), float(b.mean())
            half = mean_with_interval(a - b, self.comparison.common_clips)[1]
        return [name, *means, signed(means[0] - means[1], half)]

    def _frequency_rows(self) -> list[list[str]]:
        return [
            [
                f"{one.k}",
                signed(one.least, one.least_interval), f"≤ {one.least_up_to:.0f}",
                signed(one.most, one.most_interval), f"≥ {one.most_from:.0f}",
                signed(one.contrast, one.contrast_interval),
            ]
            for one in self.by_frequency
        ]  # fmt: skip

    def _ties(self) -> str:
        tied = [str(one.k) for one in self.by_frequency if one.tied]
        return f"Ends among equally frequent classes, taken by name: k = {', '.join(tied)}." if tied else ""

    def _band_means(self) -> list[tuple[float, float]]:
        """Mean difference of each band, with its interval."""
        values, clips = self.comparison.difference, self.comparison.common_clips
        return [mean_with_interval(values[band], clips[band]) for band in self.bands]

    def _band_rows(self) -> list[list[str | float]]:
        rows: list[list[str | float]] = []
        for band, difference in zip(self.bands, self._band_means(), strict=True):
            clips, (a, b) = self.comparison.train_clips[band], self.comparison.accuracy[:, band].mean(1).tolist()
            rows.append([f"{clips.min():.0f} to {clips.max():.0f}", f"{len(band)}", a, b, signed(*difference)])
        return rows

    def _extremes(self, most: int) -> list[tuple[str, list[list[str | float]]]]:
        """Rows of the classes with the largest gains and the largest losses of the first run."""
        difference = self.comparison.difference
        order = np.argsort(-difference, kind="stable")
        gains = [index for index in order[:most] if difference[index] > 0]
        losses = [index for index in order[::-1][:most] if difference[index] < 0]
        first = self.names[0]
        return [
            (f"Classes on which {first} gains most", [self._class_row(index) for index in gains]),
            (f"Classes on which {first} loses most", [self._class_row(index) for index in losses]),
        ]

    def _class_row(self, index: int) -> list[str | float]:
        comparison = self.comparison
        clips = comparison.clips[0, index]
        counts = [f"{value:.0f}" if np.isfinite(value) else "-" for value in (comparison.train_clips[index], clips)]
        a, b = comparison.accuracy[:, index].tolist()
        return [comparison.names[index], *counts, a, b, signed(a - b)]

    def write(self, folder: Path) -> list[str]:
        """Write tables and figures, each whole or not at all.

        Returns:
            Their names.
        """
        files: dict[str, bytes | str] = {"by_class.csv": self._class_csv()}
        if self.by_frequency:
            files["by_frequency.csv"] = results_csv([self._row(one._asdict()) for one in self.by_frequency])
            files |= {"difference.png": self._difference_png(), "frequency.png": self._frequency_png()}
        for name, content in files.items():
            write_whole(folder / name, content)
        return list(files)

    def _row(self, row: Mapping[str, str | float]) -> dict[str, str | float]:
        """Cells of a CSV: nothing for unknown numbers, and whose they are in every row."""
        return {**{key: _cell(value) for key, value in row.items()}, "run_a": self.names[0], "run_b": self.names[1]}

    def _class_csv(self) -> str:
        comparison = self.comparison
        names = ("train_clips", "clips_a", "clips_b", "accuracy_a", "accuracy_b", "difference")
        columns = (comparison.train_clips, *comparison.clips, *comparison.accuracy, comparison.difference)
        numbers = np.stack(columns, axis=1).tolist()
        rows = [
            {"class": name, **dict(zip(names, row, strict=True))}
            for name, row in zip(comparison.names, numbers, strict=True)
        ]
        return results_csv([self._row(row) for row in rows])

    def _caption(self) -> str:
        return f"{self.names[0]} minus {self.names[1]}; {len(self.comparison.ranked)} classes."

    def _difference_png(self) -> bytes:
        sizes = [one.k for one in self.by_frequency]
        least = np.array([[one.least, one.least_interval] for one in self.by_frequency])
        most = np.array([[one.most, one.most_interval] for one in self.by_frequency])
        return png_bytes(rendered(frequency_difference_figure(sizes, least, most, self.names, self._caption())))

    def _frequency_png(self) -> bytes:
        index = self.comparison.ranked
        place = {one: at for at, one in enumerate(index.tolist())}
        bands = [np.array([place[one] for one in band.tolist()]) for band in self.bands]
        figure = class_frequency_figure(
            self.comparison.train_clips[index],
            self.comparison.accuracy[:, index],
            bands,
            np.array(self._band_means()),
            self.names,
            self._caption(),
        )
        return png_bytes(rendered(figure))


def report_of(
    comparison: ClassComparison, names: tuple[str, str], abouts: tuple[str, str], sizes: Sequence[int] | None = None
) -> ComparisonReport:
    """Work out what to print and to write.

    Args:
        comparison: the classes side by side.
        names: of the two runs.
        abouts: what each evaluated.
        sizes: numbers k of the most and least common classes; 5, 10 … 50 by default.

    Raises:
        OptionError: if a k is below 1 or above the number of ranked classes.
    """
    index = comparison.ranked
    if not len(index):
        return ComparisonReport(comparison, names, abouts, [], [])
    clips, evaluated = comparison.train_clips[index], comparison.common_clips[index]
    results = difference_by_frequency(comparison.difference[index], clips, sizes, evaluated)
    bands = [index[band] for band in frequency_bands(clips, min(5, max(1, len(index) // LEAST_IN_BAND)))]
    return ComparisonReport(comparison, names, abouts, results, bands)


def _cell(value: str | float) -> str | float:
    if isinstance(value, str | bool) or not isinstance(value, float):
        return value
    if math.isnan(value):
        return ""
    return int(value) if value.is_integer() else round(value, 4)
