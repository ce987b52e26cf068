# SPDX-License-Identifier: Apache-2.0
"""StyledFramesWriter: styled frames as JPEG or PNG, each video whole or not at all."""

from __future__ import annotations

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from ..errors import FramesNotWrittenError, OptionError
from ..files import write_whole
from .measuring import terminal
from .video_folders import VideoFolders

__all__ = ("StyledFramesWriter",)

SKIPPED = "skipped.csv"
_LISTED = 10
_PATIENCE = timedelta(
    days=7
)  # the processes share the videos beforehand, and the first that is done waits for the last


class StyledFramesWriter(BasePredictionWriter):
    """Writes the frames that VideoStylizer renders, as files in the folders that the chunks of the data module name.

    The frames of a video in a style go to a hidden folder ``.<video>.<token>.unfinished`` beside the final one, which
    gets its name when the last frame is written: a folder without a dot is complete. The ending of a file, ``.jpg`` or
    ``.png``, says what is written. Encoding and writing happen in threads while the next chunk is rendered.

    The first process shows a bar with the videos that it has done, frames a second and the time that remains, and at
    the end says how much all have written in which time. Videos that could not be read are counted, listed, and written
    with their reasons to ``skipped.csv`` in the output folder.

    Args:
        num_threads: threads that encode and write; by default one a core, at most 8.
        progress: show the bar.

    Raises:
        OptionError: ``num_threads`` is not positive.

    Example:
        >>> StyledFramesWriter(num_threads=2).num_frames
        0
    """

    def __init__(self, num_threads: int | None = None, progress: bool = True) -> None:
        super().__init__(write_interval="batch")
        if num_threads is not None and num_threads < 1:
            raise OptionError(f"num_threads must be at least 1; got {num_threads}.")
        self.num_threads = num_threads or _default_threads()
        self.progress = progress
        self.num_videos = self.num_frames = 0
        """Videos and frames that were written: by this process, and when ``predict`` has ended by all."""
        self.skipped: dict[str, str] = {}
        """By its name the reason of every video that was skipped, likewise."""
        self._open: dict[str, VideoFolders] = {}
        self._writing: list[Future[None]] = []
        self._finishing: str | None = None
        self._output: str | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._bar: tqdm[Any] | None = None
        self._began = 0.0
        self._group: Any = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count, and see to it that the frames are not kept in memory as well."""
        trainer.predict_loop.return_predictions = False
        self.num_videos = self.num_frames = 0
        self.skipped, self._output = {}, None
        self._began = time.monotonic()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # a group of its own: by default processes wait for each other for a few minutes only
            self._group = torch.distributed.new_group(backend="gloo", timeout=_PATIENCE)
        if self.progress and trainer.is_global_zero:
            name = f"Styling (process 1 of {trainer.world_size})" if trainer.world_size > 1 else "Styling"
            self._bar = tqdm(desc=name, unit=" videos", dynamic_ncols=True)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Hand the frames of a chunk to the threads, after those of the chunk before are written.

        Raises:
            FramesNotWrittenError: the disk is full, or the folder cannot be written to.
        """
        self._settle()
        self._output = batch["output"]
        if self._bar is not None and self._bar.total is None:
            self._bar.total = batch["num_videos"]
        if "video" not in batch:
            self._skip(batch)
            return
        try:
            self._begin(batch)
            self._submit(prediction, batch)
        except OSError as error:
            raise self._not_written(error) from error

    @property
    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.num_threads, "frames")
        return self._pool

    def _begin(self, batch: Mapping[str, Any]) -> None:
        if batch["id"] not in self._open:
            self._open[batch["id"]] = VideoFolders(batch["folders"])
            self._open[batch["id"]].begin()

    def _submit(self, prediction: Mapping[int, Tensor], batch: Mapping[str, Any]) -> None:
        video = self._open[batch["id"]]
        for style, place, files in zip(batch["styles"], video.places, batch["files"], strict=True):
            frames = prediction[style].cpu().numpy()
            for frame, file in zip(frames, files, strict=True):
                self._writing.append(self._threads.submit(_write, place / file, frame, batch["quality"]))
        self._finishing = batch["id"] if batch["last"] else None

    def _settle(self) -> None:
        """Wait until the frames of the chunk before are written; a video that is whole now gets its final name."""
        try:
            while self._writing:
                self._writing[-1].result()
                self._writing.pop()
                self.num_frames += 1
            if self._finishing is not None:
                self._open.pop(self._finishing).finish()
                self._finishing = None
                self.num_videos += 1
                self._advance()
        except OSError as error:
            raise self._not_written(error) from error

    def _skip(self, batch: Mapping[str, Any]) -> None:
        self.skipped.update(batch["skipped"])
        if (video := self._open.pop(batch["id"], None)) is not None:  # it broke in the middle
            video.discard()
        self._advance()

    def _advance(self) -> None:
        if self._bar is not None:
            rate = self.num_frames / max(time.monotonic() - self._began, 1e-9)
            self._bar.set_postfix_str(f"{rate:.0f} frames/s", refresh=False)
            self._bar.update()

    def _not_written(self, error: OSError) -> FramesNotWrittenError:
        return FramesNotWrittenError(
            f"Styled frames could not be written to {self._output!r}: {error.strerror or error}. What has its final "
            f"name there is whole ({self.num_videos} videos by this process); half videos are removed. Make room, or "
            "mend the folder, and give the same command again: it goes on where it stopped."
        )

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Finish the last video, and say what was done."""
        self._settle()
        self._close()
        seconds = time.monotonic() - self._began
        shares = self._from_all((self.num_videos, self.num_frames, self.skipped, self._output))
        self.num_videos, self.num_frames = sum(share[0] for share in shares), sum(share[1] for share in shares)
        self.skipped = {name: reason for share in shares for name, reason in share[2].items()}
        outputs = [share[3] for share in shares if share[3] is not None]
        if outputs and trainer.is_global_zero:
            self._report(Path(outputs[0]), seconds)

    def _from_all(self, value: Any) -> list[Any]:
        """The values of all processes; those that are done wait here for the others."""
        if self._group is None:
            return [value]
        values: list[Any] = [None] * torch.distributed.get_world_size()
        try:
            torch.distributed.all_gather_object(values, value, self._group)
        except RuntimeError as error:  # the connection to a process that is no more
            raise FramesNotWrittenError(
                "Another process of this run has ended before its videos were done; its own message says why. What has "
                "its final name is whole, and the same command goes on where it stopped."
            ) from error
        return values

    def _report(self, output: Path, seconds: float) -> None:
        rate = self.num_frames / max(seconds, 1e-9)
        videos = f"{self.num_videos} video{'' if self.num_videos == 1 else 's'}"
        said = f"{videos} styled, {self.num_frames} frames in {seconds:.1f} s ({rate:.0f} frames/s)"
        table = output / SKIPPED
        lines = []
        try:
            if self.skipped:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows([("video", "reason"), *sorted(self.skipped.items())])
                write_whole(table, text.getvalue())
                said += f"; {len(self.skipped)} skipped, see {table}"
                lines = [f"  {name}: {reason}" for name, reason in sorted(self.skipped.items())[:_LISTED]]
                if len(self.skipped) > _LISTED:
                    lines.append(f"  … and {len(self.skipped) - _LISTED} more")
            else:
                table.unlink(missing_ok=True)  # of a run before, whose videos could now be read
        except OSError as error:
            raise self._not_written(error) from error
        terminal().print("\n".join([f"{said}.", *lines]), soft_wrap=True, highlight=False, markup=False)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the videos that are half written."""
        self._close()

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        if self._bar is not None:
            self._bar.close()
        for video in self._open.values():
            video.discard()
        self._open, self._writing, self._finishing, self._pool, self._bar = {}, [], None, None, None


def _default_threads() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return min(8, len(affinity(0)) if affinity is not None else os.cpu_count() or 1)


def _write(file: Path, frame: NDArray[np.uint8], quality: int) -> None:
    Image.fromarray(frame).save(file, quality=quality)
