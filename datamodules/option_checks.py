# SPDX-License-Identifier: Apache-2.0
"""Options of segmentation data, checked where they are given: sizes, counts, frames in a clip."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError

__all__ = ("as_size", "check_clip_frames", "check_counts")


def as_size(name: str, size: int | Sequence[int]) -> tuple[int, int]:
    """Return (height, width) of a size in pixels; one number means a square.

    Args:
        name: the option, for the message.
        size: what was given.

    Raises:
        OptionError: it is neither a whole number of at least 1 nor a pair of them.

    Example:
        >>> as_size("size", 96), as_size("size", [24, 40])
        ((96, 96), (24, 40))
    """
    sides = tuple(size) if isinstance(size, (list, tuple)) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) and side >= 1 for side in sides):
        raise OptionError(
            f"{name} must be (height, width), or one whole number for a square, in pixels and at least 1; got {size!r}."
        )
    return sides


def check_counts(*, optional: bool = False, **counts: int | None) -> None:
    """Refuse counts that are too small or not whole numbers.

    Args:
        optional: whether None is allowed.
        **counts: what was given, by the option's name.

    Raises:
        OptionError: one of them is not allowed; the message says what is.

    Example:
        >>> check_counts(optional=True, limit=None, eval_batch_size=1)
    """
    null = ", or null" if optional else ""
    for name, count in counts.items():
        if (count is None and optional) or (isinstance(count, int) and count >= 1):
            continue
        raise OptionError(f"{name} must be a whole number of at least 1{null}; got {count!r}.")


def check_clip_frames(clip_frames: int) -> None:
    """Refuse a number of frames in a clip that no network takes.

    Raises:
        OptionError: it is neither 1 nor 2.

    Example:
        >>> check_clip_frames(2)
    """
    if clip_frames not in (1, 2):
        raise OptionError(f"clip_frames must be 1, or 2 for networks that take pairs of frames; got {clip_frames!r}.")
