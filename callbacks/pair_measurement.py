# SPDX-License-Identifier: Apache-2.0
"""One measurement on pairs that the data module has made: two forward passes a pair, one result a seed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer

from ..errors import BatchError
from ..metrics import FACTORS, LayerBias, PairedBias, combine_seeds
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
        num_pairs: of the data set; what a distributed sampler repeats beyond them is left out. None: not known.
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
        num_pairs: int | None = None,
        channel_dim: int | None = None,
        estimator: Estimator = "paper",
        threshold: float = 0.5,
        num_groups: int = 20,
        group_by: GroupBy | None = None,
        units_of_first_seed: bool = False,
        frames_apart: bool = False,
    ) -> None:
        super().__init__(layers, inputs, num_pairs, channel_dim, estimator, threshold, num_groups, group_by)
        self.threshold, self.units_of_first_seed = threshold, units_of_first_seed
        self.frames_apart = frames_apart
        self.measured: dict[int, int] = {}
        """Pairs of each seed that enter the result, over all ranks; known when it is computed."""

    def add(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        """Measure the pairs of a batch, see :meth:`Measurement.add`."""
        with traceless(trainer, module):
            pairs = read_pairs(batch, self.inputs)
            size = len(pairs.factor)
            order = self.numbers(trainer, size)
            order = order if self.num_clips is None else order[order < self.num_clips]
            if len(order) == 0:  # none of its videos could be read, or all are repeats
                return
            if len(self.picture) < 4:  # until there is a pair of each factor
                self.picture = pair_pictures(batch, pairs, self.inputs) | self.picture
            apart = pairs.first[0].shape[1] if self.frames_apart and isinstance(pairs.first, tuple) else 1
            with capture(module, self.layers, channel_dim=self.channel_dim, batch_size=size * apart) as run:
                features = [run(self._call, module, side, batch) for side in (pairs.first, pairs.second)]
        self.videos_by_default = isinstance(pairs.first, tuple)
        index = self.index(batch, order, self.inputs.ids(batch)).repeat_interleave(apart)
        kinds = list(zip(pairs.seed.tolist(), pairs.factor.tolist(), strict=True))[: len(order)]
        rows: dict[int, list[int]] = {}
        for row in range(len(index)):
            rows.setdefault(kinds[row // apart][0], []).append(row)
        factor = pairs.factor.repeat_interleave(apart)
        for layer, first in features[0].items():
            second = features[1][layer]
            if self.refuse_broken(layer, first, second):
                return
            for seed, chosen in rows.items():
                metric = self.metric((layer, seed), first.shape[1], module.device)
                metric.update(first[chosen], second[chosen], factor[chosen], index[chosen])
        self.tally.update(kinds)
        self.num_seen += len(order)

    def _call(self, module: LightningModule, side: Any, batch: Any) -> Any:
        try:
            return self.inputs.call(module, side, batch)
        except BatchError as error:
            if not isinstance(side, list):
                raise
            raise BatchError(
                f"The batch has a clip for each of two pathways, and {type(module).__name__} could not be called with "
                "both: that is for SlowFast. Leave out the data module's slow_frames and its oddity "
                f"independent_pathways, or say how to call it with inputs=VideoInputs(forward=...). ({error})"
            ) from error

    def layer_biases(self, found: Mapping[Hashable, LayerBias]) -> dict[str, LayerBias]:
        """The mean of each layer over its seeds; those without two pairs of each factor are left out."""
        seeds = sorted({seed for seed, _ in self.tally})
        counts = {seed: [self.tally[seed, factor] for factor in range(len(FACTORS))] for seed in seeds}
        self.measured = {seed: sum(both) for seed, both in counts.items() if min(both) >= 2}
        if counts and not self.measured:
            pairs = "; ".join(f"seed {seed}: {both[0]} static, {both[1]} dynamic" for seed, both in counts.items())
            self.problem = f"a correlation takes two pairs, and no seed has two of each factor ({pairs})."
        results: dict[str, dict[int, LayerBias]] = {}
        for key, bias in found.items():
            layer, seed = cast("tuple[str, int]", key)  # as add() makes them
            if seed in self.measured:
                results.setdefault(layer, {})[seed] = bias
        return {
            layer: combine_seeds([of[seed] for seed in sorted(of)], self.threshold, self.units_of_first_seed)
            for layer, of in results.items()
        }
