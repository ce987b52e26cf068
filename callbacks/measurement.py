# SPDX-License-Identifier: Apache-2.0
"""What all measurements share: one metric a layer, progress, the merge of ranks, groups of clips, and warnings."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import BatchError
from ..metrics import LayerBias
from ..metrics.bias import Estimator
from ..metrics.bias_metric import BiasMetric
from .batch_entries import describe
from .batches import VideoInputs
from .measuring import float64_device

__all__ = ("GroupBy", "Measurement", "video_numbers")

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


class Measurement(ABC):
    """Collects features into one metric a key (a layer, say); memory does not grow with the number of clips.

    Args:
        layers: layer patterns.
        inputs: how to read batches and call the model.
        num_clips: stop after so many clips, over all ranks; None: take all.
        channel_dim: passed to :func:`~staticdropout.models.features.channel_means`.
        estimator: see :class:`~staticdropout.metrics.StaticDynamicBias`.
        threshold: λ.
        num_groups: groups of clips for the intervals.
        group_by: whether single clips are spread over the groups, or whole videos, see :func:`video_numbers`; by
            default what :attr:`videos_by_default` says.
    """

    metric_class: ClassVar[type[BiasMetric]]
    videos_by_default: bool = False
    """Whether clips are frames of videos, which belong into one group, unless ``group_by`` says otherwise."""

    def __init__(
        self,
        layers: Sequence[str],
        inputs: VideoInputs,
        num_clips: int | None,
        channel_dim: int | None = None,
        estimator: Estimator = "paper",
        threshold: float = 0.5,
        num_groups: int = 20,
        group_by: GroupBy | None = None,
    ) -> None:
        self.layers, self.inputs, self.num_clips = list(layers), inputs, num_clips
        self.channel_dim = channel_dim
        self.metric_options: dict[str, Any] = {"estimator": estimator, "threshold": threshold, "num_groups": num_groups}
        self.group_by = group_by
        self.grouped_by: GroupBy | None = None
        """What the groups were made of, once a batch was measured."""
        self.metrics: dict[Hashable, Any] = {}
        self.picture: dict[str, Tensor] = {}
        """What was compared first, as ``{name: (T, H, W, 3)}`` pixels, to look at."""
        self.problem = ""
        """Why nothing can be measured, once that is known: a model that gives NaN, for instance."""
        self.num_seen = 0
        """Clips measured on this rank."""
        self.tally: Counter[tuple[int, int]] = Counter()
        """What a measurement counts besides, on this rank; of all ranks once the result is computed."""

    @abstractmethod
    def add(self, trainer: Trainer, module: LightningModule, batch: Any) -> None:
        """Measure the clips of a batch, as far as they are wanted.

        Raises:
            BatchError: if the batch cannot be read.
        """

    def layer_biases(self, found: Mapping[Hashable, LayerBias]) -> dict[str, LayerBias]:
        """The result of each layer from those of the keys."""
        return {str(key): bias for key, bias in found.items()}

    def wants_more(self, world_size: int = 1) -> bool:
        """Whether this rank has not yet measured its share of the clips."""
        return not self.problem and (self.num_clips is None or self.num_seen * world_size < self.num_clips)

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

    def numbers(self, trainer: Trainer, size: int) -> Tensor:
        """Numbers of the next clips: with a distributed sampler, clip k of rank r is clip k * world_size + r of all."""
        return torch.arange(self.num_seen, self.num_seen + size) * trainer.world_size + trainer.global_rank

    def index(self, batch: Any, order: Tensor, ids: Sequence[object] | None) -> Tensor:
        """Numbers that spread the clips over the groups: of their videos, or ``order`` itself.

        Raises:
            BatchError: videos are asked for, but the batch has no ids.
        """
        self.grouped_by = "clip"
        if self.group_by == "clip" or (self.group_by is None and not self.videos_by_default):
            return order
        if ids is not None:
            self.grouped_by = "video"
            return video_numbers([str(name) for name in ids[: len(order)]])
        if self.group_by is None:
            return order
        raise BatchError(
            f"group_by='video' tells videos by the ids of their clips, but the batch has none: {describe(batch)}. "
            "Add an entry 'id', or use BiasMonitor(group_by='clip')."
        )

    def refuse_broken(self, layer: str, *sides: Tensor) -> bool:
        """Whether features of a layer are no numbers; the measurement then has a :attr:`problem`."""
        if all(bool(side.isfinite().all()) for side in sides):
            return False
        self.problem = f"layer {layer} gives NaN or infinity. Has the training diverged?"
        return True

    def metric(self, key: Hashable, num_channels: int, device: torch.device) -> Any:
        """The metric of a key, made when it is first asked for."""
        if key not in self.metrics:
            self.metrics[key] = self.metric_class(num_channels, **self.metric_options).to(float64_device(device))
        return self.metrics[key]

    def compute(self, trainer: Trainer, module: LightningModule) -> dict[str, LayerBias]:
        """The bias of every layer over the clips of all ranks (a collective call); empty if no clip was seen."""
        keys = list(self.metrics)
        if trainer.world_size > 1:
            # A rank that saw no clip does not know the layers' sizes, but has to take part in the merge.
            reports: list[tuple[str, dict[Hashable, int], Counter[tuple[int, int]]]] = [("", {}, Counter())]
            reports *= trainer.world_size
            mine = (self.problem, {key: metric.num_channels for key, metric in self.metrics.items()}, self.tally)
            torch.distributed.all_gather_object(reports, mine)
            self.problem = next((problem for problem, _, _ in reports if problem), "")
            sizes = {key: size for _, found, _ in reports for key, size in found.items()}
            self.tally = sum((tally for _, _, tally in reports), Counter())
            for key, num_channels in sizes.items():
                self.metric(key, num_channels, module.device)
            keys = list(sizes)
        return self.layer_biases({key: self.metrics[key].compute() for key in keys})

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
        if self.group_by is None and self.grouped_by == "clip" and self.videos_by_default:
            rank_zero_warn(
                "The batches have no ids, so that frames of one video stand in several groups and the intervals of the "
                "bias are too narrow. Add an entry 'id' like 'bear/00000' to the batches, or say that every clip is of "
                "another video by BiasMonitor(group_by='clip')."
            )
        if clips < 2 * self.metric_options["num_groups"]:
            rank_zero_warn(f"The bias was measured on {clips} clips only; read the intervals before the numbers.")
        return biases
