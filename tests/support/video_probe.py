# SPDX-License-Identifier: Apache-2.0
"""Read videos in a process of its own, so that a decoder which crashes or hangs takes nothing else with it."""

from __future__ import annotations

import functools
import hashlib
import json
import multiprocessing
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from staticdropout.datamodules import READERS, open_video
from staticdropout.datamodules.vp9 import without_tag_warning, write_vp9
from staticdropout.errors import ReaderNotAvailableError, VideoDecodeError

MOST = 16  # frames that are read of a video, and its last
Outcome = dict[str, Any]


@functools.cache
def missing(reader: str) -> str:
    """Why a reader cannot be used here; empty where it can. torchcodec looks for FFmpeg when it first opens a file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "1.webm"
        with without_tag_warning():
            write_vp9(path, np.zeros((2, 32, 40, 3), np.uint8))
        try:
            READERS[reader](path)
        except ReaderNotAvailableError as error:
            return str(error)
    return ""


def decoders() -> list[Any]:
    """The readers of video files as parameters of a test, skipped with the reason where one cannot be used."""
    names = ("decord", "pyav", "torchcodec")
    return [pytest.param(name, marks=pytest.mark.skipif(bool(missing(name)), reason=missing(name))) for name in names]


def fingerprints(frames: np.ndarray[Any, np.dtype[np.uint8]]) -> list[str]:
    """One short text for each frame."""
    return [hashlib.sha1(frame.tobytes(), usedforsecurity=False).hexdigest()[:12] for frame in frames]


def _outcome(path: Path, reader: str) -> Outcome:
    try:
        video = open_video(path, reader=reader, time_limit=10)
        indices = [*range(min(len(video), MOST)), len(video) - 1]
        frames = video.get_batch(indices)
    except VideoDecodeError as error:
        return {"path": error.path, "reader": error.reader, "reason": error.reason, "hint": error.hint}
    except Exception as error:
        return {"unexpected": repr(error)}
    return {
        "asked": len(indices),
        "length": len(video),
        "shape": frames.shape,
        "type": str(frames.dtype),
        "frames": fingerprints(frames),
    }


def _probe(paths: Sequence[Path], reader: str, report: Path) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what FFmpeg has to say
    warnings.simplefilter("ignore")
    with report.open("w", buffering=1) as file:  # a line at a time: the last one tells where a crash came from
        for path in paths:
            file.write(json.dumps({"file": str(path)}) + "\n")
            file.write(json.dumps({"file": str(path), **_outcome(path, reader)}) + "\n")


def read_all(paths: Sequence[Path], reader: str, report: Path, seconds: float = 60) -> dict[Path, Outcome]:
    """What reading each file gave; fails the test where the process crashed or hung, naming the file."""
    process = multiprocessing.get_context("fork").Process(target=_probe, args=(paths, reader, report))
    process.start()
    process.join(seconds)
    lines = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else [{}]
    if process.is_alive():
        process.kill()
        pytest.fail(f"{reader} hangs at {lines[-1]}")
    assert process.exitcode == 0, f"{reader} ended the process with {process.exitcode} at {lines[-1]}"
    return {Path(line["file"]): line for line in lines}
