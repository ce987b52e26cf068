# SPDX-License-Identifier: Apache-2.0
"""Measures a style set clip by clip."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..datamodules.flow import DisFlow
from ..metrics.style_fitness import StyleMeasures
from ..metrics.style_quality import add_noise, flicker, flow_error, hellinger, noisy_still, warped_pair
from ..models.style_correlation import StyleCorrelation
from ..perturbations import StyleSet

__all__ = ("NOISY", "SOURCE", "StyleMeasuring", "style_labels")

SOURCE, NOISY = "source", "source + noise"

Answers = Callable[[Tensor], Tensor]
"""From stills ``(N, 3, H, W)`` in [0, 1] to what is told of them, ``(N, C)``."""


def style_labels(styles: StyleSet) -> list[str]:
    """Names of the styles of a set, with numbers where they alone would not do.

    Example:
        >>> style_labels(StyleSet(["paint", "neon"]))
        ['paint', 'neon']
    """
    labels: list[str] = [SOURCE, NOISY]
    for name in styles.names:
        label, number = name, 2
        while label in labels:
            label, number = f"{name} {number}", number + 1
        labels.append(label)
    return labels[2:]


class StyleMeasuring:
    """What a set of styles changes and keeps, over clips that are handed over one by one.

    Args:
        styles: the set.
        answers: what is told of stills: a network's features, or a descriptor.
        device: where the styles run.

    Attributes:
        labels: names of the styles, each once.
        clips: how many were measured so far.
        examples: by label, the middle frame ``(3, H, W)`` of the first clip; that of the source as well.
        correlation: of the answers, between styles and with the source.
    """

    def __init__(self, styles: StyleSet, answers: Answers, device: torch.device) -> None:
        self.styles, self.answers, self.device = styles, answers, device
        self.labels = style_labels(styles)
        self.correlation = StyleCorrelation([SOURCE, NOISY, *self.labels])
        self.clips, self.examples = 0, dict[str, Tensor]()
        self._estimate = DisFlow()
        rows = (NOISY, *self.labels)
        self._hellinger: dict[str, list[float]] = {name: [] for name in rows}
        self._flow_error: dict[str, list[float]] = {name: [] for name in rows}
        self._flicker: dict[str, list[float]] = {name: [] for name in rows}
        self._still: dict[str, list[float]] = {name: [] for name in rows}
        self._speed: dict[str, list[float]] = {name: [] for name in rows}

    @torch.no_grad()
    def add(self, clip: Tensor) -> None:
        """Measure a clip ``(3, T, H, W)`` in [0, 1]."""
        number, middle = self.clips, clip.shape[1] // 2
        pair, flow = warped_pair(clip[:, middle], seed=number)  # brings noise of its own
        still, change = noisy_still(clip[:, middle], seed=number), flicker(clip)
        answers = {SOURCE: self.answers(_stills(clip))}
        if not self.examples:
            self.examples[SOURCE] = clip[:, middle]
        for index, label in enumerate((NOISY, *self.labels)):
            if label == NOISY:
                styled, styled_pair, styled_still = add_noise(clip, seed=number), pair, still
            else:
                start = time.perf_counter()
                styled = self._render(index - 1, clip)
                self._speed[label].append(clip.shape[1] / (time.perf_counter() - start))
                styled_pair, styled_still = self._render(index - 1, pair), self._render(index - 1, still)
                self.examples.setdefault(label, styled[:, middle])
            self._flow_error[label].append(flow_error(styled_pair, flow, self._estimate))
            self._hellinger[label].append(hellinger(clip, styled))
            if change > 0 and (styled_change := flicker(styled)) > 0:
                self._flicker[label].append(styled_change / change)
                own = change / flicker(still)
                self._still[label].append(own * flicker(styled_still) / styled_change if label != NOISY else 1.0)
            answers[label] = self.answers(_stills(styled))
        self.correlation.update(answers)
        self.clips += 1

    def _render(self, index: int, clip: Tensor) -> Tensor:
        # coming back to the host waits for the device, so that the time is the whole time
        return self.styles.render(index, clip[None].to(self.device))[0].float().cpu()

    def measures(self) -> list[StyleMeasures]:
        """Source with noise first, then the styles: means over clips, of the flicker medians."""
        pairs = self.correlation.compute()
        floor = statistics.fmean(self._flow_error[NOISY])
        return [self._measures_of(label, floor, pairs) for label in (NOISY, *self.labels)]

    def _measures_of(self, label: str, floor: float, pairs: dict[tuple[str, str], float]) -> StyleMeasures:
        error = statistics.fmean(self._flow_error[label])
        speeds = self._speed[label][1:] or self._speed[label]  # the first call of a style is slower than all others
        others = {next(name for name in pair if name != label): r for pair, r in pairs.items() if label in pair}
        if label == NOISY:
            others = {SOURCE: others[SOURCE]}
        others.pop(NOISY, None)
        return StyleMeasures(
            label,
            statistics.fmean(self._hellinger[label]),
            error,
            error / floor if floor > 0 else math.nan,
            _median(self._flicker[label]),
            _median(self._still[label]),
            statistics.harmonic_mean(speeds) if speeds else math.nan,
            others,
        )


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else math.nan


def _stills(clip: Tensor) -> Tensor:
    """The first and the last frame of a clip, as different as it has them: ``(2, 3, H, W)``."""
    return clip[:, [0, -1]].transpose(0, 1)
