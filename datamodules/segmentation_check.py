# SPDX-License-Identifier: Apache-2.0
"""Look through a segmentation data set for what training would trip over: pictures, masks, sizes, gaps, flow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from ..errors import AnnotationError, VideoDecodeError
from .findings import Finding, as_they_are, print_findings, progress_bar, write_findings
from .flow import find_flow, flow_folder, frame_pairs, read_flow_picture
from .frame_files import wrong_size
from .frame_selection import FrameRef, usable_positions
from .layouts import LayoutProblem, detect_layout, list_sequences, list_splits
from .loaders import default_num_workers
from .pictures import read_mask_values, read_picture

__all__ = ("PROBLEMS", "SegmentationCheck", "check_segmentation", "run_segmentation_check")

PROBLEMS = ("no masks", "missing mask", "missing frame", "unreadable", "other size", "odd values", "missing flow")
"""What can be wrong with a frame, its mask or its flow."""


@dataclass
class SegmentationCheck:
    """What :func:`check_segmentation` found.

    Attributes:
        root: the folder that was checked.
        layout: its layout.
        frames: number of frames of each split.
        masks: number of masks of each split.
        without_flow: number of frames of each split whose flow is missing, where that is no problem, because training
            computes it.
        findings: every problem, split by split.
    """

    root: Path
    layout: str
    frames: dict[str, int] = field(default_factory=dict)
    masks: dict[str, int] = field(default_factory=dict)
    without_flow: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


class _Frames(Dataset[list[tuple[int, str, str, str]]]):
    """Item i is the problems of frame i as (i, problem, reason, path): a data set, so that workers share the work."""

    def __init__(self, refs: Sequence[FrameRef], flow_dir: Path, gaps: tuple[int, ...]) -> None:
        self.refs, self.flow_dir, self.gaps = refs, flow_dir, gaps

    def __len__(self) -> int:
        return len(self.refs)

    def __getitem__(self, index: int) -> list[tuple[int, str, str, str]]:
        ref = self.refs[index]
        found: list[tuple[str, str, Path]] = []
        size: tuple[int, ...] = ()
        try:
            size = read_picture(ref.frame).shape[:2]
        except VideoDecodeError as error:
            found.append(("unreadable", error.reason, ref.frame))
        if ref.mask is not None:
            try:
                values, indexed = read_mask_values(ref.mask)
            except VideoDecodeError as error:
                found.append(("unreadable", error.reason, ref.mask))
            else:
                if size and values.shape != size:
                    found.append(("other size", wrong_size(ref, values.shape, size), ref.mask))
                odd = "" if indexed else _odd_values(values)
                if odd:
                    found.append(("odd values", odd, ref.mask))
        found += self._flow_problems(ref)
        return [(index, problem, reason, str(path)) for problem, reason, path in found]

    def _flow_problems(self, ref: FrameRef) -> Iterator[tuple[str, str, Path]]:
        for gap in self.gaps:
            if ref.position not in usable_positions(ref.sequence, (gap,)):
                continue
            file = find_flow(self.flow_dir, ref.sequence.name, ref.frame.stem, gap)
            if file is None:
                yield "missing flow", f"no flow of gap {gap}", flow_folder(self.flow_dir, gap) / ref.sequence.name
                continue
            try:
                read_flow_picture(file)
            except VideoDecodeError as error:
                yield "unreadable", error.reason, file


def _odd_values(values: np.ndarray[Any, Any]) -> str:
    """A sentence about a mask in grey or colour that is neither two-valued nor a lossy copy of such a mask."""
    found = np.unique(values)
    if len(found) <= 2 and found[0] == 0:
        return ""
    if len(found) == 1:
        return ""
    between = float(((values > 15) & (values < 240)).mean())
    if found[-1] >= 240 and between < 0.05:
        return ""
    listed = ", ".join(str(value) for value in found[:6]) + (" …" if len(found) > 6 else "")
    return f"a mask without a palette has the values 0 and 255; found {listed}"


def check_segmentation(
    root: str | Path,
    layout: str = "auto",
    splits: Sequence[str] | None = None,
    flow_dir: str | Path | None = None,
    gaps: Sequence[int] = (1,),
    num_workers: int | None = None,
    output: str | Path | None = None,
    max_listed: int = 20,
    console: Console | None = None,
) -> SegmentationCheck:
    """Open every picture, mask and flow file of a segmentation data set, and report what training would meet.

    Prints a table with a column for each split, and the first problems: sequences without masks, missing masks and
    frames (also jumps in the numbers), unreadable files, masks of another size than their frame, masks with odd
    values, unreadable flow. Missing flow is a problem where a folder of flow was given; otherwise it is counted and no
    problem, because training computes it.

    Args:
        root: folder of the data set.
        layout: its layout, or auto.
        splits: the splits to look at; None: all (without those that only join others, as ``trainval``).
        flow_dir: folder of the flow; None: root. Given, all flow has to be there.
        gaps: the flow to look for: 1 to the next frame, -1 to the previous one.
        num_workers: worker processes; None: one for each CPU core, at most 8.
        output: CSV file for all findings: split, id, problem, reason, path.
        max_listed: how many problems to print.
        console: where to print; None: standard output.

    Returns:
        The counts and every finding.

    Raises:
        DatasetNotFoundError: the data set or its lists are not there.
        AnnotationError: a list or annotation is in another format.
        UnknownNameError: there is no such layout or split.
        OptionError: a gap is 0.
    """
    frame_pairs((), gaps)  # refuses a gap of 0
    console, root = console or Console(), Path(root)
    layout = detect_layout(root) if layout == "auto" else layout
    folder = Path(flow_dir) if flow_dir is not None else root
    result = SegmentationCheck(root, layout)
    present = list_splits(root, layout)
    joined = {"trainval"} if {"train", "val"} <= set(present) else set()
    workers = default_num_workers() if num_workers is None else num_workers
    with progress_bar(console) as bar:
        for split in [name for name in present if name not in joined] if splits is None else splits:
            problems: list[LayoutProblem] = []
            try:
                sequences = list_sequences(root, layout, split, problems.append)
            except AnnotationError:
                if not problems:  # otherwise they say why no frame is left
                    raise
                sequences = []
            result.findings += [
                Finding(split, f"{one.sequence}/{one.frame}".rstrip("/"), one.kind, one.message, str(one.path))
                for one in problems
            ]
            refs = [FrameRef(video, position) for video in sequences for position in range(len(video))]
            result.frames[split] = len(refs)
            result.masks[split] = sum(ref.mask is not None for ref in refs)
            frames = _Frames(refs, folder, tuple(gaps))
            loader: DataLoader[Any] = DataLoader(
                frames, batch_size=8, num_workers=min(workers, len(refs) // 16), collate_fn=as_they_are
            )
            without_flow: set[int] = set()  # a frame may miss flow of both gaps
            task = bar.add_task(f"Checking {split}", total=len(refs))
            for items in loader:
                bar.advance(task, len(items))
                for index, problem, reason, path in (entry for item in items for entry in item):
                    if problem == "missing flow" and flow_dir is None:
                        without_flow.add(index)
                    else:
                        result.findings.append(Finding(split, refs[index].id, problem, reason, path))
            result.without_flow[split] = len(without_flow)
    _print(result, max_listed, console)
    if output is not None:
        write_findings(result.findings, Path(output), console)
    return result


def run_segmentation_check(root: str | Path, layout: str = "auto", **options: Any) -> int:
    """Run :func:`check_segmentation` and return the number of problems, for the exit status of a command.

    Args:
        root: folder of the data set.
        layout: its layout, or auto.
        **options: further arguments of :func:`check_segmentation`.
    """
    return len(check_segmentation(root, layout, **options).findings)


def _print(result: SegmentationCheck, max_listed: int, console: Console) -> None:
    console.print(f"{result.root} (layout {result.layout})", soft_wrap=True, markup=False, highlight=False)
    table = Table()
    table.add_column("")
    for split in result.frames:
        table.add_column(split, justify="right")
    table.add_row("frames", *map(str, result.frames.values()))
    table.add_row("masks", *map(str, result.masks.values()), end_section=True)
    counts = Counter((finding.problem, finding.split) for finding in result.findings)
    for problem in PROBLEMS:
        found = (counts[problem, split] for split in result.frames)
        table.add_row(problem, *(f"[red]{count}[/red]" if count else "0" for count in found))
    console.print(table)
    without_flow = sum(result.without_flow.values())
    if without_flow:
        noun = "frame" if without_flow == 1 else "frames"
        text = f"{without_flow} {noun} without flow; training computes it, or `staticdropout data flow`."
        console.print(text, soft_wrap=True, markup=False, highlight=False)
    print_findings(result.findings, max_listed, console)
