# SPDX-License-Identifier: Apache-2.0
"""How many frames styled videos have, and which are not whole: with gaps, or other frames in another style."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from ..errors import AnnotationError
from ..perturbations.protocols import ProtocolVideo
from .style_provenance import read_style_file
from .styled_videos import Listed, StyledFolder
from .threads import map_in_threads

__all__ = ("count_frames", "counted")


def count_frames(folder: StyledFolder, video: str, first_frame: int | None = None) -> int:
    """Return the number of frames of a video.

    Args:
        folder: the styled data set.
        video: name of the video.
        first_frame: the number that frames have to begin with; None: any.

    Raises:
        AnnotationError: the frames are not the same in every style, or a number is left out between two others, or at
            the beginning.
    """
    names = [name for name, _ in folder.pattern.named_frames(folder.root, *folder.styles[0][::-1], video)]
    for style in folder.styles[1:]:
        others = [name for name, _ in folder.pattern.named_frames(folder.root, *style[::-1], video)]
        if others != names:
            first, second = (
                str(folder.pattern.folder(folder.root, *one[::-1], video)) for one in (folder.styles[0], style)
            )
            odd = sorted(map(str, set(names) ^ set(others)))
            example = f" (frame {odd[0]}, for example, is in one of them alone)" if odd else ""
            raise AnnotationError(
                f"Video {video!r} has {len(names)} frames in {first!r} and {len(others)} in {second!r}{example}: "
                "styled copies must have the same frames. Stylise it again, or remove it from the first style to leave "
                "it out."
            )
    numbers = [name for name in names if isinstance(name, int)]
    if not numbers:
        return len(names)
    start = numbers[0] if first_frame is None else first_frame
    wrong = next(((number, start + place) for place, number in enumerate(numbers) if number != start + place), None)
    if wrong is not None:
        where = str(folder.folder(video))
        raise AnnotationError(
            f"Video {video!r} has the frame {wrong[0]} in {where!r} where {wrong[1]} is expected: what is shown "
            "later would be shifted. Stylise it again, or remove it from the first style to leave it out."
        )
    return len(names)


def counted(
    folder: StyledFolder,
    videos: Iterable[Listed],
    takes: Callable[[ProtocolVideo], Any],
    wanted: int,
    fps: float,
    on_error: Literal["skip", "raise"] = "raise",
) -> tuple[list[tuple[Listed, ProtocolVideo]], dict[str, str]]:
    """Count the frames of videos, until there are as many as are wanted that a protocol takes.

    Where there is a ``styles.json``, the frames of every video have to begin with the number of its pattern.

    Args:
        folder: the styled data set.
        videos: in order.
        takes: whether a video can be used.
        wanted: how many.
        fps: frames a second, for annotated parts in seconds.
        on_error: leave out videos that are not whole, or raise.

    Returns:
        The videos that are taken, and by their names the reasons of those that are not whole.

    Raises:
        AnnotationError: a video is not whole, see :func:`count_frames`.
    """
    first_frame = None if read_style_file(folder.root) is None else folder.pattern.first_frame

    def look(video: Listed) -> tuple[Listed, ProtocolVideo | AnnotationError]:
        parts = None
        if video.spans is not None:
            parts = tuple((math.floor(span.start * fps), math.floor(span.end * fps)) for span in video.spans)
        try:
            return video, ProtocolVideo(video.name, count_frames(folder, video.name, first_frame), parts)
        except AnnotationError as error:
            return video, error

    taken: list[tuple[Listed, ProtocolVideo]] = []
    left_out: dict[str, str] = {}
    for video, found in map_in_threads(look, videos):
        if isinstance(found, AnnotationError):
            if on_error == "raise":
                raise found
            left_out[video.name] = str(found)
        elif takes(found):
            taken.append((video, found))
            if len(taken) == wanted:
                break
    return taken, left_out
