# SPDX-License-Identifier: Apache-2.0
"""Where the frames of styled copies of videos lie: patterns of paths, and the conventions that are known by name."""

from __future__ import annotations

import itertools
import re
import string
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import OptionError
from .picture_folders import PICTURES, picture_folders

__all__ = ("FRAME_PATTERNS", "FramePattern", "check_name")

_FIELDS = ("k", "style", "video", "frame", "stem")
_EXAMPLE = "style_{k}/{video}/frame_{frame:05d}.jpg"


def check_name(kind: str, name: str) -> str:
    """Return a name that is safe as a part of a path.

    Slashes are allowed, as sequences of some data sets have them in their names; what would lead out of its folder, or
    be hidden, is not.

    Args:
        kind: what it is the name of, for the message.
        name: the name.

    Raises:
        OptionError: it is empty, absolute, has a backslash or a NUL, or a part of it begins with a dot.

    Example:
        >>> check_name("video", "train/bear")
        'train/bear'
        >>> check_name("video", "../bear")
        Traceback (most recent call last):
            ...
        staticdropout.errors.OptionError: The video '../bear' cannot be the name of a folder: expected parts that are...
    """
    if not name or "\\" in name or "\0" in name or any(not part or part.startswith(".") for part in name.split("/")):
        raise OptionError(
            f"The {kind} {name!r} cannot be the name of a folder: expected parts that are not empty, do not begin with "
            "a dot and hold no backslash. Rename it, or leave it out."
        )
    return name


@dataclass(frozen=True)
class FramePattern:
    """A pattern of the paths of frames in styled copies of videos.

    The fields are ``{k}`` (number of the style, from 1), ``{style}`` (its name), ``{video}`` (name of the video or
    sequence), and for the frame either ``{frame}`` (its number, as ``{frame:05d}`` with leading zeros) or ``{stem}``
    (the name of the original picture without its ending). Video and style stand in folders, the frame in the file name,
    so that a video in one style is a folder of its own.

    Attributes:
        text: the pattern, with slashes.
        first_frame: the number of a video's first frame.

    Raises:
        OptionError: a field is unknown or missing or in the wrong place, the path leads out of its folder, or the file
            is neither JPEG nor PNG.

    Example:
        >>> pattern = FramePattern("style_{k}/{video}/frame_{frame:05d}.jpg")
        >>> pattern.path("out", "chalk", 2, "76281", 7).as_posix()
        'out/style_2/76281/frame_00007.jpg'
        >>> FramePattern("{style}/{film}/{frame}.jpg")
        Traceback (most recent call last):
            ...
        staticdropout.errors.OptionError: The pattern '{style}/{film}/{frame}.jpg' has the unknown field {film}: ...
    """

    text: str
    first_frame: int = 1

    def __post_init__(self) -> None:
        """Check the pattern."""
        folder, file = self._split()
        inside, named = _fields(self.text, folder), _fields(self.text, file)
        if "video" not in inside:
            self._refuse("has no {video} in a folder")
        if not {"k", "style"} & set(inside):
            self._refuse("has neither {k} nor {style} in a folder")
        if {"frame", "stem"} & set(inside) or len({"frame", "stem"} & set(named)) != 1 or named.count("frame") > 1:
            self._refuse("needs one {frame} or one {stem}, in the file name")
        if "video" in named or inside.count("video") > 1:
            self._refuse("has {video} twice, or in the file name")
        parts = self.text.split("/")
        if self.text.startswith("/") or "\\" in self.text or any(not part or part.startswith(".") for part in parts):
            self._refuse("leads out of its folder, or to hidden files")
        if self.suffix not in PICTURES:
            self._refuse(f"ends in {self.suffix!r}, which is none of {', '.join(PICTURES)}")
        if not isinstance(self.first_frame, int) or self.first_frame < 0:
            raise OptionError(
                f"first_frame={self.first_frame!r} must be a whole number of 0 or more; the pattern is {self.text!r}."
            )

    @classmethod
    def of(cls, pattern: FramePattern | str, first_frame: int | None = None) -> FramePattern:
        """Return a pattern from the name of a convention, or from its text.

        Args:
            pattern: one of ``FRAME_PATTERNS``, or a text with fields, or a pattern.
            first_frame: the number of a video's first frame; None: that of the convention, or 1.

        Raises:
            OptionError: it is neither, or not allowed.

        Example:
            >>> FramePattern.of("ssv2")
            FramePattern(text='style_{k}/{video}/{frame:06d}.jpg', first_frame=1)
        """
        if isinstance(pattern, str):
            if pattern in FRAME_PATTERNS:
                pattern = FRAME_PATTERNS[pattern]
            elif "{" in pattern:
                pattern = cls(pattern)
            else:
                raise OptionError(
                    f"There is no frame pattern called {pattern!r}. There are: {', '.join(FRAME_PATTERNS)}; or write "
                    f"one, such as {_EXAMPLE!r}."
                )
        return pattern if first_frame is None else cls(pattern.text, first_frame)

    def _refuse(self, problem: str) -> None:
        raise OptionError(f"The pattern {self.text!r} {problem}. A pattern looks like {_EXAMPLE!r}.")

    def _split(self) -> tuple[str, str]:
        folder, _, file = self.text.rpartition("/")
        return folder, file

    @property
    def suffix(self) -> str:
        """The ending of the files: ``".jpg"``, ``".jpeg"`` or ``".png"``."""
        return PurePosixPath(self.text).suffix

    @property
    def by_stem(self) -> bool:
        """Whether frames are named after the original pictures."""
        return "stem" in _fields(self.text, self._split()[1])

    @property
    def numbers_styles(self) -> bool:
        """Whether a style's number is in the path, so that the order of styles matters."""
        return "k" in _fields(self.text, self.text)

    def folder(self, root: str | Path, style: str, k: int, video: str) -> Path:
        """Return the folder of a video in a style.

        Args:
            root: folder of the styled data set.
            style: name of the style.
            k: number of the style, from 1.
            video: name of the video or sequence.

        Raises:
            OptionError: a name would lead out of its folder.
        """
        names = {"style": check_name("style", style), "video": check_name("video", video)}
        return Path(root, self._split()[0].format(k=k, **names))

    def file_name(self, frame: int | str, style: str = "", k: int = 1) -> str:
        """Return the file name of a frame.

        Args:
            frame: its number, counted from ``first_frame``, or with ``{stem}`` the stem of the original picture.
            style: name of the style, for patterns that have it in the file name.
            k: number of the style.

        Raises:
            OptionError: a number was given for a pattern with ``{stem}``, or a stem for one with ``{frame}``, or the
                stem has slashes.
        """
        if isinstance(frame, str) != self.by_stem:
            wanted = "the stem of a picture" if self.by_stem else "the number of a frame"
            raise OptionError(f"The pattern {self.text!r} needs {wanted}, found {frame!r}.")
        if isinstance(frame, str) and "/" in check_name("frame", frame):
            raise OptionError(f"The frame {frame!r} cannot be the name of a file: it has a slash.")
        return self._split()[1].format(frame=frame, stem=frame, style=style, k=k)

    def path(self, root: str | Path, style: str, k: int, video: str, frame: int | str) -> Path:
        """Return the path of a frame; see :meth:`folder` and :meth:`file_name`."""
        return self.folder(root, style, k, video) / self.file_name(frame, style, k)

    def frames(self, root: str | Path, style: str, k: int, video: str) -> list[Path]:
        """Return the frames of a video in a style that are on disk, in the order of their numbers.

        Files of other names do not count. Empty where there is no such folder.

        Example:
            >>> FRAME_PATTERNS["ssv2"].frames("/nowhere", "chalk", 1, "76281")
            []
        """
        return [path for _, path in self.named_frames(root, style, k, video)]

    def named_frames(self, root: str | Path, style: str, k: int, video: str) -> list[tuple[int | str, Path]]:
        """Return what :meth:`frames` does, each with its number, or with ``{stem}`` its stem.

        Example:
            >>> FRAME_PATTERNS["ssv2"].named_frames("/nowhere", "chalk", 1, "76281")
            []
        """
        folder = self.folder(root, style, k, video)
        expression = re.compile(_expression(self._split()[1], style, k))
        if not folder.is_dir():
            return []
        found = [
            (match["stem"] if self.by_stem else int(match["frame"]), path)
            for match, path in ((expression.fullmatch(path.name), path) for path in folder.iterdir())
            if match and not path.name.startswith(".")
        ]
        return sorted(found, key=lambda frame: (_order(str(frame[0])), frame[1]))

    def videos(self, root: str | Path, style: str, k: int) -> list[str]:
        """Return the names of the videos that are on disk in a style, in alphabetical order.

        Those are the folders that fit the pattern and hold a picture. Hidden folders do not count.
        """
        parts = self._split()[0].split("/")
        fixed = list(itertools.takewhile(lambda part: "{video}" not in part, parts))
        base = Path(root, *(part.format(k=k, style=style) for part in fixed))
        expression = re.compile(_expression("/".join(parts[len(fixed) :]), style, k))
        matches = (expression.fullmatch(name) for name in picture_folders(base))
        return sorted(match["video"] for match in matches if match)


def _fields(text: str, part: str) -> list[str]:
    """The names of the fields in a part of a pattern; OptionError for one that is not allowed."""
    fields = []
    try:
        parsed = list(string.Formatter().parse(part))
    except ValueError as error:
        raise OptionError(f"The pattern {text!r} cannot be read: {error}. It looks like {_EXAMPLE!r}.") from error
    for _, name, specification, conversion in parsed:
        if name is None:
            continue
        if name not in _FIELDS:
            known = ", ".join(f"{{{field}}}" for field in _FIELDS)
            raise OptionError(f"The pattern {text!r} has the unknown field {{{name}}}: there are {known}.")
        numeric = name in ("k", "frame")
        if conversion or (specification and not (numeric and re.fullmatch(r"0?\d{0,2}d", specification))):
            raise OptionError(
                f"The pattern {text!r} has {{{name}:{specification}}}: only {{frame}} and {{k}} take a width, such as "
                "{frame:05d}."
            )
        fields.append(name)
    return fields


def _expression(part: str, style: str, k: int) -> str:
    """A regular expression for a part of a pattern, in which the style is settled."""
    expression = ""
    for literal, name, specification, _ in string.Formatter().parse(part):
        expression += re.escape(literal)
        if name in ("k", "style"):
            expression += re.escape(f"{{{name}:{specification}}}".format(k=k, style=style))
        elif name == "frame":
            expression += rf"(?P<frame>\d{{{int((specification or '').strip('d') or 1)},}})"
        elif name is not None:
            inside = r"[^/]+" if name == "stem" else r".+"
            expression += f"(?P<{name}>{inside})"
    return expression


def _order(name: str) -> list[tuple[int, str]]:
    """Sort key by which frame 9 comes before frame 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


FRAME_PATTERNS: dict[str, FramePattern] = {
    "release": FramePattern("style_{k}/{video}/frame_{frame:05d}.jpg"),
    "ssv2": FramePattern("style_{k}/{video}/{frame:06d}.jpg"),
    "activitynet": FramePattern("style_{k}/v_{video}/{frame:06d}.jpg"),
    "diving48": FramePattern("style_{k}/{video}/image_{frame:05d}.jpg", first_frame=0),
    "davis": FramePattern("JPEGImages/{style}/{video}/{stem}.jpg"),
}
"""Conventions by name.

``release`` is the folder structure in the README of the released analysis code of "Quantifying and Learning Static vs.
Dynamic Information"; the others are what its loaders of the data sets read (``dataset_factory/ssv2.py``,
``StylizedActivityNet.py``, ``Diving48.py``, which counts frames from 0, and ``StylizedDAVIS.py``).
"""
