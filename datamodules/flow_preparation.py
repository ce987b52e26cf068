# SPDX-License-Identifier: Apache-2.0
"""The flow of a segmentation data set: computed where it is missing, for all of it or for the frames in use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import OptionError, StaticDropoutError
from ..perturbations.flow_colours import Encoding
from .flow import FileFormat, FlowReport, compute_flow
from .layouts import list_sequences, list_splits, refuse_missing_frames

__all__ = ("prepare_flow", "run_flow")


def prepare_flow(
    runs: Mapping[int, Sequence[tuple[str, Sequence[Path]]]], flow_dir: str | Path, **options: Any
) -> FlowReport:
    """Compute the flow between neighbouring frames of some runs, gap by gap, where it is missing.

    Args:
        runs: for each gap (1, -1) names of sequences and runs of their frames.
        flow_dir: folder of all flow of the data set.
        **options: further arguments of :func:`.compute_flow`.

    Returns:
        How many files were written and how many were there already.

    Raises:
        OptionError: the folder cannot be written to, or holds flow of another kind.

    Example:
        >>> prepare_flow({1: [], -1: []}, "no-such-folder")
        FlowReport(written=0, present=0)
    """
    written = present = 0
    for gap, frames in runs.items():
        try:
            report = compute_flow(frames, flow_dir, gaps=(gap,), **options)
        except StaticDropoutError:
            raise
        except OSError as error:
            raise OptionError(
                f"Flow cannot be written to {str(flow_dir)!r} ({error.strerror or error}). Set a folder for it with "
                "flow_dir (--data.flow_dir, or `staticdropout data flow ROOT --output FOLDER`)."
            ) from error
        written, present = written + report.written, present + report.present
    return FlowReport(written, present)


def run_flow(
    root: str | Path,
    layout: str = "auto",
    method: str = "dis",
    output: str | Path | None = None,
    gaps: Sequence[int] = (1,),
    file_format: FileFormat = "png",
    splits: Sequence[str] | None = None,
    encoding: Encoding = "middlebury",
    max_flow: float | None = None,
    weights: str | None = None,
    num_workers: int | None = None,
    progress: bool = True,
) -> FlowReport:
    """Compute the flow of a whole data set, where it is missing.

    Args:
        root: folder of the data set.
        layout: its layout, or auto.
        method: ``dis``, ``raft_small`` or ``raft_large``.
        output: folder of the flow; None: root.
        gaps: 1 for flow to the next frame, -1 for flow to the previous one.
        file_format: ``png`` (colour pictures) or ``flo`` (pixels as floats).
        splits: the splits to take; None: all that are there.
        encoding: colours of the pictures, ``middlebury`` or ``hsv``.
        max_flow: magnitude in pixels that gets the full colour; None: the largest of each picture.
        weights: weights of RAFT: a file or an official name.
        num_workers: threads; None: one for each CPU core, at most 8.
        progress: show a progress bar.

    Returns:
        How many files were written and how many were there already.

    Raises:
        DatasetNotFoundError: the data set is not there.
        AnnotationError: a list is in another format, or a frame is missing; masks do not matter.
        OptionError: the folder cannot be written to, or holds flow of another kind.
        UnknownNameError: there is no such layout, split or method.
    """
    chosen = list_splits(root, layout) if splits is None else splits
    videos = {
        video.name: video.frames
        for split in chosen
        for video in list_sequences(root, layout, split, refuse_missing_frames)
    }
    return prepare_flow(
        {gap: list(videos.items()) for gap in gaps},
        root if output is None else output,
        method=method,
        file_format=file_format,
        encoding=encoding,
        max_flow=max_flow,
        weights=weights,
        num_workers=num_workers,
        progress=progress,
    )
