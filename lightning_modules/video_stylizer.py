# SPDX-License-Identifier: Apache-2.0
"""VideoStylizer: styled frames of videos, as a job of the Trainer's ``predict``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule
from torch import Tensor

from ..errors import BatchError, OptionError
from ..perturbations import StyleSet

__all__ = ("VideoStylizer",)

# On a CPU few enough for the floats to fit into memory that the process has already: larger steps take twice as long.
_PIXELS_PER_STEP = {"cpu": 2**18}
_PIXELS_PER_STEP_ELSEWHERE = 2**22
# Of the cores; the others read and write. PyTorch's threads spin while they wait for each other, so one without a core
# of its own holds up all: on two busy cores two threads have taken forty times as long as one.
_CORES_FOR_RENDERING = 0.75


class VideoStylizer(LightningModule):
    """Renders chunks of videos in styles, on the Trainer's device. It has nothing to train.

    A chunk is ``{"video": (1, 3, T, H, W) uint8, "styles": positions of the styles that are wanted}``, as
    WholeVideoDataModule gives it; one without ``"video"`` (a video that could not be read) has no frames.

    On a CPU PyTorch gets three quarters of the cores (shared by the processes of the machine, at least one thread, and
    no more than it was set to) while a chunk is rendered, and what it had before afterwards: the others read and write.

    Args:
        styles: names of styles, or files of networks that stylise; by default those of the data module.
        seed: the variant of the styles.

    Raises:
        OptionError: styles were given that are not those of the data module, whose folders they would go to.

    Example:
        >>> stylizer = VideoStylizer(["neon", "relief"])
        >>> chunk = {"video": torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8), "styles": [1]}
        >>> {style: frames.shape for style, frames in stylizer.predict_step(chunk, 0).items()}
        {1: torch.Size([2, 8, 8, 3])}
    """

    def __init__(self, styles: Sequence[str] | None = None, seed: int = 0) -> None:
        super().__init__()
        self.style_set = None if styles is None else StyleSet(list(styles), seed=seed)
        self._processes = 1

    def setup(self, stage: str) -> None:
        """Take the styles of the data module, and see how many processes share the machine."""
        self._processes = max(1, getattr(self.trainer, "num_devices", 1))
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        wanted = getattr(datamodule, "style_set", None)
        if wanted is None:
            return
        if self.style_set is not None and self.style_set.hash != wanted.hash:
            raise OptionError(
                f"VideoStylizer has the styles {', '.join(self.style_set.names)} (hash {self.style_set.hash}), the "
                f"data module {', '.join(wanted.names)} (hash {wanted.hash}). Give them to the data module alone."
            )
        self.style_set = wanted

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int, dataloader_idx: int = 0) -> dict[int, Tensor]:
        """Style a chunk.

        Returns:
            For the position of each style that is wanted, frames (T, H, W, 3), uint8, rounded to the nearest value.

        Raises:
            BatchError: the video is not (1, 3, T, H, W) of uint8.
            MisconfigurationException: neither this module nor the data module has styles.
        """
        if "video" not in batch:
            return {}
        if self.style_set is None:
            raise MisconfigurationException(
                "VideoStylizer has no styles: give it styles=['paint', …], or use WholeVideoDataModule."
            )
        video = batch["video"]
        if video.ndim != 5 or video.shape[:2] != (1, 3) or video.dtype != torch.uint8:
            raise BatchError(
                f"VideoStylizer styles one video at a time, (1, 3, T, H, W) of uint8; found {tuple(video.shape)} of "
                f"{video.dtype}."
            )
        # frames are to be the same whatever the Trainer's precision is
        with torch.autocast(video.device.type, enabled=False), _threads(video.device, self._processes):
            return {style: self._styled(self.style_set, style, video) for style in batch["styles"]}

    def _styled(self, styles: StyleSet, style: int, video: Tensor) -> Tensor:
        pixels = _PIXELS_PER_STEP.get(video.device.type, _PIXELS_PER_STEP_ELSEWHERE)
        frames = max(1, pixels // (video.shape[3] * video.shape[4]))
        parts = (video,) if styles[style].temporal else torch.split(video, frames, dim=2)
        return torch.cat([_pixels(styles.render(style, part.float() / 255)) for part in parts])


def _pixels(clip: Tensor) -> Tensor:
    """A clip (1, 3, T, H, W) in [0, 1] as frames (T, H, W, 3), uint8."""
    return (clip[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 3, 0).contiguous()


@contextmanager
def _threads(device: torch.device, processes: int) -> Iterator[None]:
    """Few enough threads of PyTorch that each has a core."""
    before = torch.get_num_threads()
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    wanted = max(1, min(before, int(_CORES_FOR_RENDERING * cores) // processes))
    if device.type != "cpu" or wanted == before:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)
