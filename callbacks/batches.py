# SPDX-License-Identifier: Apache-2.0
"""Find the video, the labels and the logits in batches and outputs of LightningModules that we have never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from ..errors import BatchError, OptionError, StaticDropoutError

__all__ = ("VideoInputs", "describe")

Layout = Literal["BCTHW", "BTCHW", "BTHWC"]

VIDEO_NAMES = ("video", "videos", "clip", "clips", "pixel_values", "frames", "inputs", "input", "x", "data")
LABEL_NAMES = ("label", "labels", "target", "targets", "y", "class")
ID_NAMES = ("id", "ids", "video_id", "key", "name")
MODEL_NAMES = ("model", "net", "network", "backbone", "encoder", "classifier")


def describe(value: Any, depth: int = 3) -> str:
    """Say in one line what a batch holds.

    Example:
        >>> describe({"clip": torch.zeros(2, 3, 8, 4, 4), "y": [1, 2]})
        '{clip: float32 (2, 3, 8, 4, 4), y: [int, int]}'
    """
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    if depth and (isinstance(value, Mapping) or hasattr(value, "__dict__")):
        return "{" + ", ".join(f"{key}: {describe(part, depth - 1)}" for key, part in _entries(value)) + "}"
    if depth and isinstance(value, Sequence) and not isinstance(value, str):
        more = ", …" if len(value) > 4 else ""
        return "[" + ", ".join(describe(part, depth - 1) for part in value[:4]) + more + "]"
    return type(value).__name__


def _entries(batch: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a batch's direct parts, whatever kind of container it is."""
    if isinstance(batch, Mapping):
        yield from ((str(key), value) for key, value in batch.items())
    elif isinstance(batch, Sequence) and not isinstance(batch, str):
        yield from ((str(position), value) for position, value in enumerate(batch))
    elif hasattr(batch, "__dict__"):
        yield from vars(batch).items()


def _entry(batch: Any, path: str | int) -> Any:
    """Follow a key, an index, an attribute, or several of them joined by dots."""
    value = batch
    for step in str(path).split("."):
        parts = dict(_entries(value))
        if step not in parts:
            raise BatchError(f"The batch has no entry {str(path)!r}; it holds {describe(batch)}.")
        value = parts[step]
    return value


def _named(batch: Any, names: Sequence[str], accept: Callable[[Any], bool], first: bool = False) -> Any:
    """The first acceptable entry with one of the names, else the only (or first) acceptable entry, else None."""
    parts = dict(_entries(batch))
    for name in names:
        if name in parts and accept(parts[name]):
            return parts[name]
    found = [value for value in parts.values() if accept(value)]
    return found[0] if len(found) == 1 or (found and first) else None


@dataclass(frozen=True)
class VideoInputs:
    """Tells the callbacks how to read batches and call the model. Left alone, each part is guessed.

    Args:
        video: the batch entry that holds the video: a key, an index or an attribute, or several joined by dots
            (``"inputs.clip"``).
            Guessed: an entry with a usual name (video, clip, pixel_values …), or the only 5-D tensor.
        label: the entry that holds the class labels, likewise. Guessed: a usual name, or the first 1-D integer tensor.
        layout: ``"BCTHW"``, ``"BTCHW"`` or ``"BTHWC"``. Guessed from the dimension of size 3.
        mean: what was subtracted from pixels in [0, 1], one number a channel, where the batch holds normalised pixels.
        std: what they were then divided by.
        forward: ``forward(module, video, batch)`` calls the model. By default ``module(video)``; where the
            LightningModule has no ``forward`` of its own, its only network (or the one called ``model``, ``net`` …)
            is called.

    Example:
        >>> inputs = VideoInputs()
        >>> inputs.find(("name", torch.zeros(2, 3, 8, 16, 16), torch.tensor([0, 1]))).shape
        torch.Size([2, 3, 8, 16, 16])
    """

    video: str | int | None = None
    label: str | int | None = None
    layout: Layout | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    forward: Callable[[LightningModule, Any, Any], Any] | None = None

    def __post_init__(self) -> None:
        """Check mean and std.

        Raises:
            OptionError: if one is missing, they differ in length, or a deviation is not positive.
        """
        if (self.mean is None) != (self.std is None):
            raise OptionError("VideoInputs: mean and std belong together; give both, as in your data module.")
        if self.mean is not None and self.std is not None:
            if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
                raise OptionError(
                    f"VideoInputs: mean and std are one number a channel, found {len(self.mean)} and {len(self.std)}."
                )
            if min(self.std) <= 0:
                raise OptionError(f"VideoInputs: std={list(self.std)} must be positive.")

    def find(self, batch: Any) -> Tensor:
        """The video of a batch, as it is there.

        Raises:
            BatchError: if there is none, with a description of the batch and the argument to set.
        """
        video = batch if isinstance(batch, Tensor) else None
        if self.video is not None:
            video = _entry(batch, self.video)
        elif video is None:
            video = _named(batch, VIDEO_NAMES, lambda part: isinstance(part, Tensor) and part.ndim == 5)
        if isinstance(video, Tensor) and video.ndim == 5:
            return video
        hint = "Name its entry with inputs=VideoInputs(video=...)."
        if isinstance(batch, Mapping) and "flow" in batch:
            hint += " For images with flow give BiasMonitor triplets=FlowTriplets()."
        raise BatchError(f"No video in the batch: it holds {describe(batch)}, expected one 5-D tensor. {hint}")

    def labels(self, batch: Any) -> Tensor:
        """Class labels ``(B,)`` of a batch.

        Raises:
            BatchError: if there are none.
        """
        label = (
            _entry(batch, self.label) if self.label is not None else _named(batch, LABEL_NAMES, _is_label, first=True)
        )
        if _is_label(label):
            return torch.as_tensor(label)
        raise BatchError(
            f"No class labels in the batch: it holds {describe(batch)}, expected a 1-D tensor of integers. "
            "Name its entry with inputs=VideoInputs(label=...)."
        )

    def ids(self, batch: Any) -> list[str] | None:
        """Names of the clips of a batch, or None where it has none."""
        parts = dict(_entries(batch)) if not isinstance(batch, Tensor) else {}
        for name in ID_NAMES:
            value = parts.get(name)
            if isinstance(value, Sequence | Tensor) and not isinstance(value, str):
                return [str(item) for item in (value.tolist() if isinstance(value, Tensor) else value)]
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

    def _layout(self, video: Tensor) -> str:
        if self.layout is not None:
            return self.layout
        matches = [layout for layout in ("BCTHW", "BTCHW", "BTHWC") if video.shape[layout.index("C")] == 3]
        if len(matches) == 1:
            return matches[0]
        raise BatchError(
            f"Cannot tell the layout of a video of shape {tuple(video.shape)}: {len(matches)} dimensions have size 3. "
            "Set inputs=VideoInputs(layout='BCTHW'), 'BTCHW' or 'BTHWC'."
        )

    def pixels(self, video: Tensor) -> Tensor:
        """The video as ``(B, 3, T, H, W)`` float32 pixels in [0, 1].

        Raises:
            BatchError: if the values are not pixels and no mean and std were given.
        """
        order = [self._layout(video).index(axis) for axis in "BCTHW"]
        pixels = video.permute(order)
        if not pixels.is_floating_point():
            return pixels.float() / 255
        pixels = pixels.float()
        if self.mean is not None or self.std is not None:
            pixels = pixels * self._constant(self.std, 1.0, pixels) + self._constant(self.mean, 0.0, pixels)
        low, high = float(pixels.amin()), float(pixels.amax())
        if not (low >= -0.02 and high <= 1.02):
            raise BatchError(
                f"Expected pixels in [0, 1], found values from {low:.3g} to {high:.3g}. If they are normalised, give "
                "inputs=VideoInputs(mean=..., std=...) as in your data module; for floats up to 255 use mean=[0, 0, 0] "
                "and std=[0.00392, 0.00392, 0.00392]."
            )
        return pixels.clamp(0, 1)

    def restore(self, pixels: Tensor, like: Tensor) -> Tensor:
        """Turn pixels ``(B, 3, T, H, W)`` in [0, 1] back into what the batch held: range, layout, type."""
        if like.is_floating_point():
            if self.mean is not None or self.std is not None:
                pixels = (pixels - self._constant(self.mean, 0.0, pixels)) / self._constant(self.std, 1.0, pixels)
        else:
            pixels = (pixels * 255).round()
        return pixels.permute(["BCTHW".index(axis) for axis in self._layout(like)]).to(like.dtype)

    @staticmethod
    def _constant(values: Sequence[float] | None, default: float, like: Tensor) -> Tensor:
        return like.new_tensor(values if values is not None else [default]).view(1, -1, 1, 1, 1)

    def call(self, module: LightningModule, video: Any, batch: Any) -> Any:
        """Call the model on a video (or, for models of several inputs, a tuple or dict of inputs)."""
        if self.forward is not None:
            return self.forward(module, video, batch)
        network: nn.Module = module
        if type(module).forward is LightningModule.forward:
            network = _only_network(module)
        try:
            if isinstance(video, Mapping):
                return network(**video)
            return network(*video) if isinstance(video, tuple) else network(video)
        except (StaticDropoutError, torch.OutOfMemoryError):
            raise
        except (TypeError, AttributeError, LookupError, ValueError, RuntimeError) as error:
            raise BatchError(
                f"{type(network).__name__} could not be called with the video alone, {describe(video)} "
                f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}). "
                "Say how to call it with inputs=VideoInputs(forward=lambda module, video, batch: ...)."
            ) from error

    @staticmethod
    def logits(output: Any) -> Tensor:
        """The class scores ``(B, K)`` in what a model returned.

        Raises:
            BatchError: if there are none.
        """
        if not isinstance(output, Tensor):
            output = _named(
                output, ("logits", "scores", "preds", "output"), lambda p: isinstance(p, Tensor) and p.ndim == 2
            )
        if isinstance(output, Tensor) and output.ndim == 2:
            return output
        raise BatchError(
            f"No class scores in the model's output: found {describe(output)}, expected a tensor (B, classes). "
            "Return them from inputs=VideoInputs(forward=...)."
        )


def _is_label(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 1 and not value.is_floating_point() and value.dtype != torch.bool
    return isinstance(value, list) and bool(value) and all(type(item) is int for item in value)


def _only_network(module: LightningModule) -> nn.Module:
    """The network inside a LightningModule that has no forward of its own."""
    networks = {name: child for name, child in module.named_children() if any(True for _ in child.parameters())}
    for name in MODEL_NAMES:
        if name in networks:
            return networks[name]
    if len(networks) == 1:
        return next(iter(networks.values()))
    raise BatchError(
        f"{type(module).__name__} has no forward(); its model may be any of {', '.join(networks)}. "
        "Say how to call it with inputs=VideoInputs(forward=lambda module, video, batch: ...)."
    )
