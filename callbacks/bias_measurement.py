# SPDX-License-Identifier: Apache-2.0
"""One measurement by triplets: batches in, the bias of every layer out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor

from ..metrics import StaticDynamicBias
from ..metrics.bias import Estimator
from ..models.features import capture
from ..perturbations import FlowTriplets, Triplet, TripletFunction, VideoTriplets
from .batches import VideoInputs
from .measurement import GroupBy, Measurement
from .measuring import traceless

__all__ = ("BiasMeasurement",)


class BiasMeasurement(Measurement):
    """Collects the features of triplets into one metric a layer: three forward passes a clip.

    Args:
        layers: layer patterns.
        triplets: makes triplets from videos in [0, 1]; or, for models of several inputs, any function of the whole
            batch that returns a triplet of what the model is called with.
        inputs: how to read batches and call the model.
        num_clips: stop after so many clips, over all ranks.
        channel_dim: passed to :func:`~staticdropout.models.features.channel_means`.
        estimator: see :class:`~staticdropout.metrics.StaticDynamicBias`.
        threshold: λ.
        num_groups: groups of clips for the intervals.
        group_by: whether single clips are spread over the groups, or whole videos; by default videos for
            ``FlowTriplets`` where the batch has ids, and clips otherwise.
    """

    metric_class = StaticDynamicBias

    def __init__(
        self,
        layers: Sequence[str],
        triplets: VideoTriplets | FlowTriplets | TripletFunction,
        inputs: VideoInputs,
        num_clips: int,
        channel_dim: int | None = None,
        estimator: Estimator = "paper",
        threshold: float = 0.5,
        num_groups: int = 20,
        group_by: GroupBy | None = None,
    ) -> None:
        super().__init__(layers, inputs, num_clips, channel_dim, estimator, threshold, num_groups, group_by)
        self.triplets = triplets
        self.videos_by_default = isinstance(triplets, FlowTriplets)

    def add(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        """Measure the clips of a batch, see :meth:`Measurement.add`."""
        size = self._size(batch)
        order = self.numbers(trainer, size)
        order = order if self.num_clips is None else order[order < self.num_clips]
        if len(order) == 0:
            return
        with traceless(trainer, module):
            # The whole batch also where fewer clips are wanted: what else the model takes from it has as many rows.
            if isinstance(self.triplets, VideoTriplets):
                keys = self.inputs.keys(batch, size, trainer, self.num_seen)
                triplet = self._video_triplet(self.inputs.find(batch), keys)
            else:
                triplet = self._triplet(batch, size, trainer)
                if not self.picture and hasattr(self.triplets, "picture"):
                    self.picture = {name: part.float().cpu() for name, part in self.triplets.picture(triplet).items()}
            with capture(module, self.layers, channel_dim=self.channel_dim, batch_size=size) as run:
                features = [run(self.inputs.call, module, member, batch) for member in triplet]
            index = self.index(batch, order, self._ids(batch))
            for layer in features[0]:
                sides = [member[layer][: len(order)] for member in features]
                if self.refuse_broken(layer, *sides):
                    return
                self.metric(layer, sides[0].shape[1], module.device).update(sides[0], sides[1], sides[2], index)
        self.num_seen += len(order)

    def _ids(self, batch: Any) -> Sequence[object] | None:
        named = batch.get(self.triplets.id) if isinstance(self.triplets, FlowTriplets) else None
        return self.inputs.ids(batch) if named is None else list(named)

    def _size(self, batch: Any) -> int:
        """Number of clips in a batch."""
        if isinstance(self.triplets, VideoTriplets):
            return len(self.inputs.find(batch))
        ids = self.inputs.ids(batch)
        return len(ids) if ids is not None else extract_batch_size(batch)

    def _triplet(self, batch: Any, size: int, trainer: Trainer) -> Triplet:
        """The triplet of what the model is called with."""
        if not isinstance(self.triplets, FlowTriplets):
            assert not isinstance(self.triplets, VideoTriplets)  # noqa: S101 - the caller's branch
            return self.triplets(batch)
        named = batch.get(self.triplets.id) if isinstance(batch, Mapping) else None
        return self.triplets(batch, self.inputs.keys(batch, size, trainer, self.num_seen) if named is None else None)

    def _video_triplet(self, video: Tensor, keys: Sequence[str]) -> Triplet:
        assert isinstance(self.triplets, VideoTriplets)  # noqa: S101 - the caller's branch
        pixels = self.triplets(self.inputs.pixels(video), keys)
        if not self.picture:
            clips = zip(("anchor", "same static", "same dynamic"), pixels, strict=True)
            self.picture = {name: clip[0].permute(1, 2, 3, 0).float().cpu() for name, clip in clips}
        return Triplet(*(self.inputs.restore(clip, like=video) for clip in pixels))
