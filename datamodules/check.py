# SPDX-License-Identifier: Apache-2.0
"""Look through a data set for files that are missing, unreadable or too short, before a training run finds them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from ..errors import DatasetNotFoundError, VideoDecodeError
from .entries import Entry, part_of
from .findings import Finding, as_they_are, print_findings, progress_bar, write_findings
from .loaders import default_num_workers
from .readers import open_video, resolve_reader
from .video_layouts import detect_video_layout, video_source
from .video_source import VideoSource

__all__ = ("CheckResult", "Finding", "SplitReport", "check", "check_entries", "run_check")

Problem: TypeAlias = Literal["missing", "unreadable", "short"]


@dataclass
class SplitReport:
    """Counts of one split."""

    entries: int = 0
    ok: int = 0
    missing: int = 0
    unreadable: int = 0
    short: int = 0


@dataclass
class CheckResult:
    """What :func:`check` found.

    Attributes:
        root: the folder that was checked.
        reader: the reader that was used.
        splits: counts for each split that has an annotation file.
        findings: every file with a problem, in the order of the annotations.
    """

    root: Path
    reader: str
    splits: dict[str, SplitReport] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every file is there, readable and long enough."""
        return not self.findings


class _Probes(Dataset[tuple[int, Problem | None, str]]):
    """Item i is (i, problem, reason) of entry i. A data set, so that a DataLoader's worker processes share the work."""

    def __init__(self, entries: Sequence[Entry], reader: str, min_frames: int, every_frame: bool) -> None:
        self.entries, self.reader, self.min_frames, self.every_frame = entries, reader, min_frames, every_frame

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> tuple[int, Problem | None, str]:
        entry = self.entries[index]
        path = entry.path
        if not path.exists():
            return index, "missing", "there is no such file"
        try:
            # small pictures decode to the same verdict and cost less
            video = open_video(path, reader=self.reader, short_side=64)
            part = part_of(video, entry, self.reader)
            length = len(part)
            # the last frame is where a broken download shows; two more to catch damage in between
            video.get_batch(part if self.every_frame else [part[i] for i in sorted({0, length // 2, length - 1})])
        except VideoDecodeError as error:
            return index, "unreadable", error.reason
        if length < self.min_frames:
            return index, "short", f"{length} frames, fewer than {self.min_frames}"
        return index, None, ""


def _probe(probes: _Probes, num_workers: int) -> Iterator[tuple[int, Problem | None, str]]:
    workers = min(num_workers, len(probes) // 16)  # a process costs more than a handful of files
    loader: DataLoader[Any] = DataLoader(probes, batch_size=8, num_workers=workers, collate_fn=as_they_are)
    for items in loader:
        yield from items


def check(
    root: str | Path,
    reader: str = "decord",
    num_workers: int | None = None,
    min_frames: int = 8,
    every_frame: bool = False,
    output: str | Path | None = None,
    labels_dir: str | Path | None = None,
    video_dir: str | Path | None = None,
    max_listed: int = 20,
    console: Console | None = None,
    layout: str = "auto",
) -> CheckResult:
    """Open every video of a data set, and report what training would meet.

    Prints a table with a row for each split that has an annotation file, and the first files with a problem.

    Args:
        root: folder of the data set.
        reader: the video reader that the training will use.
        num_workers: worker processes; None: one for each CPU core, at most 8.
        min_frames: a video, or a segment of one, with fewer frames is reported as short.
        every_frame: decode all frames (slow) instead of the first, the middle and the last.
        output: CSV file for all findings: split, id, problem, reason, path.
        labels_dir: folder of the annotation files; None: guessed below root.
        video_dir: folder of the videos or frame folders; None: guessed below root.
        max_listed: how many files with a problem to print.
        console: where to print; None: standard output.
        layout: ``ssv2``, ``something_else``, ``kinetics``, ``diving48``, ``activitynet``, or ``auto`` to guess from the
            annotation files in root; ``ssv2`` where there are none.

    Returns:
        The counts and every finding.

    Raises:
        UnknownNameError: there is no layout of this name.
        DatasetNotFoundError: there are no annotations or no folder of videos.
        AnnotationError: an annotation is not in the official format.
        ReaderNotAvailableError: the reader's library is not installed.
    """
    name = resolve_reader(reader)
    if layout == "auto":
        layout = detect_video_layout(root) or "ssv2"
    source = video_source(layout, root, name, labels_dir, video_dir)
    splits = _entries(source)
    return check_entries(
        splits, root, name, num_workers, min_frames, every_frame, output, max_listed=max_listed, console=console
    )


def _entries(source: VideoSource) -> dict[str, list[Entry]]:
    splits: dict[str, list[Entry]] = {split: source.entries(split) for split in source.splits()}
    if not splits:
        expected = "annotations of the splits train, validation or test"
        hint = f"It was read as {source.title}. Another folder of annotations is set with labels_dir."
        if source.title == "Something-Something V2":
            expected = "labels/train.json, labels/validation.json, labels/test.json"
        raise DatasetNotFoundError(source.root, [expected], hint)
    return splits


def check_entries(
    splits: Mapping[str, Sequence[Entry]],
    root: str | Path,
    reader: str = "decord",
    num_workers: int | None = None,
    min_frames: int = 8,
    every_frame: bool = False,
    output: str | Path | None = None,
    *,
    max_listed: int = 20,
    console: Console | None = None,
) -> CheckResult:
    """Open the videos of entries, however they were come by; arguments and results are those of :func:`check`.

    Args:
        splits: the entries of each split, by its name.
        root: named in the table.
        reader: the video reader.
        num_workers: worker processes.
        min_frames: fewer frames are short.
        every_frame: decode all frames.
        output: CSV file for all findings.
        max_listed: how many findings to print.
        console: where to print.
    """
    console = console or Console()
    result = CheckResult(Path(root), reader)
    workers = default_num_workers() if num_workers is None else num_workers
    with progress_bar(console) as bar:
        for split, entries in splits.items():
            report = result.splits[split] = SplitReport(entries=len(entries))
            task = bar.add_task(f"Checking {split}", total=len(entries))
            for index, problem, reason in _probe(_Probes(entries, reader, min_frames, every_frame), workers):
                bar.advance(task)
                if problem is None:
                    report.ok += 1
                    continue
                setattr(report, problem, getattr(report, problem) + 1)
                entry = entries[index]
                result.findings.append(Finding(split, entry.id, problem, reason, str(entry.path)))
    _print(result, max_listed, console)
    if output is not None:
        write_findings(result.findings, Path(output), console)
    return result


def run_check(root: str | Path, **options: Any) -> int:
    """Run :func:`check` and return the exit status of a command: 0 where all is well, 1 where something was found.

    Args:
        root: folder of the data set.
        **options: further arguments of :func:`check`.
    """
    return 0 if check(root, **options).ok else 1


def _print(result: CheckResult, max_listed: int, console: Console) -> None:
    table = Table(title=f"{result.root} (reader {result.reader})", title_justify="left")
    table.add_column("split")
    for column in ("entries", "ok", "missing", "unreadable", "short"):
        table.add_column(column, justify="right")
    for split, report in result.splits.items():
        counts = (report.missing, report.unreadable, report.short)
        cells = (f"[red]{count}[/red]" if count else "0" for count in counts)
        table.add_row(split, str(report.entries), str(report.ok), *cells)
    console.print(table)
    print_findings(result.findings, max_listed, console)
