# SPDX-License-Identifier: Apache-2.0
"""Computing the optical flow of a data set once, in files."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ...errors import DatasetNotFoundError, OptionError, UnknownNameError, VideoDecodeError
from ...perturbations.flow_colours import Encoding
from ..loaders import default_num_workers
from ..readers.base import as_read_error
from .base import FlowEstimator
from .estimators import ESTIMATORS, get_estimator, list_estimators
from .flo import write_flo
from .flow_files import check_encoding, write_flow_picture
from .flow_store import SUFFIXES, FileFormat, FramePair, find_flow, flow_folder, flow_path, frame_pairs
from .provenance import check_provenance, claim_folder

__all__ = ("FlowReport", "compute_flow")

_HINT = "Extract the frames of the sequence again, or leave it out."


class FlowReport(NamedTuple):
    """What :func:`compute_flow` did.

    Attributes:
        written: files that it computed and wrote.
        present: files that were there already.
    """

    written: int
    present: int


def compute_flow(
    sequences: Iterable[tuple[str, Sequence[Path]]],
    flow_dir: str | Path,
    method: str | FlowEstimator = "dis",
    gaps: Sequence[int] = (1,),
    file_format: FileFormat = "png",
    encoding: Encoding = "middlebury",
    max_flow: float | None = None,
    num_workers: int | None = None,
    weights: str | Path | None = None,
    progress: bool = True,
) -> FlowReport:
    """Compute the optical flow that is missing on disk.

    Files go to ``<flow_dir>/FlowImages_gap<gap>/<sequence>/<frame>.png`` or ``Flows_gap<gap>/….flo``, each of them
    whole or not at all: a run that was killed goes on where it stopped, and two runs on one folder do no harm. With
    ``png`` any flow that :func:`.find_flow` finds counts as present; with ``flo`` only ``.flo`` files do.

    ``flow.json`` in the folder says how the flow was made: method, library, weights, encoding, max_flow, gap. Where it
    names other settings than those asked for, nothing is added (an error); where nothing is missing anyway, there is a
    warning and the flow on disk stays in use.

    The work is shared by threads, which is enough: decoding, DIS, drawing and compression run outside the interpreter.

    Args:
        sequences: name and files of the frames in order, of each sequence.
        flow_dir: folder of all flow of the data set.
        method: ``"dis"``, ``"raft_small"``, ``"raft_large"``, ``"folder"`` (compute nothing; what is missing is an
            error), or an estimator of your own.
        gaps: 1 for the flow to the next frame, -1 for the flow to the previous one.
        file_format: ``"png"`` (colour pictures, 8 bits a channel) or ``"flo"`` (pixels as floats, about 20 times the
            size).
        encoding: colours of the pictures: ``"middlebury"`` (no motion is white) or ``"hsv"`` (no motion is black).
        max_flow: the magnitude in pixels that gets the full colour; None: the largest of each picture, as in the
            official files. A fixed one (e.g. 20) keeps the colours comparable between frames.
        num_workers: threads; None: one for each CPU core, at most 8. RAFT on the CPU takes one and all cores.
        weights: weights of RAFT, see :func:`.get_estimator`.
        progress: show a progress bar.

    Returns:
        How many files were written and how many were there already.

    Raises:
        VideoDecodeError: a frame cannot be read, or has another size than its neighbour; the message names the file.
            What was computed before stays.
        DatasetNotFoundError: flow is missing and ``method`` is ``"folder"``.
        UnknownNameError: there is no such method or encoding.
        OptionError: an option is out of range, RAFT has no weights, or the folder holds flow of another kind.
        AnnotationError: the ``flow.json`` of the folder is damaged.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     frames = [Path(folder) / f"{i:05d}.jpg" for i in range(3)]
        ...     for frame in frames:
        ...         Image.new("RGB", (40, 30)).save(frame)
        ...     compute_flow([("dog", frames)], Path(folder) / "flow", gaps=(1, -1), progress=False)
        ...     compute_flow([("dog", frames)], Path(folder) / "flow", gaps=(1, -1), progress=False)
        FlowReport(written=4, present=0)
        FlowReport(written=0, present=4)
    """
    name = method if isinstance(method, str) else method.name
    if isinstance(method, str) and method not in ESTIMATORS:
        raise UnknownNameError("flow method", method, list_estimators())
    if file_format not in get_args(FileFormat):
        raise UnknownNameError("file format of flow", file_format, get_args(FileFormat))
    if num_workers is not None and num_workers < 0:
        raise OptionError(f"num_workers must be None, 0 or more, found {num_workers}.")
    check_encoding(encoding, max_flow)
    as_png = file_format == "png"
    suffixes = SUFFIXES if as_png else (".flo",)
    settings = {
        "method": name,
        "encoding": encoding if as_png else None,
        "max_flow": max_flow if as_png else None,
    }

    def is_missing(pair: FramePair) -> bool:
        return find_flow(flow_dir, pair.sequence, pair.frame.stem, pair.gap, suffixes) is None

    pairs = frame_pairs(sequences, gaps)
    missing = [pair for pair in pairs if is_missing(pair)]
    if name == "folder":
        _refuse_missing(flow_dir, missing, file_format)
    folders = {gap: flow_folder(flow_dir, gap, file_format) for gap in gaps}
    if not missing:
        if name != "folder":
            _warn_of_other_flow(folders.values(), settings)
        return FlowReport(0, len(pairs))
    estimator = get_estimator(method, weights) if isinstance(method, str) else method
    settings |= estimator.origin
    present = Counter(pair.gap for pair in pairs) - Counter(pair.gap for pair in missing)
    for gap in dict.fromkeys(pair.gap for pair in missing):
        claim_folder(folders[gap], {**settings, "gap": gap}, present[gap])

    def compute(pair: FramePair) -> bool:
        if not is_missing(pair):  # another run was faster
            return False
        flow = estimator(_read_frames(pair))[0].numpy()
        path = flow_path(flow_dir, pair.sequence, pair.frame.stem, pair.gap, file_format)
        if as_png:
            write_flow_picture(path, flow, encoding, max_flow, name)
        else:
            write_flo(path, flow)
        return True

    workers = (default_num_workers() if num_workers is None else max(1, num_workers)) if estimator.parallel else 1
    written = _compute_all(compute, missing, workers, estimator.parallel, f"Flow ({name})", progress)
    return FlowReport(written, len(pairs) - written)


def _compute_all(
    compute: Callable[[FramePair], bool],
    pairs: Sequence[FramePair],
    workers: int,
    one_thread_each: bool,
    description: str,
    progress: bool,
) -> int:
    """Call ``compute`` for every pair, and count those that it was true for. The first error ends it."""
    # Each worker of several must not start a team of PyTorch threads of its own. The number is that of the thread that
    # sets it, but also becomes the default of threads to come, so it is set back.
    threads = torch.get_num_threads()
    initializer = partial(torch.set_num_threads, 1) if one_thread_each else None
    written = 0
    try:
        with (
            ThreadPoolExecutor(workers, "flow", initializer) as pool,
            tqdm(total=len(pairs), desc=description, unit="pair", disable=not progress) as bar,
        ):
            try:
                for future in as_completed([pool.submit(compute, pair) for pair in pairs]):
                    written += future.result()
                    bar.update()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
    return written


def _read_frames(pair: FramePair) -> Tensor:
    """Both frames of a pair, RGB (2, 3, H, W), uint8."""
    pictures = []
    for file in (pair.frame, pair.other):
        with as_read_error(file, "frames", _HINT), Image.open(file) as image:
            pictures.append(np.array(image.convert("RGB")))
    (height, width), other = pictures[0].shape[:2], pictures[1].shape[:2]
    if (height, width) != other:
        found = f"it is {other[1]}x{other[0]} pixels, but its neighbour {pair.frame.name} {width}x{height}"
        raise VideoDecodeError(pair.other, "frames", found, _HINT)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)


def _refuse_missing(flow_dir: str | Path, missing: Sequence[FramePair], file_format: FileFormat) -> None:
    if missing:
        paths = [flow_path(flow_dir, p.sequence, p.frame.stem, p.gap, file_format) for p in missing]
        expected: list[str | Path] = [*paths[:3]]
        if len(paths) > 3:
            expected.append(f"and {len(paths) - 3} more")
        hint = "Put the flow there, or have it computed with another flow method, such as 'dis'."
        raise DatasetNotFoundError(flow_dir, expected, hint)


def _warn_of_other_flow(folders: Iterable[Path], settings: dict[str, str | float | None]) -> None:
    for folder in folders:
        difference = check_provenance(folder, settings)
        if difference:
            warnings.warn(f"{difference} It is complete, so it is used as it is.", stacklevel=3)
