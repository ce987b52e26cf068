# SPDX-License-Identifier: Apache-2.0
"""Where the flow of a data set lies on disk, and which of it is missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from ...errors import OptionError

__all__ = (
    "SUFFIXES",
    "FileFormat",
    "FramePair",
    "Sequences",
    "find_flow",
    "flow_folder",
    "flow_path",
    "frame_pairs",
    "missing_flow",
)

FileFormat: TypeAlias = Literal["png", "flo"]
"""Colour pictures, or vectors in pixels."""

Sequences: TypeAlias = Iterable[tuple[str, Sequence[Path]]]
"""Sequences of a data set: name, and the files of its frames in order."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".flo")
"""Endings of files that hold flow, in the order in which they are looked for."""


class FramePair(NamedTuple):
    """Two frames of a sequence between which there is flow.

    Attributes:
        sequence: name of the sequence.
        frame: the file of the frame that the flow starts from, and is named after.
        other: the file of the frame that it leads to.
        gap: how many frames later the other one is; negative: earlier.
    """

    sequence: str
    frame: Path
    other: Path
    gap: int


def flow_folder(flow_dir: str | Path, gap: int = 1, file_format: FileFormat = "png") -> Path:
    """Return the folder of all flow of one gap.

    The names are those of RAFT's and motiongrouping's tools, which the official flow of DAVIS and MoCA has.

    Args:
        flow_dir: folder of all flow of the data set.
        gap: how many frames later the flow leads; -1 is backward flow.
        file_format: ``"png"`` (colour pictures) or ``"flo"`` (pixels).

    Example:
        >>> flow_folder("flow", -1).as_posix(), flow_folder("flow", 1, "flo").as_posix()
        ('flow/FlowImages_gap-1', 'flow/Flows_gap1')
    """
    return Path(flow_dir) / f"{'Flows' if file_format == 'flo' else 'FlowImages'}_gap{gap}"


def flow_path(flow_dir: str | Path, sequence: str, stem: str, gap: int = 1, file_format: FileFormat = "png") -> Path:
    """Return the place of the flow of one frame.

    Args:
        flow_dir: folder of all flow of the data set.
        sequence: name of the sequence.
        stem: name of the frame's file without its ending.
        gap: how many frames later the flow leads; -1 is backward flow.
        file_format: ``"png"`` (a colour picture) or ``"flo"`` (pixels).

    Example:
        >>> flow_path("flow", "dog", "00007").as_posix()
        'flow/FlowImages_gap1/dog/00007.png'
    """
    return flow_folder(flow_dir, gap, file_format) / sequence / f"{stem}.{file_format}"


def find_flow(
    flow_dir: str | Path, sequence: str, stem: str, gap: int = 1, suffixes: Sequence[str] = SUFFIXES
) -> Path | None:
    """Look for the flow of one frame.

    First ``FlowImages_gap<gap>/<sequence>/<stem>.png`` (``.jpg``, ``.jpeg``), then
    ``Flows_gap<gap>/<sequence>/<stem>.flo``, and for forward flow to the next frame at last
    ``<sequence>/<stem>`` with these endings straight below ``flow_dir``. Empty files count as absent.

    Args:
        flow_dir: folder of all flow of the data set.
        sequence: name of the sequence.
        stem: name of the frame's file without its ending.
        gap: how many frames later the flow leads; -1 is backward flow.
        suffixes: the endings to look for, the preferred one first.

    Returns:
        The file, or None where there is none.

    Example:
        >>> find_flow("no-such-folder", "dog", "00000") is None
        True
    """
    formats: list[FileFormat] = ["flo" if suffix == ".flo" else "png" for suffix in suffixes]
    folders = [flow_folder(flow_dir, gap, file_format) for file_format in formats]
    if gap == 1:
        folders += [Path(flow_dir)] * len(suffixes)
    for folder, suffix in zip(folders, [*suffixes, *suffixes], strict=False):
        file = folder / sequence / f"{stem}{suffix}"
        if file.is_file() and file.stat().st_size:
            return file
    return None


def frame_pairs(sequences: Sequences, gaps: Iterable[int] = (1,)) -> list[FramePair]:
    """List the pairs of frames that there can be flow between.

    Args:
        sequences: names and files of frames in order.
        gaps: distances in frames: 1 for forward flow, which the last frame has not, -1 for backward flow, which the
            first frame has not.

    Raises:
        OptionError: a gap is 0 or not a whole number.

    Example:
        >>> frames = [Path("0.jpg"), Path("1.jpg"), Path("2.jpg")]
        >>> [(pair.frame.stem, pair.other.stem) for pair in frame_pairs([("dog", frames)], gaps=(1, -1))]
        [('0', '1'), ('1', '2'), ('1', '0'), ('2', '1')]
    """
    gaps = tuple(dict.fromkeys(gaps))
    if not all(isinstance(gap, int) and gap for gap in gaps):
        raise OptionError(f"gaps must be whole numbers other than 0, found {gaps}. Forward flow is 1, backward -1.")
    return [
        FramePair(name, Path(frame), Path(frames[position + gap]), gap)
        for name, frames in sequences
        for gap in gaps
        for position, frame in enumerate(frames)
        if 0 <= position + gap < len(frames)
    ]


def missing_flow(
    sequences: Sequences,
    flow_dir: str | Path,
    gaps: Iterable[int] = (1,),
    suffixes: Sequence[str] = SUFFIXES,
) -> list[FramePair]:
    """List the pairs of frames whose flow is not on disk.

    Args:
        sequences: names and files of frames in order.
        flow_dir: folder of all flow of the data set; it need not exist.
        gaps: 1 for forward flow, -1 for backward flow.
        suffixes: which files count, see :func:`find_flow`.

    Raises:
        OptionError: a gap is 0 or not a whole number.

    Example:
        >>> [pair.frame.stem for pair in missing_flow([("dog", [Path("0.jpg"), Path("1.jpg")])], "no-such-folder")]
        ['0']
    """
    pairs = frame_pairs(sequences, gaps)
    return [p for p in pairs if find_flow(flow_dir, p.sequence, p.frame.stem, p.gap, suffixes) is None]
