# SPDX-License-Identifier: Apache-2.0
"""``staticdropout data …``: look through data sets, prepare them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from .. import datamodules
from ..datamodules.flow_preparation import run_flow
from ..datamodules.layouts import LAYOUTS, fits_layout
from ..datamodules.segmentation_check import run_segmentation_check
from ..datamodules.video_layouts import VIDEO_LAYOUTS, detect_video_layout
from ..errors import DatasetNotFoundError, UnknownNameError

__all__ = ("check_data", "prepare_flow")


def check_data(
    root: str,
    layout: str = "auto",
    reader: str = "decord",
    min_frames: int = 8,
    flow_dir: str | None = None,
    gaps: list[int] = [1],  # noqa: B006 - jsonargparse shows the default; it is not changed
    workers: int | None = None,
    output: str | None = None,
    labels_dir: str | None = None,
    video_dir: str | None = None,
) -> None:
    """Check every file of a data set: what is missing, unreadable, too short, or of another size.

    Exits with 1 if anything is wrong. Videos that YouTube no longer has are missing files: training on Kinetics and
    ActivityNet leaves them out and says how many.

    Args:
        root: folder of the data set.
        layout: videos: ssv2, something_else, kinetics, diving48, activitynet; segmentation: davis2016, davis2017,
            youtube_vos, tao_vos, imagenet_vid, moca; or auto to guess from what lies in root.
        reader: of videos: decord, torchcodec, pyav or frames.
        min_frames: a video (of ActivityNet: a segment) with fewer frames is short.
        flow_dir: folder of the flow of a segmentation data set; missing flow is wrong only where this is given. By
            default the data set's own folder.
        gaps: the flow to look for: 1 for that to the next frame, -1 for that to the previous one; RTNet needs [1, -1].
        workers: number of processes; by default one a core.
        output: CSV file for all findings.
        labels_dir: folder of the annotation files of a data set of videos; by default guessed below root.
        video_dir: folder of its videos; by default guessed below root.
    """
    if layout == "auto":
        for option, folder in (("root", root), ("labels_dir", labels_dir), ("video_dir", video_dir)):
            if folder is not None and not Path(folder).is_dir():
                raise DatasetNotFoundError(folder, [folder], f"Check the path given as {option}.")
        layout = detect_video_layout(labels_dir or root) or layout
        if layout == "auto" and not fits_layout(root):
            raise DatasetNotFoundError(
                root,
                ["the annotations or folders of a known layout"],
                f"Layouts of videos: {', '.join(VIDEO_LAYOUTS)}; of segmentation: {', '.join(LAYOUTS)}. Give the "
                "folder that has the annotations, or choose with --layout. What each looks like is in "
                "docs/action_data.md and docs/segmentation.md.",
            )
    elif layout not in VIDEO_LAYOUTS and layout not in LAYOUTS:
        raise UnknownNameError("layout", layout, [*VIDEO_LAYOUTS, *LAYOUTS])
    if layout in VIDEO_LAYOUTS:
        problems = datamodules.run_check(
            root,
            layout=layout,
            reader=reader,
            min_frames=min_frames,
            num_workers=workers,
            output=output,
            labels_dir=labels_dir,
            video_dir=video_dir,
        )
    else:
        problems = run_segmentation_check(
            root, layout, flow_dir=flow_dir, gaps=gaps, num_workers=workers, output=output
        )
    if problems:
        raise SystemExit(1)


def prepare_flow(
    root: str,
    method: str = "dis",
    layout: str = "auto",
    output: str | None = None,
    gaps: list[int] = [1],  # noqa: B006 - jsonargparse shows the default; it is not changed
    format: Literal["png", "flo"] = "png",  # noqa: A002 - the name of the option
    encoding: Literal["middlebury", "hsv"] = "middlebury",
    max_flow: float | None = None,
    weights: str | None = None,
    workers: int | None = None,
) -> None:
    """Compute the optical flow of a segmentation data set where it is missing; stop and go on as you like.

    Args:
        root: folder of the data set.
        method: dis, raft_small or raft_large.
        layout: davis2016, davis2017, youtube_vos, tao_vos, imagenet_vid, moca, or auto to guess.
        output: folder of the flow; the data set's own by default.
        gaps: 1 for the flow to the next frame, -1 for that to the previous one; RTNet needs [1, -1].
        format: png (colour pictures as networks take them) or flo (pixels as floats, about 20 times the size).
        encoding: colours of the pictures: middlebury (no motion is white) or hsv (no motion is black).
        max_flow: magnitude in pixels that gets the full colour; by default the largest of each picture.
        weights: of RAFT: a file, or DEFAULT to let torchvision download its own.
        workers: number of threads; by default one a core.
    """
    report = run_flow(
        root,
        layout,
        method,
        output,
        gaps,
        file_format=format,
        encoding=encoding,
        max_flow=max_flow,
        weights=weights,
        num_workers=workers,
    )
    print(f"{report.written} flow files written to {output or root}, {report.present} were there already.")
