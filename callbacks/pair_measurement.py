# SPDX-License-Identifier: Apache-2.0
"""One measurement on pairs that the data module has made: two forward passes a pair, one result a seed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer

from ..metrics import LayerBias, PairedBias, combine_seeds
from ..metrics.bias import Estimator
from ..models.features import capture
from .batches import VideoInputs
from .measurement import GroupBy, Measurement
from .measuring import traceless
from .prepared_pairs import pair_pictures, read_pairs

__all__ = ("PairMeasurement",)


class PairMeasurement(Measurement):
    """Collects the features of prepared pairs into one metric a layer and seed; all pairs of the loader are measured.

    The result of a layer is the mean over seeds, see :func:`~staticdropout.metrics.combine_seeds`.

    Args:
        layers: layer patterns.
        inputs: how to read batches and call the model.
        channel_dim: passed to :func:`~staticdropout.models.features.channel_means`.
        estimator: see :class:`~staticdropout.metrics.PairedBias`.
        threshold: λ.
        num_groups: groups of pairs for the intervals of a single seed.
        group_by: whether single pairs are spread over the groups, or whole videos; by default videos for pairs of an
            image and its flow, and single pairs otherwise.
        units_of_first_seed: see :func:`~staticdropout.metrics.combine_seeds`.
        frames_apart: each frame of a clip ``(B, T, C, H, W)`` of images is a sample of its own, for networks that see
            such a clip as B x T pictures, clip by clip (RTNet).
    """

    metric_class = PairedBias

    def __init__(
        self,
        layers: Sequence[str],
        inputs: VideoInputs,
        channel_dim: int | None = None,
        estimator: Estimator = "paper",
        threshold: float = 0.5,
        num_groups: int = 20,
        group_by: GroupBy | None = None,
        units_of_first_seed: bool = False,
        frames_apart: bool = False,
    ) -> None:
        super().__init__(layers, inputs, None, channel_dim, estimator, threshold, num_groups, group_by)
        self.threshold, self.units_of_first_seed = threshold, units_of_first_seed
        self.frames_apart = frames_apart

    def add(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        """Measure the pairs of a batch, see :meth:`Measurement.add`."""
        with traceless(trainer, module):
            pairs = read_pairs(batch, self.inputs)
            size = len(pairs.factor)
            if size == 0:  # none of its videos could be read
                return
            if len(self.picture) < 4:  # until there is a pair of each factor
                self.picture = pair_pictures(batch, pairs, self.inputs) | self.picture
            apart = pairs.first[0].shape[1] if self.frames_apart and isinstance(pairs.first, tuple) else 1
            with capture(module, self.layers, channel_dim=self.channel_dim, batch_size=size * apart) as run:
                features = [run(self.inputs.call, module, side, batch) for side in (pairs.first, pairs.second)]
        self.videos_by_default = isinstance(pairs.first, tuple)
        index = self.index(batch, self.numbers(trainer, size), self.inputs.ids(batch)).repeat_interleave(apart)
        factor, seeds = pairs.factor.repeat_interleave(apart), pairs.seed.repeat_interleave(apart).tolist()
        for layer, first in features[0].items():
            second = features[1][layer]
            if self.refuse_broken(layer, first, second):
                return
            metric_of = {seed: self.metric((layer, seed), first.shape[1], module.device) for seed in sorted(set(seeds))}
            for seed, metric in metric_of.items():
                rows = [row for row, drawn_by in enumerate(seeds) if drawn_by == seed]
                metric.update(first[rows], second[rows], factor[rows], index[rows])
        self.num_seen += size

    def layer_biases(self, found: Mapping[Hashable, LayerBias]) -> dict[str, LayerBias]:
        """The mean of each layer over its seeds."""
        results: dict[str, dict[int, LayerBias]] = {}
        for key, bias in found.items():
            layer, seed = cast("tuple[str, int]", key)  # as add() makes them
            results.setdefault(layer, {})[seed] = bias
        return {
            layer: combine_seeds([of[seed] for seed in sorted(of)], self.threshold, self.units_of_first_seed)
            for layer, of in results.items()
        }
