# SPDX-License-Identifier: Apache-2.0
"""What a style is, and the base class of styles that work frame by frame."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...errors import BatchError

__all__ = ("FrameStyle", "Style", "as_clip", "as_frames", "check_clip", "in_groups")

# Frames are styled in groups of about this many pixels: small enough for a CPU's cache, large enough to fill a GPU.
_PIXELS_PER_STEP = {"cpu": 2**18}
_PIXELS_PER_STEP_ELSEWHERE = 2**22


@runtime_checkable
class Style(Protocol):
    """A change of colour and texture that leaves the motion of a clip in place.

    Any object with these three members is a style; it need not derive from a class of this package. Two optional
    attributes, ``version`` (an integer) and ``parameters`` (a dict of plain values), enter the hash of a
    ``StyleSet``.
    """

    @property
    def name(self) -> str:
        """The style's name in reports."""
        ...

    @property
    def temporal(self) -> bool:
        """Whether the output of a frame depends on other frames of the clip."""
        ...

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        """Return the styled clips: same shape, dtype and device as ``clip`` (B, 3, T, H, W), pixels in [0, 1]."""
        ...


class FrameStyle(ABC):
    """Base of the built-in styles: every frame is styled by itself, in float32, on the device of the clip.

    A subclass is a frozen dataclass, so that its fields are its parameters, with a ``name`` and a ``style_frames``
    method. ``version`` counts changes of the pixels that a style gives, so that reports of different versions can be
    told apart.

    Styles made for a measurement of dynamics keep to a rule: pointwise maps and small filters that treat every
    position alike, constants for normalisation, no statistics of a frame or clip (they make the output depend on how
    a clip is cut), no randomness and no texture that is fixed in image coordinates (objects would slide behind it,
    which destroys the motion).

    Example:
        >>> class Negative(FrameStyle):
        ...     name = "negative"
        ...     def style_frames(self, frames, seed):
        ...         return 1 - frames
        >>> Negative()(torch.zeros(1, 3, 1, 2, 2)).mean()
        tensor(1.)
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    temporal: ClassVar[bool] = False

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters that the style was made with."""
        return asdict(self) if is_dataclass(self) else {}

    @abstractmethod
    def style_frames(self, frames: Tensor, seed: int) -> Tensor:
        """Style float32 frames (N, 3, H, W) in [0, 1]; values outside [0, 1] are clamped by the caller."""

    @torch.no_grad()
    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        """Style clips.

        Args:
            clip: floating-point clips (B, 3, T, H, W), RGB in [0, 1].
            seed: which variant of the style; 0 is the one the style was designed with, others turn its colours.

        Returns:
            Clips of the same shape, dtype and device, without gradient, in [0, 1].

        Raises:
            BatchError: the clip is not a floating-point tensor (B, 3, T, H, W).
        """
        check_clip(clip)

        def style(frames: Tensor) -> Tensor:
            return self.style_frames(frames.float().clamp(0, 1), seed).clamp_(0, 1).to(clip.dtype)

        return as_clip(in_groups(as_frames(clip), style), clip)


def as_frames(clip: Tensor) -> Tensor:
    """Return the frames (B * T, C, H, W) of clips (B, C, T, H, W), clip by clip.

    Example:
        >>> as_frames(torch.zeros(2, 3, 5, 4, 4)).shape
        torch.Size([10, 3, 4, 4])
    """
    return clip.transpose(1, 2).flatten(0, 1)


def as_clip(frames: Tensor, like: Tensor) -> Tensor:
    """Return clips (B, C, T, H, W) of their frames (B * T, C, H, W), clip by clip.

    Args:
        frames: the frames.
        like: clips of the same number and length.

    Example:
        >>> clip = torch.rand(2, 3, 5, 4, 4)
        >>> bool((as_clip(as_frames(clip), clip) == clip).all())
        True
    """
    batch, _, length = like.shape[:3]
    return frames.reshape(batch, length, *frames.shape[1:]).transpose(1, 2).contiguous()


def in_groups(frames: Tensor, style: Callable[[Tensor], Tensor]) -> Tensor:
    """Style frames (N, C, H, W) a few at a time: as many as suit the memory of their device.

    Args:
        frames: the frames.
        style: gives the styled frames (n, C', H, W) of frames (n, C, H, W).

    Returns:
        All styled frames (N, C', H, W).

    Example:
        >>> in_groups(torch.ones(2, 3, 4, 4), lambda frames: frames / 2).mean()
        tensor(0.5000)
    """
    pixels = _PIXELS_PER_STEP.get(frames.device.type, _PIXELS_PER_STEP_ELSEWHERE)
    size = max(1, pixels // max(1, frames.shape[-2] * frames.shape[-1]))
    return torch.cat([style(group) for group in torch.split(frames, size)])


def check_clip(clip: Tensor) -> None:
    """Check that ``clip`` is a batch of floating-point RGB clips.

    Args:
        clip: what should be (B, 3, T, H, W).

    Raises:
        BatchError: it is not; the message says what was found and how to change it.
    """
    if clip.ndim != 5 or clip.shape[1] != 3:
        hint = " These look like (B, T, 3, H, W): use video.transpose(1, 2)." if clip.shape[2:3] == (3,) else ""
        raise BatchError(f"Expected RGB clips of shape (B, 3, T, H, W), found {tuple(clip.shape)}.{hint}")
    if not clip.is_floating_point():
        raise BatchError(
            f"Expected floating-point pixels in [0, 1], found {clip.dtype}. Convert first: video.float() / 255."
        )
