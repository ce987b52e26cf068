# SPDX-License-Identifier: Apache-2.0
"""Frame shuffling: a clip's appearance stays, its dynamics go.

Source: Kowal et al., "Quantifying and Learning Static vs. Dynamic Information in Deep Spatiotemporal Networks", Sec.
3.1 (static pairs of the measure) and 5.2 (shuffled copies of a training batch).

Each clip gets a permutation of its own, never the identity. Still, a clip that repeats frames (a still scene, or a
video shorter than the clip and padded with its last frame) may look the same after shuffling: the permutation moved
equal frames.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import BatchError

__all__ = ("draw_permutations", "shuffle_frames", "shuffled_by_key")


def draw_permutations(batch: int, length: int, generator: torch.Generator) -> Tensor:
    """Draw a permutation of the frames for every clip, uniformly from all but the identity.

    Args:
        batch: number of clips.
        length: frames per clip, at least 2.
        generator: where the randomness comes from; its state moves on. PyTorch's global generator is left alone.

    Returns:
        Permutations (batch, length), int64, on the generator's device.

    Raises:
        BatchError: the clips have fewer than two frames. It is a ``ValueError``.

    Example:
        >>> draw_permutations(3, 2, torch.Generator().manual_seed(0)).tolist()
        [[1, 0], [1, 0], [1, 0]]
    """
    if length < 2:
        raise BatchError(
            f"A clip of {length} frame(s) cannot be shuffled: there is no order to change. "
            "Use clips of at least 2 frames, and check which dimension is time (time_dim)."
        )
    identity = torch.arange(length, device=generator.device)
    permutations = identity.repeat(batch, 1)
    for row in permutations:
        while bool(
            (row == identity).all()
        ):  # rejection keeps the others equally likely; 2 frames take 2 draws on average
            row.copy_(torch.randperm(length, generator=generator, device=generator.device))
    return permutations


def shuffle_frames(video: Tensor, permutations: Tensor, time_dim: int = 2) -> Tensor:
    """Put the frames of each clip in the order of its permutation: frame ``t`` becomes frame ``permutations[b, t]``.

    Args:
        video: clips of any dtype on any device, (B, C, T, H, W) or with time elsewhere.
        permutations: (B, T), integers.
        time_dim: the dimension of time, not 0; 1 for (B, T, C, H, W).

    Returns:
        The shuffled clips, a contiguous copy. Gradients flow through.

    Raises:
        BatchError: the shapes do not fit.

    Example:
        >>> video = torch.arange(3).reshape(1, 1, 3, 1, 1)
        >>> shuffle_frames(video, torch.tensor([[2, 0, 1]])).flatten().tolist()
        [2, 0, 1]
    """
    dim = _time_dim(video, time_dim)
    expected = (video.shape[0], video.shape[dim])
    if tuple(permutations.shape) != expected:
        raise BatchError(
            f"Expected one permutation of the frames for each clip, shape {expected} (clips, frames), found "
            f"{tuple(permutations.shape)} for a video of {tuple(video.shape)} with time in dimension {dim}."
        )
    # One index for each dimension up to time, laid out so that they broadcast: one pass, and the copy is contiguous.
    index = [
        torch.arange(size, device=video.device).view([-1 if i == j else 1 for j in range(dim + 1)])
        for i, size in enumerate(video.shape[:dim])
    ]
    index.append(permutations.to(video.device).view([expected[0], *[1] * (dim - 1), expected[1]]))
    return video[tuple(index)]


def shuffled_by_key(video: Tensor, keys: Sequence[object], seed: object = 0, time_dim: int = 2) -> Tensor:
    """Return a copy of the clips with shuffled frames, where a clip's order depends on the seed and its key alone.

    The same clip gets the same order in whatever batch, place or process it comes.

    Args:
        video: clips of any dtype on any device, (B, C, T, H, W) or with time elsewhere.
        keys: what names each of the B clips: ids, or positions in the data set.
        seed: start of all draws; anything with a stable ``str``.
        time_dim: the dimension of time, not 0.

    Raises:
        BatchError: the clips have fewer than two frames, the video has no such dimension, or there are not B keys.

    Example:
        >>> video = torch.rand(2, 3, 8, 4, 4)
        >>> both = shuffled_by_key(video, ["a", "b"])
        >>> torch.equal(both[1:], shuffled_by_key(video[1:], ["b"]))
        True
    """
    dim = _time_dim(video, time_dim)
    if len(keys) != len(video):
        raise BatchError(f"Expected one key for each of the {len(video)} clips, found {len(keys)}.")
    if not len(video):
        return video.clone()
    generator = torch.Generator()
    permutations = []
    for key in keys:
        digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=7).digest()
        generator.manual_seed(int.from_bytes(digest, "little"))
        permutations.append(draw_permutations(1, video.shape[dim], generator))
    return shuffle_frames(video, torch.cat(permutations), dim)


def _time_dim(video: Tensor, time_dim: int) -> int:
    """Return the dimension of time as a positive number, after checking that it is one."""
    dim = time_dim + video.ndim if time_dim < 0 else time_dim
    if not 0 < dim < video.ndim:
        raise BatchError(
            f"time_dim={time_dim} is not a dimension of time of a video of shape {tuple(video.shape)}: "
            "dimension 0 holds the clips. Use 2 for (B, C, T, H, W) or 1 for (B, T, C, H, W)."
        )
    return dim
