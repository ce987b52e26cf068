# SPDX-License-Identifier: Apache-2.0
"""A trained few-shot network as a style."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import CheckpointError, CheckpointMismatchError
from ...perturbations.dis_flow import DisFlow, FlowEstimator
from ...perturbations.guides import draw_guides
from ...perturbations.styles.base import as_clip, check_clip, in_groups
from ...perturbations.styles.network_style import NetworkStyle
from ...perturbations.styles.registry import read_styles_with
from ...perturbations.temporal_filter import filter_over_time
from .loading import read_generator

__all__ = ("FewShotStyle",)


class FewShotStyle(NetworkStyle):
    """A generator of few-shot patch-based stylization (Texler et al. 2020), as a style.

    The checkpoint may be one of ``staticdropout styles train``, a state dict, or one of the authors' files. Where it
    was trained on filtered pictures or with guides, its clips are filtered and get guides too; both follow optical
    flow through the clip, so the style is ``temporal`` then, and every clip's guides start from the whole of its first
    frame. Otherwise each frame is painted by itself.

    Args:
        checkpoint: the file.
        name: the style's name in reports; the default is the name of the file without its ending, and for the
            authors' files, which are all called ``model_00020.pth``, that of its folder.
        half: run in half precision on CUDA devices, as the authors do.
        flow: estimates the optical flow that filter and guides follow; the default is :class:`.DisFlow`.

    Raises:
        UnsafeCheckpointError: the file asks for code to be run; none of it was.
        CheckpointMismatchError: the file holds the weights of something else, or its settings do not fit its weights.
        CheckpointError: the file is missing, damaged, or holds no weights; or a setting in it makes no sense.

    Example:
        >>> import tempfile
        >>> from staticdropout.models.stylization import PatchGenerator
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save(PatchGenerator(blocks=1).state_dict(), file.name)
        ...     style = FewShotStyle(file.name, name="mine")
        >>> style(torch.rand(1, 3, 2, 18, 22)).shape, style.temporal
        (torch.Size([1, 3, 2, 18, 22]), False)
    """

    def __init__(
        self,
        checkpoint: str | Path,
        name: str | None = None,
        half: bool = False,
        flow: FlowEstimator | None = None,
    ) -> None:
        generator, settings = read_generator(checkpoint)
        self.prefilter = _prefilter(settings, checkpoint)
        self.guide_sigmas = _sigmas(settings, generator.in_channels, checkpoint)
        self.guide_radius = _widths([settings.get("guide_radius") or 10], "guide_radius", checkpoint)[0]
        super().__init__(generator, name or _name_of(Path(checkpoint)), half=half)
        self.temporal = self.prefilter or bool(self.guide_sigmas)
        self.flow = flow or DisFlow()

    @property
    def parameters(self) -> dict[str, object]:
        """What tells this style from others, see :class:`.NetworkStyle`; and what is done to clips before."""
        before: dict[str, object] = {"prefilter": self.prefilter, "guide_sigmas": list(self.guide_sigmas)}
        if self.guide_sigmas:
            before["guide_radius"] = self.guide_radius
        if self.temporal:
            before["flow"] = self.flow.name
        return super().parameters | before

    @torch.no_grad()
    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        """Style clips, see :class:`.NetworkStyle`."""
        if not self.temporal:
            return super().__call__(clip, seed=seed)
        check_clip(clip)
        prepared = torch.cat([self._prepare(frames.float().clamp(0, 1)) for frames in clip.transpose(1, 2)])
        return as_clip(in_groups(prepared, self.style_frames).to(clip.dtype), clip)

    def _prepare(self, frames: Tensor) -> Tensor:
        """Filter the frames (T, 3, H, W) of a clip and put its guides behind them: (T, 3 + 3 * guides, H, W)."""
        length, _, *size = frames.shape
        if length > 1:
            pixels = frames.mul(255).round().byte().cpu()
            forward, backward = self.flow(pixels), self.flow(pixels.flip(0)).flip(0)
        else:
            forward = backward = frames.new_zeros(0, 2, *size)
        filtered = filter_over_time(frames, forward, backward) if self.prefilter else frames
        whole = {0: torch.ones(*size, dtype=torch.bool)}
        guides = [
            draw_guides((size[0], size[1]), length, whole, forward, backward, self.guide_radius, sigma)
            for sigma in self.guide_sigmas
        ]
        return torch.cat([filtered, *(guide.to(frames) for guide in guides)], dim=1)


def _name_of(path: Path) -> str:
    numbered = re.fullmatch(r"model_\d+", path.stem)
    return path.resolve().parent.name if numbered else path.stem


def _prefilter(settings: Mapping[str, Any], checkpoint: str | Path) -> bool:
    found = settings.get("prefilter")
    if found is not None and not isinstance(found, bool):
        raise CheckpointError(_senseless(checkpoint, "prefilter", found, "true or false"))
    return bool(found)


def _widths(values: Any, setting: str, checkpoint: str | Path) -> tuple[float, ...]:
    is_list = isinstance(values, list | tuple)
    if not is_list or not all(isinstance(value, int | float) and 0 < value < math.inf for value in values):
        raise CheckpointError(_senseless(checkpoint, setting, values, "widths in pixels, numbers above 0"))
    return tuple(float(value) for value in values)


def _senseless(checkpoint: str | Path, setting: str, found: object, expected: str) -> str:
    return (
        f"{str(checkpoint)!r} says {setting}: {found!r} of its training, expected {expected}. Take the file as "
        "`staticdropout styles train` wrote it, or load its network alone with load_generator."
    )


def _sigmas(settings: Mapping[str, Any], in_channels: int, checkpoint: str | Path) -> tuple[float, ...]:
    sigmas = _widths(settings.get("guide_sigmas") or (), "guide_sigmas", checkpoint)
    expected = in_channels // 3 - 1
    if len(sigmas) != expected:
        raise CheckpointMismatchError(
            f"{str(checkpoint)!r} takes {expected} guide pictures, but its settings name {len(sigmas)} "
            f"(guide_sigmas: {list(sigmas)}). A checkpoint of `staticdropout styles train` says how its guides are "
            "drawn; for another file, put the generator (load_generator) into a style of your own that draws them."
        )
    return sigmas


read_styles_with(FewShotStyle)
