# SPDX-License-Identifier: Apache-2.0
"""One measurement: batches in, the bias of every layer out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from lightning.pytorch.utilities.data import extract_batch_size
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import BatchError
from ..metrics import LayerBias, StaticDynamicBias
from ..metrics.bias import Estimator
from ..models.features import capture
from ..perturbations import FlowTriplets, Triplet, TripletFunction, VideoTriplets
from .batch_entries import describe
from .batches import VideoInputs
from .measuring import float64_device, traceless

__all__ = ("BiasMeasurement", "GroupBy", "video_numbers")

GroupBy = Literal["clip", "video"]


def video_numbers(ids: Sequence[str]) -> Tensor:
    """A number for the video of each clip, the same at every measurement and on every rank.

    Args:
        ids: of the clips; what stands before the last ``/`` names the video, the whole id where there is none.

    Returns:
        ``(N,)`` int64.

    Example:
        >>> first, second, other = video_numbers(["bear/00000", "bear/00001", "bus/00000"]).tolist()
        >>> first == second, first == other
        (True, False)
    """
    names = [name.rpartition("/")[0] or name for name in ids]
    digests = [hashlib.blake2b(name.encode(), digest_size=7).digest() for name in names]
    return torch.tensor([int.from_bytes(digest, "little") for digest in digests], dtype=torch.long)


class BiasMeasurement:
    """Collects the features of triplets into one metric a layer: three forward passes a clip, constant memory.

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
        group_by: whether single clips are spread over the groups, or whole videos, see :func:`video_numbers`; by
            default videos for ``FlowTriplets`` where the batch has ids, and clips otherwise.
    """

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
        self.layers, self.triplets, self.inputs, self.num_clips = list(layers), triplets, inputs, num_clips
        self.channel_dim = channel_dim
        self.metric_options: dict[str, Any] = {"estimator": estimator, "threshold": threshold, "num_groups": num_groups}
        self.group_by = group_by
        self.grouped_by: GroupBy | None = None
        """What the groups were made of, once a batch was measured."""
        self.metrics: dict[str, StaticDynamicBias] = {}
        self.picture: dict[str, Tensor] = {}
        """The first triplet, as ``{name: (T, H, W, 3)}`` pixels, to look at."""
        self.problem = ""
        """Why nothing can be measured, once that is known: a model that gives NaN, for instance."""
        self.num_seen = 0
        """Clips measured on this rank."""

    def wants_more(self, world_size: int = 1) -> bool:
        """Whether this rank has not yet measured its share of the clips."""
        return not self.problem and self.num_seen * world_size < self.num_clips

    def add(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        """Measure the clips of a batch, as far as they are wanted.

        Raises:
            BatchError: if the batch cannot be read.
        """
        size = self._size(batch)
        # With a distributed sampler, clip k of rank r is clip k * world_size + r of the data set.
        order = torch.arange(self.num_seen, self.num_seen + size) * trainer.world_size + trainer.global_rank
        order = order[order < self.num_clips]
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
            index = self._index(batch, order)
            self.grouped_by = "clip" if index is order else "video"
            for layer in features[0]:
                sides = [member[layer][: len(order)] for member in features]
                if not all(bool(side.isfinite().all()) for side in sides):
                    self.problem = f"layer {layer} gives NaN or infinity. Has the training diverged?"
                    return
                self._metric(layer, sides[0].shape[1], module.device).update(sides[0], sides[1], sides[2], index)
        self.num_seen += len(order)

    def add_all(self, trainer: Trainer, module: LightningModule, batches: Iterator[Any], title: str) -> None:
        """Measure batches as long as there are any and clips are wanted, under a progress bar.

        Raises:
            BatchError: if a batch cannot be read.
        """
        with tqdm(
            total=self.num_clips,
            desc=title,
            unit="clip",
            leave=False,
            disable=trainer.progress_bar_callback is None or not trainer.is_global_zero,
        ) as bar:
            while self.wants_more(trainer.world_size):
                try:
                    batch = next(batches)
                except StopIteration:
                    break
                before = self.num_seen
                self.add(trainer, module, batch)
                bar.update((self.num_seen - before) * trainer.world_size)

    def _index(self, batch: Any, order: Tensor) -> Tensor:
        """Numbers that spread the clips over the groups: of their videos, or ``order`` itself."""
        if self.group_by == "clip" or (self.group_by is None and not isinstance(self.triplets, FlowTriplets)):
            return order
        named = batch.get(self.triplets.id) if isinstance(self.triplets, FlowTriplets) else None
        ids = self.inputs.ids(batch) if named is None else [str(name) for name in named]
        if ids is not None:
            return video_numbers(ids[: len(order)])
        if self.group_by is None:
            return order
        raise BatchError(
            f"group_by='video' tells videos by the ids of their clips, but the batch has none: {describe(batch)}. "
            "Add an entry 'id', or use BiasMonitor(group_by='clip')."
        )

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

    def _metric(self, layer: str, num_channels: int, device: torch.device) -> StaticDynamicBias:
        if layer not in self.metrics:
            self.metrics[layer] = StaticDynamicBias(num_channels, **self.metric_options).to(float64_device(device))
        return self.metrics[layer]

    def compute(self, trainer: Trainer, module: LightningModule) -> dict[str, LayerBias]:
        """The bias of every layer over the clips of all ranks (a collective call); empty if no clip was seen."""
        if trainer.world_size > 1:
            # A rank that saw no clip does not know the layers' sizes, but has to take part in the merge.
            reports: list[tuple[str, dict[str, int]]] = [("", {})] * trainer.world_size
            mine = (self.problem, {layer: metric.num_channels for layer, metric in self.metrics.items()})
            torch.distributed.all_gather_object(reports, mine)
            self.problem = next((problem for problem, _ in reports if problem), "")
            sizes = max((sizes for _, sizes in reports), key=len)
            for layer, num_channels in sizes.items():
                self._metric(layer, num_channels, module.device)
            names = list(sizes)
        else:
            names = list(self.metrics)
        return {layer: self.metrics[layer].compute() for layer in names}

    def conclude(self, trainer: Trainer, module: LightningModule) -> dict[str, LayerBias]:
        """What :meth:`compute` gives, with a warning if clips are few.

        Empty, with a warning that says why, if they are less than two or the model gives NaN.
        """
        biases = self.compute(trainer, module)
        if self.problem:
            rank_zero_warn(f"No bias was measured at step {trainer.global_step}: {self.problem}")
            return {}
        clips = max((int(bias.num_clips) for bias in biases.values()), default=0)
        if clips < 2:
            rank_zero_warn(
                f"No bias was measured: the validation loop gave {clips} clips, and a correlation takes two."
            )
            return {}
        if self.group_by is None and self.grouped_by == "clip" and isinstance(self.triplets, FlowTriplets):
            rank_zero_warn(
                "The batches have no ids, so that frames of one video stand in several groups and the intervals of the "
                "bias are too narrow. Add an entry 'id' like 'bear/00000' to the batches, or say that every clip is of "
                "another video by BiasMonitor(group_by='clip')."
            )
        if clips < 2 * self.metric_options["num_groups"]:
            rank_zero_warn(f"The bias was measured on {clips} clips only; read the intervals before the numbers.")
        return biases
