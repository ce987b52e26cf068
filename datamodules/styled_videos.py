# SPDX-License-Identifier: Apache-2.0
"""A styled data set: where its frames lie, its styles, and its videos in the order of the annotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..errors import DatasetNotFoundError, OptionError
from .entries import Entry, Span
from .frame_patterns import FRAME_PATTERNS, FramePattern
from .style_provenance import StyleOnDisk, read_style_file, styles_on_disk
from .video_layouts import VIDEO_LAYOUTS, detect_video_layout, video_source
from .video_source import Split, VideoSource

__all__ = (
    "Listed",
    "StyledFolder",
    "annotated_videos",
    "annotations_of",
    "choose_styles",
    "find_pattern",
    "unlabelled",
)


class Listed(NamedTuple):
    """A video that the annotations list and that is on disk.

    Attributes:
        name: its name in the pattern.
        label: its class, -1 where it is not known.
        spans: its annotated parts in seconds, in the order of the file; None: it counts as a whole.
    """

    name: str
    label: int
    spans: tuple[Span, ...] | None = None


@dataclass(frozen=True)
class StyledFolder:
    """Frames of videos in several styles.

    Attributes:
        root: folder of the styled data set.
        pattern: where the frames lie in it.
        styles: number and name of each style, in the order in which pairs count them.
    """

    root: Path
    pattern: FramePattern
    styles: tuple[StyleOnDisk, ...]

    def frames(self, style: int, video: str) -> list[Path]:
        """The frames of a video in the style at an index from 0."""
        number, name = self.styles[style]
        return self.pattern.frames(self.root, name, number, video)

    def videos(self) -> list[str]:
        """The videos that are there in the first style; looked for once."""
        return self._videos

    @cached_property
    def _videos(self) -> list[str]:
        number, name = self.styles[0]
        return self.pattern.videos(self.root, name, number)

    def folder(self, video: str) -> Path:
        """Where a video lies in the first style."""
        number, name = self.styles[0]
        return self.pattern.folder(self.root, name, number, video)


def find_pattern(root: Path, conventions: Sequence[str]) -> FramePattern:
    """Return where the frames of a styled data set lie: as its ``styles.json`` says, or by the first name that fits.

    Args:
        root: folder of the styled data set.
        conventions: names of ``FRAME_PATTERNS`` to try, in order; others are passed over. The first one is returned
            where none fits.

    Example:
        >>> find_pattern(Path("/nowhere"), ["ssv2", "release"]).text
        'style_{k}/{video}/{frame:06d}.jpg'
    """
    made = read_style_file(root)
    if made is not None:
        return FramePattern.of(made["pattern"], made.get("first_frame"))
    patterns = [FRAME_PATTERNS[name] for name in conventions if name in FRAME_PATTERNS]
    return next((pattern for pattern in patterns if _fits(root, pattern)), patterns[0])


def _fits(root: Path, pattern: FramePattern) -> bool:
    try:
        number, name = styles_on_disk(root, pattern)[0]
    except DatasetNotFoundError:
        return False
    videos = pattern.videos(root, name, number)
    return any(pattern.frames(root, name, number, video) for video in videos[:3])


def choose_styles(
    root: Path, pattern: FramePattern, wanted: Sequence[str | int] | int | None
) -> tuple[StyleOnDisk, ...]:
    """Return the styles to take.

    Args:
        root: folder of the styled data set.
        pattern: where the frames lie.
        wanted: names, in the order in which they are counted; or how many of those on disk; None: all on disk. Where
            no name is written down anywhere, the numbers of the pattern are the names: ``style_1`` or ``1``.

    Raises:
        OptionError: there is no such style, one is named twice, or fewer than two are asked for or there.
        DatasetNotFoundError: there are no styles.
    """
    there = styles_on_disk(root, pattern)
    if wanted is None:
        chosen = there
    elif isinstance(wanted, int):
        if wanted < 2:
            raise OptionError(f"styles={wanted}: pairs need at least two styles; {str(root)!r} has {len(there)}.")
        chosen = there[:wanted]
    else:
        known = {str(style.number): style for style in there} | {style.name: style for style in there}
        wanted = [wanted] if isinstance(wanted, str) else wanted
        missing = [name for name in map(str, wanted) if name not in known]
        if missing:
            names = ", ".join(style.name for style in there)
            raise OptionError(f"There is no style {missing[0]!r} in {str(root)!r}: there are {names}.")
        chosen = tuple(known[str(name)] for name in wanted)
    if isinstance(wanted, int) and len(chosen) < wanted:
        raise OptionError(f"styles={wanted}, but {str(root)!r} has {len(chosen)} of the pattern {pattern.text!r}.")
    if len(chosen) < 2 or len(set(chosen)) < len(chosen):
        raise OptionError(
            f"Pairs need at least two different styles, found {[style.name for style in chosen]} in {str(root)!r}. "
            "Set --data.styles, or stylise in more of them."
        )
    return chosen


def annotations_of(
    folder: StyledFolder, layout: str, source_root: str | None, labels_dir: str | None
) -> VideoSource | None:
    """Return the annotations of the videos, None where there are none to be found and none were asked for.

    Args:
        folder: the styled data set.
        layout: ``auto``, ``none``, or the name of a layout of videos.
        source_root: folder of the data set that was stylised; None: the annotations lie in the styled one.
        labels_dir: folder of the annotation files; None: guessed.

    Raises:
        DatasetNotFoundError: there are none, though a folder for them was given.
        UnknownNameError: there is no such layout.
    """
    if layout == "none":
        return None
    root = Path(source_root) if source_root is not None else folder.root
    if source_root is not None and not root.is_dir():
        hint = (
            "It is to be the data set that was stylised, for its annotations: set its folder with --data.source_root, "
            "or null where they lie beside the styles."
        )
        raise DatasetNotFoundError(root, ["annotation files"], hint)
    found = (detect_video_layout(root) or detect_video_layout(labels_dir or root)) if layout == "auto" else layout
    if found is None:
        if source_root is None and labels_dir is None:
            return None
        hint = f"Known are {', '.join(VIDEO_LAYOUTS)}: set --data.layout, or none to take all videos without labels."
        raise DatasetNotFoundError(labels_dir or root, ["annotation files"], hint)
    names = folder.videos()
    if not names:
        raise DatasetNotFoundError(folder.root, [folder.folder("<video>")], "There are no frames in the first style.")
    above = folder.folder(names[0]).parents[names[0].count("/")]
    return video_source(found, root, "frames", labels_dir, above)


def annotated_videos(folder: StyledFolder, source: VideoSource, split: Split) -> list[Listed]:
    """Return the videos of a split that are there in the first style, in the order of the annotations.

    Raises:
        DatasetNotFoundError: none of them is there, or there are no annotations of the split.
        AnnotationError: the annotations are not in the official format.
    """
    names = {folder.folder(name): name for name in folder.videos()}
    entries = source.entries(split)
    in_parts = source.title == "ActivityNet"
    found = list(_whole_videos(entries)) if in_parts else [(entry, None) for entry in entries]
    listed = [Listed(names[entry.path], entry.label, spans) for entry, spans in found if entry.path in names]
    if not listed:
        examples = [entry.path for entry, _ in found[:2]]
        hint = (
            f"None of the {len(found)} videos of the {split} split of {source.title} is there in the first style, "
            f"which holds {len(names)}, such as {str(min(names))!r}. Check --data.pattern and --data.split."
        )
        raise DatasetNotFoundError(folder.root, examples, hint)
    return listed


def _whole_videos(entries: Iterable[Entry]) -> Iterator[tuple[Entry, tuple[Span, ...]]]:
    """Segments that were entries of their own, put together by video."""
    videos: dict[Path, list[Entry]] = {}
    for entry in entries:
        videos.setdefault(entry.path, []).append(entry)
    for segments in videos.values():
        yield segments[0], tuple(entry.span for entry in segments if entry.span is not None)


def unlabelled(folder: StyledFolder) -> list[Listed]:
    """Return all videos of the first style in the order of their names, as videos whose class is not known."""
    return [Listed(name, -1) for name in folder.videos()]
