# SPDX-License-Identifier: Apache-2.0
"""Inputs of several pathways, as SlowFast takes them: the same clip at several frame rates.

A clip is perturbed once, at its highest rate; the slower pathways are made from it anew, with the frames that they had
in the batch. Which frames these are is found by comparing the pathways with the usual rules of sampling.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor

from ..errors import BatchError

__all__ = ("are_pathways", "fastest", "repack")


def _time_dims(clips: Sequence[Tensor]) -> list[int]:
    return [dim for dim in range(5) if len({clip.shape[dim] for clip in clips}) > 1]


def are_pathways(value: Any) -> TypeGuard[list[Tensor] | tuple[Tensor, ...]]:
    """Whether this is a list or tuple of clips that differ in their number of frames alone.

    Example:
        >>> clip = torch.zeros(2, 3, 8, 4, 4)
        >>> are_pathways([clip[:, :, ::4], clip]), are_pathways([clip, clip])
        (True, False)
    """
    if type(value) not in (list, tuple) or len(value) < 2:
        return False
    if not all(isinstance(clip, Tensor) and clip.ndim == 5 and clip.dtype != torch.bool for clip in value):
        return False
    return _time_dims(value) in ([1], [2])  # time is in one of the two in every layout


def fastest(clips: Sequence[Tensor]) -> Tensor:
    """The clip of most frames.

    Example:
        >>> fastest([torch.zeros(1, 3, 2, 4, 4), torch.zeros(1, 3, 8, 4, 4)]).shape
        torch.Size([1, 3, 8, 4, 4])
    """
    return max(clips, key=lambda clip: clip.shape[_time_dims(clips)[0]])


def _rules(length: int, count: int) -> Iterator[tuple[int, ...]]:
    """The usual ways to take ``count`` of ``length`` frames, each once."""
    even = torch.linspace(0, length - 1, count)
    longest = (length - 1) // (count - 1) if count > 1 else length
    ways = [even.long().tolist()]  # PackPathway of SlowFast and PyTorchVideo
    for step in range(max(length // (count + 1), 1), longest + 1):
        ways += [list(range(start, length, step)) for start in range(step)]  # every n-th, from the first or a later one
    ways.append(even.round().long().tolist())
    yield from dict.fromkeys(tuple(way) for way in ways if len(way) == count)


def repack(clips: Sequence[Tensor], perturbed: Tensor) -> list[Tensor] | tuple[Tensor, ...]:
    """Make all pathways from a perturbed copy of the fastest one.

    Args:
        clips: the pathways of the batch.
        perturbed: what takes the place of the fastest; it may have fewer clips than the batch.

    Returns:
        As many pathways, in the same order and container.

    Raises:
        BatchError: if a pathway is not the fastest one at a lower frame rate.

    Example:
        >>> fast = torch.arange(8.0).view(1, 1, 8, 1, 1).expand(1, 3, 8, 2, 2)
        >>> slow, _ = repack([fast[:, :, ::4], fast], fast.flip(2))
        >>> slow[0, 0, :, 0, 0].tolist()
        [7.0, 3.0]
    """
    source, (time,) = fastest(clips), _time_dims(clips)
    if perturbed.shape[1:] != source.shape[1:]:
        raise BatchError(
            f"The batch holds pathways of which the longest is {tuple(source.shape)}, but the model is to be called "
            f"with {tuple(perturbed.shape)}. Say how with inputs=VideoInputs(forward=lambda module, video, batch: ...)."
        )
    packed = [perturbed if clip is source else _take(clip, source, perturbed, time) for clip in clips]
    return tuple(packed) if isinstance(clips, tuple) else packed


def _take(clip: Tensor, source: Tensor, perturbed: Tensor, time: int) -> Tensor:
    count, length = clip.shape[time], source.shape[time]
    for frames in _rules(length, count):
        index = torch.tensor(frames, device=source.device)
        # Where several rules fit, the frames in which they differ look alike.
        if torch.equal(source.index_select(time, index), clip):
            return perturbed.index_select(time, index)
    raise BatchError(
        f"The batch holds pathways of {count} and {length} frames, and the {count} are not every n-th or evenly spaced "
        "ones of the others. Say how to make the pathways from the longest with inputs=VideoInputs(forward=lambda "
        "module, video, batch: module([..., video]))."
    )
