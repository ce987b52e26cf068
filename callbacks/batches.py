# SPDX-License-Identifier: Apache-2.0
"""Find the video, the labels and the logits in batches and outputs of LightningModules that we have never seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from ..errors import BatchError, OptionError, StaticDropoutError
from .batch_entries import Entry, describe, entries, follow, outer_parts, pick, search
from .labels import ID_NAMES, class_numbers, guess_labels
from .networks import HOW, called_network, video_argument
from .pathways import are_pathways, fastest, repack
from .pixels import LAYOUTS, Layout, check_normalisation, from_pixels, guess_layout, is_coloured, to_pixels

__all__ = ("VideoInputs",)

VIDEO_NAMES = ("video", "videos", "clip", "clips", "frames", "pixel_values", "pixel_values_videos", "rgb")
VAGUE_VIDEO_NAMES = ("inputs", "input", "x", "data", "images", "imgs")
LOGIT_NAMES = ("logits", "scores", "preds", "output")


@dataclass(frozen=True)
class VideoInputs:
    """Tells the callbacks how to read batches and call the model. Left alone, each part is guessed.

    A guess is made where there is one reading; where there are several, the error names the argument to set.

    Args:
        video: the batch entry that holds the video: a key, an index or an attribute, or several joined by dots
            (``"inputs.clip"``); or a function of the batch that returns a 5-D tensor.
            Guessed: the outermost entry with a usual name (video, clip, pixel_values …), the only 5-D tensor, or the
            only one in colour. A list of pathways (SlowFast) counts as its clip of most frames.
        label: the entry that holds the class labels, likewise; only for ShuffledValidation. Guessed: a usual name, or
            the only entry with one whole number a clip, beside the video before elsewhere.
        layout: ``"BCTHW"``, ``"BTCHW"`` or ``"BTHWC"``. Guessed from the dimension of size 3 or, for grey clips, 1.
        mean: what was subtracted from pixels in [0, 1], one number for all channels or one a channel, where the batch
            holds normalised floats. Only what measures with styles needs mean and std: StaticDropout does not.
        std: what they were then divided by.
        forward: ``forward(module, video, batch)`` calls the model. By default ``module(video)``; where the
            LightningModule has no ``forward`` of its own, its only network, not counting losses, metrics and copies,
            is called, by the name of the video's entry if it takes that. Pathways are made anew from the video. What
            ``training_step`` does to the batch before it calls the model is not seen and belongs here.

    Raises:
        OptionError: for an unknown layout, or a mean and std that do not fit together.

    Example:
        >>> inputs = VideoInputs()
        >>> inputs.find(("name", torch.zeros(2, 3, 8, 16, 16), torch.tensor([0, 1]))).shape
        torch.Size([2, 3, 8, 16, 16])
    """

    video: str | int | Callable[[Any], Tensor] | None = None
    label: str | int | None = None
    layout: Layout | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    forward: Callable[[LightningModule, Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        """Check layout, mean and std."""
        if self.layout is not None and self.layout not in LAYOUTS:
            raise OptionError(f"VideoInputs: layout={self.layout!r} is not one of {', '.join(LAYOUTS)}.")
        check_normalisation(self.mean, self.std)

    def find(self, batch: Any) -> Tensor:
        """The video of a batch, as it is there; of several pathways the one of most frames.

        Raises:
            BatchError: if there is none, or it is unclear which; with a description of the batch and the argument to
                set.
        """
        video = _clip(self._entry(batch).value)
        return video.detach() if video.requires_grad else video

    def _entry(self, batch: Any) -> Entry:
        """Where the video is: a 5-D tensor, or a list of pathways."""
        if callable(self.video):
            given = Entry((), self.video(batch))
        elif self.video is not None:
            given = _named(batch, self.video)
        else:
            return _guess_video(batch)
        if _is_video(given.value):
            return given
        raise BatchError(
            f"Expected a 5-D tensor where inputs=VideoInputs(video=...) says that the video is, found "
            f"{describe(given.value)}. Name another entry of the batch, which holds {describe(batch)}, or give a "
            "function of the batch that makes one."
        )

    def _entry_if_clear(self, batch: Any) -> Entry | None:
        try:
            return self._entry(batch)
        except BatchError:
            return None

    def labels(self, batch: Any) -> Tensor:
        """Class labels ``(B,)`` of a batch; of one-hot or smoothed labels the class of the highest.

        Raises:
            BatchError: if there are none, or it is unclear which.
        """
        video = self._entry_if_clear(batch)
        path, size = (video.path, len(_clip(video.value))) if video else ((), None)
        if self.label is not None:
            label = class_numbers(_named(batch, self.label).value, size)
        else:
            label = guess_labels(batch, path, size)
        if label is not None:
            return label
        raise BatchError(
            f"No class labels, or several, in the batch: it holds {describe(batch)}, expected one whole number, or "
            "one-hot row, a clip. Name their entry with inputs=VideoInputs(label=...)."
        )

    def ids(self, batch: Any) -> list[str] | None:
        """Names of the clips of a batch, or None where it has none."""
        video = self._entry_if_clear(batch)
        for part in outer_parts(batch, video.path if video else ()):
            parts = dict(entries(part))
            for name in ID_NAMES:
                value = parts.get(name)
                if isinstance(value, Tensor) and value.ndim == 1:
                    value = value.tolist()
                if isinstance(value, Sequence) and not isinstance(value, str | bytes):
                    return [str(item) for item in value]
        return None

    def keys(self, batch: Any, size: int, trainer: Trainer, seen: int = 0) -> list[str]:
        """What names each clip of a batch: its id, or its position among all clips of all ranks.

        Args:
            batch: the batch.
            size: its number of clips.
            trainer: for the rank; with a distributed sampler, clip k of rank r is clip ``k * world_size + r``.
            seen: clips that came before on this rank.
        """
        ids = self.ids(batch)
        if ids is not None and len(ids) == size:
            return ids
        return [str((seen + number) * trainer.world_size + trainer.global_rank) for number in range(size)]

    def time_dim(self, video: Tensor) -> int:
        """Which dimension of a video is time."""
        return self._layout(video).index("T")

    def _layout(self, video: Tensor) -> Layout:
        return self.layout or guess_layout(video.shape)

    def pixels(self, video: Tensor) -> Tensor:
        """The video as ``(B, 3, T, H, W)`` float32 pixels in [0, 1].

        Raises:
            BatchError: if the values are not pixels and no mean and std were given.
        """
        return to_pixels(video, self._layout(video), self.mean, self.std)

    def restore(self, pixels: Tensor, like: Tensor) -> Tensor:
        """Turn pixels ``(B, 3, T, H, W)`` in [0, 1] back into what the batch held: range, layout, type."""
        return from_pixels(pixels, like, self._layout(like), self.mean, self.std)

    def call(self, module: LightningModule, video: Any, batch: Any) -> Any:
        """Call the model on a video; or, for models of several inputs, on a tuple or dict of inputs.

        Raises:
            BatchError: if it is unclear how to call the model, or the call fails.
        """
        if self.forward is not None:
            return self.forward(module, video, batch)
        network, args, kwargs = self.arrange(module, video, batch)
        try:
            return network(*args, **kwargs)
        except (StaticDropoutError, torch.OutOfMemoryError):
            raise
        except (TypeError, AttributeError, LookupError, ValueError, RuntimeError, AssertionError) as error:
            raise BatchError(
                f"{type(network).__name__} could not be called with the video alone, {describe(video)} "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}). {HOW}"
            ) from error

    def arrange(
        self, module: LightningModule, video: Any, batch: Any
    ) -> tuple[nn.Module, Sequence[Any], Mapping[str, Any]]:
        """The network to call where no ``forward`` is given, and what with: by position, and by name.

        Raises:
            BatchError: if it is unclear how to call the model.
        """
        network = called_network(module)
        if isinstance(video, Mapping):
            return network, (), video
        if not isinstance(video, Tensor):
            return network, video if isinstance(video, tuple) else (video,), {}
        entry = self._entry_if_clear(batch)
        whole = repack(entry.value, video) if entry and are_pathways(entry.value) else video
        name = entry.path[-1] if entry and entry.path else None
        others = {other for other, part in entries(batch) if isinstance(part, Tensor) and other != name}
        others |= set() if isinstance(batch, Tensor) else {"batch"}
        argument = video_argument(network, name, others)
        return (network, (), {argument: whole}) if argument else (network, (whole,), {})

    @staticmethod
    def logits(output: Any) -> Tensor:
        """The class scores ``(B, K)`` in what a model returned.

        Raises:
            BatchError: if there are none, or one number a clip, which is no choice between classes.
        """
        parts = [("", output)] if isinstance(output, Tensor) else entries(output)
        tables = [Entry((name,), part) for name, part in parts if isinstance(part, Tensor) and part.ndim == 2]
        chosen = pick(tables, LOGIT_NAMES)
        if chosen is not None and chosen.value.shape[1] > 1:
            scores: Tensor = chosen.value
            return scores
        raise BatchError(
            f"No class scores in the model's output: found {describe(output)}, expected one tensor (B, classes) of at "
            "least 2 classes. Return them from inputs=VideoInputs(forward=...)."
        )


def _is_video(value: Any) -> bool:
    """Whether a part of a batch can be a video; a mask of booleans cannot."""
    return are_pathways(value) or (isinstance(value, Tensor) and value.ndim == 5 and value.dtype != torch.bool)


def _clip(value: Any) -> Tensor:
    clip: Tensor = fastest(value) if are_pathways(value) else value
    return clip


def _named(batch: Any, path: str | int) -> Entry:
    entry = follow(batch, path)
    if entry is None:
        raise BatchError(f"The batch has no entry {str(path)!r}; it holds {describe(batch)}.")
    return entry


def _guess_video(batch: Any) -> Entry:
    if _is_video(batch):
        return Entry((), batch)
    found = list(search(batch, _is_video))
    if any(entry.name in VIDEO_NAMES for entry in found):
        video = pick(found, VIDEO_NAMES)
    else:
        coloured = [entry for entry in found if is_coloured(_clip(entry.value).shape)]
        video = pick(coloured or found, VAGUE_VIDEO_NAMES)
    if video is not None:
        return video
    if found:
        which = ", ".join(f"{entry.dotted} ({describe(_clip(entry.value))})" for entry in found)
        hint = f"Say which with inputs=VideoInputs(video={found[0].dotted!r}), and with forward=lambda module, video, "
        hint += "batch: ... how to call the model if it takes more than one."
        raise BatchError(f"Any of these parts of the batch may be the video: {which}. {hint}")
    hint = "Name its entry with inputs=VideoInputs(video=...), or give a function of the batch there that makes one."
    if isinstance(batch, Mapping) and "flow" in batch:
        hint += " For images with flow give BiasMonitor triplets=FlowTriplets()."
    raise BatchError(f"No video in the batch: it holds {describe(batch)}, expected one 5-D tensor. {hint}")
