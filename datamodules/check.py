# SPDX-License-Identifier: Apache-2.0
"""Look through a data set for files that are missing, unreadable or too short, before a training run finds them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from ..errors import DatasetNotFoundError, VideoDecodeError
from .findings import Finding, as_they_are, print_findings, progress_bar, write_findings
from .loaders import default_num_workers
from .readers import open_video, resolve_reader
from .ssv2_annotations import SPLITS, Split, find_annotation, find_videos, read_class_names, read_split
from .video_dataset import Entry

__all__ = ("CheckResult", "Finding", "SplitReport", "check", "run_check")

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
        path = self.entries[index].path
        if not path.exists():
            return index, "missing", "there is no such file"
        try:
            # small pictures decode to the same verdict and cost less
            video = open_video(path, reader=self.reader, short_side=64)
            length = len(video)
            # the last frame is where a broken download shows; two more to catch damage in between
            video.get_batch(range(length) if self.every_frame else sorted({0, length // 2, length - 1}))
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
) -> CheckResult:
    """Open every video of a data set in the layout of Something-Something V2, and report what training would meet.

    Prints a table with a row for each split that has an annotation file, and the first files with a problem.

    Args:
        root: folder of the data set.
        reader: the video reader that the training will use.
        num_workers: worker processes; None: one for each CPU core, at most 8.
        min_frames: a video with fewer frames is reported as short.
        every_frame: decode all frames (slow) instead of the first, the middle and the last.
        output: CSV file for all findings: split, id, problem, reason, path.
        labels_dir: folder of the annotation files; None: guessed below root.
        video_dir: folder of the videos or frame folders; None: guessed below root.
        max_listed: how many files with a problem to print.
        console: where to print; None: standard output.

    Returns:
        The counts and every finding.

    Raises:
        DatasetNotFoundError: there are no annotations or no folder of videos.
        AnnotationError: an annotation is not in the official format.
        ReaderNotAvailableError: the reader's library is not installed.
    """
    console = console or Console()
    name = resolve_reader(reader)
    videos = find_videos(root, name, video_dir)
    class_names = read_class_names(root, labels_dir)
    present: list[Split] = [split for split in SPLITS if find_annotation(root, split, labels_dir) is not None]
    if not present:
        expected = [f"labels/{split}.json" for split in SPLITS]
        raise DatasetNotFoundError(root, expected, "Another folder of annotations is set with labels_dir.")
    result = CheckResult(Path(root), name)
    workers = default_num_workers() if num_workers is None else num_workers
    with progress_bar(console) as bar:
        for split in present:
            entries = read_split(root, split, class_names, videos, labels_dir)
            report = result.splits[split] = SplitReport(entries=len(entries))
            task = bar.add_task(f"Checking {split}", total=len(entries))
            for index, problem, reason in _probe(_Probes(entries, name, min_frames, every_frame), workers):
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
