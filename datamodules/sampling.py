# SPDX-License-Identifier: Apache-2.0
"""Which frames of a video make a clip.

Pure functions of the video's length. Random choices come from torch's generator: the global one, which the loaders of
our data modules seed for every item (see :mod:`.draws`), or one that is passed in.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import OptionError

__all__ = ("Sampling", "dense_indices", "sample_clips", "segment_indices", "window_indices")

Sampling: TypeAlias = Literal["segment", "dense", "window"]

_SLACK = 1e-6  # of a frame: what rounding in floating point may take off a whole number


def _check(length: int, num_frames: int, num_clips: int) -> None:
    if length < 1 or num_frames < 1 or num_clips < 1:
        raise OptionError(
            "The video's length, num_frames and num_clips must be at least 1; "
            f"got {length}, {num_frames} and {num_clips}."
        )


def _check_stride(stride: float) -> None:
    if not stride > 0:
        raise OptionError(f"The stride must be at least 1, or above 0 where it is not a whole number; got {stride}.")


def segment_indices(
    length: int,
    num_frames: int,
    *,
    training: bool = False,
    num_clips: int = 1,
    generator: torch.Generator | None = None,
) -> NDArray[np.int64]:
    """One frame from each of ``num_frames`` equal segments of the whole video.

    This is the sampling of Something-Something V2 in SlowFast: segment i reaches from ``round(seg * i)`` to
    ``round(seg * (i + 1))``, both included, with ``seg = (length - 1) / num_frames`` and halves rounded to even.
    Training takes a random frame of it, evaluation the middle one (rounded down). With ``num_clips = K`` in
    evaluation, clip k takes the frame at the share ``(2k + 1) / 2K`` of the segment, so that K clips lie evenly around
    the middle.

    A video shorter than ``num_frames`` repeats frames.

    Args:
        length: number of frames in the video, at least 1.
        num_frames: frames in a clip.
        training: random instead of fixed.
        num_clips: clips to take. In training each one is drawn independently.
        generator: source of randomness in training; None: torch's global one.

    Returns:
        Frame numbers in ``[0, length)``, not decreasing, of shape ``(num_clips, num_frames)``.

    Raises:
        OptionError: an argument is smaller than 1.

    Example:
        >>> segment_indices(49, 8)
        array([[ 3,  9, 15, 21, 27, 33, 39, 45]])
        >>> segment_indices(49, 4, num_clips=2).tolist()
        [[3, 15, 27, 39], [9, 21, 33, 45]]
    """
    _check(length, num_frames, num_clips)
    edges = np.round((length - 1) / num_frames * np.arange(num_frames + 1)).astype(np.int64)
    start, width = edges[:-1], np.diff(edges)
    if training:
        share = torch.rand(num_clips, num_frames, generator=generator, dtype=torch.float64).numpy()
        offset = (share * (width + 1)).astype(np.int64)
    else:
        offset = width * (2 * np.arange(num_clips)[:, None] + 1) // (2 * num_clips)
    indices: NDArray[np.int64] = start + offset
    return indices


def dense_indices(
    length: int,
    num_frames: int,
    stride: float,
    *,
    training: bool = False,
    num_clips: int = 1,
    generator: torch.Generator | None = None,
) -> NDArray[np.int64]:
    """``num_frames`` frames at every ``stride``-th position of a window.

    Training puts the window anywhere with equal probability; evaluation puts one window into the centre, or
    ``num_clips`` windows evenly from the first frame to the last. In a video that is shorter than the window, the
    frames past its end repeat its last frame.

    Args:
        length: number of frames in the video, at least 1.
        num_frames: frames in a clip.
        stride: distance of neighbouring frames of the clip, in frames of the video, above 0; positions between two
            frames are rounded down.
        training: random instead of fixed.
        num_clips: clips to take. In training each one is drawn independently.
        generator: source of randomness in training; None: torch's global one.

    Returns:
        Frame numbers in ``[0, length)``, not decreasing, of shape ``(num_clips, num_frames)``.

    Raises:
        OptionError: an argument is smaller than 1, or the stride not above 0.

    Example:
        >>> dense_indices(20, 4, 2)
        array([[ 6,  8, 10, 12]])
        >>> dense_indices(20, 4, 2, num_clips=3)[:, 0].tolist()
        [0, 6, 13]
        >>> dense_indices(5, 4, 2).tolist()
        [[0, 2, 4, 4]]
    """
    _check(length, num_frames, num_clips)
    _check_stride(stride)
    steps = np.floor(stride * np.arange(num_frames) + _SLACK).astype(np.int64)
    slack = max(length - (int(steps[-1]) + 1), 0)
    if training:
        start = torch.randint(slack + 1, (num_clips,), generator=generator).numpy()
    elif num_clips == 1:
        start = np.array([slack // 2])
    else:
        start = slack * np.arange(num_clips) // (num_clips - 1)
    indices: NDArray[np.int64] = np.minimum(start[:, None] + steps, length - 1).astype(np.int64)
    return indices


def window_indices(
    length: int,
    num_frames: int,
    stride: float,
    *,
    training: bool = False,
    num_clips: int = 1,
    generator: torch.Generator | None = None,
) -> NDArray[np.int64]:
    """``num_frames`` frames spread evenly over a window of ``num_frames * stride`` frames, both ends included.

    This is how SlowFast, PyTorchVideo and TimeSformer sample Kinetics: 8 frames at stride 8 are the frames 0, 9, 18, …,
    63 of the window, not 0, 8, 16, …, 56. Training puts the window anywhere with equal probability. Evaluation with
    ``num_clips = K`` above 1 puts window k at the share ``k / K`` of what the video is longer than the window (so the
    last one ends before the video does), as in SlowFast's 10 clips; with one clip it takes the centre, where SlowFast's
    own test would take the beginning. Positions between two frames are rounded down, those past the end of a short
    video repeat its last frame.

    Args:
        length: number of frames in the video, at least 1.
        num_frames: frames in a clip.
        stride: length of the window divided by num_frames, in frames of the video, above 0.
        training: random instead of fixed.
        num_clips: clips to take. In training each one is drawn independently.
        generator: source of randomness in training; None: torch's global one.

    Returns:
        Frame numbers in ``[0, length)``, not decreasing, of shape ``(num_clips, num_frames)``.

    Raises:
        OptionError: an argument is smaller than 1, or the stride not above 0.

    Example:
        >>> window_indices(64, 8, 8)
        array([[ 0,  9, 18, 27, 36, 45, 54, 63]])
        >>> window_indices(164, 8, 8, num_clips=10)[:, 0].tolist()
        [0, 10, 20, 30, 40, 50, 60, 70, 80, 90]
    """
    _check(length, num_frames, num_clips)
    _check_stride(stride)
    size = max(1.0, num_frames * stride)
    slack = max(length - size, 0.0)
    if training:
        start = slack * torch.rand(num_clips, generator=generator, dtype=torch.float64).numpy()
    else:
        start = slack * (np.arange(num_clips) / num_clips if num_clips > 1 else np.array([0.5]))
    positions = start[:, None] + np.linspace(0, size - 1, num_frames) + _SLACK
    return np.minimum(np.floor(positions), length - 1).astype(np.int64)


def sample_clips(
    length: int,
    num_frames: int,
    *,
    sampling: Sampling = "segment",
    stride: float = 1,
    training: bool = False,
    num_clips: int = 1,
    generator: torch.Generator | None = None,
) -> NDArray[np.int64]:
    """Frame numbers of clips by the name of the sampling.

    That is :func:`segment_indices`, :func:`dense_indices` or :func:`window_indices`.

    Example:
        >>> sample_clips(20, 4, sampling="dense", stride=5)
        array([[ 2,  7, 12, 17]])
    """
    if sampling == "segment":
        return segment_indices(length, num_frames, training=training, num_clips=num_clips, generator=generator)
    if sampling == "dense":
        return dense_indices(length, num_frames, stride, training=training, num_clips=num_clips, generator=generator)
    if sampling == "window":
        return window_indices(length, num_frames, stride, training=training, num_clips=num_clips, generator=generator)
    raise OptionError(f"sampling is 'segment', 'dense' or 'window', not {sampling!r}.")
