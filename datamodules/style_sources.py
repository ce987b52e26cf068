# SPDX-License-Identifier: Apache-2.0
"""The videos of a data set as wholes, whatever its layout: what styled copies are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..errors import DatasetNotFoundError, OptionError, UnknownNameError
from .layouts import LAYOUTS, fits_layout, list_sequences, list_splits, resolve_split
from .video_files import VideoFiles
from .video_layouts import VIDEO_LAYOUTS, detect_video_layout, video_source

__all__ = ("PLAIN_LAYOUTS", "SourceVideo", "VideoList", "default_pattern", "list_videos")

PLAIN_LAYOUTS = ("videos", "frames")
"""Folders without annotations: of video files, and of folders of frames."""

_PATTERNS = {"ssv2": "ssv2", "something_else": "ssv2", "activitynet": "activitynet", "diving48": "diving48"}
_VALIDATION = ("validation", "val", "valid")
_YOUTUBE_ID = 11  # characters


class SourceVideo(NamedTuple):
    """A video.

    Attributes:
        name: its name in the data set, without an ending; it may hold slashes.
        path: the file, or the folder of its frames.
        frames: the pictures of a sequence, where their names are to be kept; else empty.
    """

    name: str
    path: Path
    frames: tuple[Path, ...] = ()


class VideoList(NamedTuple):
    """The videos of a data set.

    Attributes:
        layout: the layout that it has.
        reader: the reader for its videos.
        videos: each once, in the order of the annotations.
    """

    layout: str
    reader: str
    videos: list[SourceVideo]


def default_pattern(layout: str) -> str:
    """The name of the frame pattern that the authors' loader of a data set reads.

    Example:
        >>> default_pattern("ssv2"), default_pattern("davis2016"), default_pattern("kinetics")
        ('ssv2', 'davis', 'release')
    """
    return "davis" if layout in LAYOUTS else _PATTERNS.get(layout, "release")


def list_videos(
    root: str | Path,
    layout: str = "auto",
    splits: Sequence[str] = ("validation",),
    limit: int | None = None,
    reader: str = "decord",
    labels_dir: str | Path | None = None,
    video_dir: str | Path | None = None,
) -> VideoList:
    """List the videos of a data set.

    Of a data set in which several segments of a video are annotated (ActivityNet) comes the whole video, once. In plain
    folders hidden files, and what lies in hidden folders, do not count.

    Args:
        root: folder of the data set.
        layout: one of ``VIDEO_LAYOUTS``, of ``LAYOUTS`` (sequences for segmentation) or of ``PLAIN_LAYOUTS``, or auto.
        splits: which splits; ``("all",)`` for all. Data sets without a validation split give that of testing for it;
            plain folders have no splits.
        limit: only the first so many videos.
        reader: of videos.
        labels_dir: folder of the annotation files of a data set of videos; None: guessed below root.
        video_dir: folder of its videos; None: guessed below root.

    Raises:
        DatasetNotFoundError: there is no such data set, or no videos.
        UnknownNameError: there is no such layout or split.
        AnnotationError: the annotations are not in the official format.
        OptionError: two videos have one name, or that of one is a folder of the name of the other.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "cats").mkdir()
        ...     Path(folder, "cats", "one.mp4").touch()
        ...     found = list_videos(folder)
        >>> found.layout, [video.name for video in found.videos]
        ('videos', ['cats/one'])
    """
    root = Path(root)
    if not root.is_dir():
        raise DatasetNotFoundError(root, [root], "Give the folder of the data set.")
    layout = _guess(root, labels_dir, reader) if layout == "auto" else layout
    if layout in PLAIN_LAYOUTS:
        reader = "frames" if layout == "frames" else reader
        videos = _plain(root, reader)
    elif layout in VIDEO_LAYOUTS:
        videos = _of_videos(root, layout, splits, reader, labels_dir, video_dir)
    elif layout in LAYOUTS:
        videos = _of_sequences(root, layout, splits)
    else:
        raise UnknownNameError("layout", layout, ["auto", *VIDEO_LAYOUTS, *LAYOUTS, *PLAIN_LAYOUTS])
    videos = _each_once(videos)
    _refuse_nested(videos)
    return VideoList(layout, reader, videos[:limit])


def _guess(root: Path, labels_dir: str | Path | None, reader: str) -> str:
    known = detect_video_layout(labels_dir or root) or fits_layout(root)
    if known:
        return known
    if reader != "frames" and VideoFiles([root]).paths:
        return "videos"
    if VideoFiles([root], frames=True).paths:
        return "frames"
    raise DatasetNotFoundError(
        root,
        ["the annotations or folders of a known layout, or video files, or folders of frames"],
        f"Layouts of videos: {', '.join(VIDEO_LAYOUTS)}; of sequences: {', '.join(LAYOUTS)}. Choose with --layout.",
    )


def _plain(root: Path, reader: str) -> list[SourceVideo]:
    files = VideoFiles([root], frames=reader == "frames")
    named = [(path, path.relative_to(root)) for path in sorted(files.paths)]
    named = [(path, name) for path, name in named if not any(part.startswith(".") for part in name.parts)]
    if not named:
        kind = "folders of .jpg or .png frames" if reader == "frames" else "video files (.mp4, .webm, .avi …)"
        raise DatasetNotFoundError(root, [kind], "Give the folder they lie in, however deep.")
    return [
        SourceVideo((name if reader == "frames" else name.with_suffix("")).as_posix(), path) for path, name in named
    ]


def _of_videos(
    root: Path,
    layout: str,
    splits: Sequence[str],
    reader: str,
    labels_dir: str | Path | None,
    video_dir: str | Path | None,
) -> list[SourceVideo]:
    source = video_source(layout, root, reader, labels_dir, video_dir)
    present = source.splits()
    chosen = list(present) if "all" in splits else []
    for split in splits if not chosen else ():
        name = "validation" if split in _VALIDATION else split
        if name == "validation" and name not in present and "test" in present:
            name = "test"
        found = next((one for one in present if one == name), None)
        if found is None:
            raise UnknownNameError(f"split of {str(root)!r}", split, ["all", *present])
        chosen.append(found)
    entries = [entry for split in chosen for entry in source.entries(split)]
    whole = _video_of_segment if layout == "activitynet" else str
    return [SourceVideo(whole(entry.id), entry.path) for entry in entries]


def _video_of_segment(name: str) -> str:
    """The id of the video of a segment ``<video>/<number>``; some files have it with ``v_``, which the pattern adds."""
    video = name.partition("/")[0]
    return video[2:] if video.startswith("v_") and len(video) == _YOUTUBE_ID + 2 else video


def _of_sequences(root: Path, layout: str, splits: Sequence[str]) -> list[SourceVideo]:
    if "all" in splits:
        chosen = list_splits(root, layout)
    else:
        chosen = tuple(resolve_split(root, "val" if split in _VALIDATION else split, layout) for split in splits)
    # what a sequence lacks does not matter here: its pictures keep their names
    sequences = [one for split in chosen for one in list_sequences(root, layout, split, on_problem=lambda _: None)]
    return [SourceVideo(one.name, one.frames[0].parent, one.frames) for one in sequences]


def _each_once(videos: Sequence[SourceVideo]) -> list[SourceVideo]:
    named: dict[str, SourceVideo] = {}
    for video in videos:
        other = named.setdefault(video.name, video)
        if other.path != video.path:
            raise OptionError(
                f"Two videos have the name {video.name!r}, {str(other.path)!r} and {str(video.path)!r}: their styled "
                "frames would go to one folder. Rename one, or give a folder that holds one of them."
            )
    return list(named.values())


def _refuse_nested(videos: Sequence[SourceVideo]) -> None:
    """Refuse a video whose folder of frames would hold that of another one: neither could be told to be whole."""
    named = {video.name: video for video in videos}
    for video in videos:
        for place, letter in enumerate(video.name):
            outer = named.get(video.name[:place]) if letter == "/" else None
            if outer is not None:
                raise OptionError(
                    f"The name of the video {str(video.path)!r}, {video.name!r}, begins with that of "
                    f"{str(outer.path)!r}, {outer.name!r}: the styled frames of one would lie in the folder of the "
                    "other. Rename one of them."
                )
