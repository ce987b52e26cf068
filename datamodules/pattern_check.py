# SPDX-License-Identifier: Apache-2.0
"""Whether the frames of a styled data set lie where a pattern says, and which pattern they fit if not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

from ..errors import DatasetNotFoundError, OptionError
from .frame_patterns import FRAME_PATTERNS, FramePattern
from .picture_folders import first_picture
from .styled_videos import StyledFolder

__all__ = ("check_pattern",)

_LOOKED_AT = 20  # videos, where a few tell


def check_pattern(folder: StyledFolder) -> None:
    """Make sure that files of the first style fit the pattern, and that there are videos in the others.

    Raises:
        DatasetNotFoundError: there is no picture at all, or no video in one of the styles.
        OptionError: none of the first few videos has a frame of this pattern; an example of what is there, and which
            pattern fits it, are named.
    """
    videos = folder.videos()[:_LOOKED_AT]
    for style, (number, name) in enumerate(folder.styles):
        if any(folder.frames(style, video) for video in videos):
            continue
        if style == 0:
            _refuse(folder)
        if not folder.pattern.videos(folder.root, name, number):
            expected = folder.pattern.folder(folder.root, name, number, "VIDEO")
            hint = f"There are no videos in the style {name!r}: stylise them, or leave it out by --data.styles."
            raise DatasetNotFoundError(folder.root, [expected], hint)


def _refuse(folder: StyledFolder) -> NoReturn:
    number, name = folder.styles[0]
    top = folder.folder("video").parent
    top = top if top.is_dir() else folder.root
    example = first_picture(top)
    if example is None:
        frame = "frame" if folder.pattern.by_stem else folder.pattern.first_frame
        expected = folder.pattern.path(folder.root, name, number, "VIDEO", frame)
        raise DatasetNotFoundError(folder.root, [expected], f"There are no pictures in {str(top)!r}.")
    raise OptionError(
        f"No file in {str(top)!r} fits the pattern {folder.pattern.text!r}; there is, for example, "
        f"{example.relative_to(folder.root).as_posix()!r}. {_advice(folder, top, example)}"
    )


def _advice(folder: StyledFolder, top: Path, example: Path) -> str:
    """Which pattern a picture fits: a convention, or that of the folder with the number where the picture has it."""
    (number, name), video = folder.styles[0], example.parent.relative_to(top).as_posix()
    patterns = dict(FRAME_PATTERNS)
    digits = re.fullmatch(r"([^{}]*?)(\d+)(\.(?:jpg|jpeg|png))", example.name)
    if digits is not None:
        file = f"{digits[1]}{{frame:0{len(digits[2])}d}}{digits[3]}"
        text = f"{folder.pattern.text.rpartition('/')[0]}/{file}"
        patterns[repr(text)] = FramePattern(text, folder.pattern.first_frame)
    for known, pattern in patterns.items() if example.parent != top else ():
        if any(example in pattern.frames(folder.root, name, number, one) for one in (video, video.removeprefix("v_"))):
            return f"It fits {known}: set --data.pattern {known}."
    return "Set --data.pattern."
