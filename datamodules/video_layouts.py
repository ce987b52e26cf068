# SPDX-License-Identifier: Apache-2.0
"""Layouts of data sets of videos by name."""

from __future__ import annotations

from pathlib import Path

from ..errors import UnknownNameError
from .activitynet_source import ActivityNetSource
from .diving48 import Diving48Source
from .kinetics_source import KineticsSource
from .something_else import SomethingElseSource
from .ssv2_annotations import SSv2Source
from .video_source import VideoSource

__all__ = ("VIDEO_LAYOUTS", "detect_video_layout", "video_source")

VIDEO_LAYOUTS: dict[str, type[VideoSource]] = {
    "diving48": Diving48Source,
    "something_else": SomethingElseSource,
    "ssv2": SSv2Source,
    "activitynet": ActivityNetSource,
    "kinetics": KineticsSource,
}
"""By name; the one whose files can be mistaken least comes first."""


def detect_video_layout(root: str | Path) -> str | None:
    """The name of the layout that a folder has, by its annotation files; None: none of them.

    Example:
        >>> detect_video_layout("/nowhere") is None
        True
    """
    return next((name for name, source in VIDEO_LAYOUTS.items() if source.found_at(Path(root))), None)


def video_source(
    layout: str,
    root: str | Path,
    reader: str = "decord",
    labels_dir: str | Path | None = None,
    video_dir: str | Path | None = None,
) -> VideoSource:
    """The data set in a folder.

    Raises:
        UnknownNameError: there is no layout of this name.

    Example:
        >>> video_source("kinetics", "/data/k400").title
        'Kinetics'
    """
    if layout not in VIDEO_LAYOUTS:
        raise UnknownNameError("layout of videos", layout, VIDEO_LAYOUTS)
    return VIDEO_LAYOUTS[layout](root, reader, labels_dir, video_dir)
