# SPDX-License-Identifier: Apache-2.0
"""``staticdropout data stylize``: styled copies of a data set."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from ..callbacks.styled_frames_writer import StyledFramesWriter
from ..datamodules.whole_videos import WholeVideoDataModule
from ..errors import VideoDecodeError
from ..lightning_modules.video_stylizer import VideoStylizer
from .style_lists import split_styles

__all__ = ("stylize_data",)


def stylize_data(
    root: str,
    output: str,
    styles: str | list[str] = "paint,chalk,neon,relief",
    layout: str = "auto",
    splits: str | list[str] = "validation",
    pattern: str | None = None,
    first_frame: int | None = None,
    target_fps: float | None = None,
    short_side: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    quality: int = 95,
    reader: str = "decord",
    labels_dir: str | None = None,
    video_dir: str | None = None,
    on_error: Literal["skip", "raise"] = "skip",
    workers: int | None = None,
    threads: int | None = None,
    chunk_megapixels: float = 4.0,
    accelerator: str = "auto",
    devices: str | int = "auto",
    num_nodes: int = 1,
    strategy: str = "auto",
    progress: bool = True,
) -> None:
    """Write styled copies of the videos of a data set; stop and go on as you like.

    Every video in every style gets a folder of frames, which has its name only when it is complete: the same command
    goes on where it stopped, and makes what a style added at the end of the list lacks. styles.json in the output says
    how the frames were made.

    Args:
        root: folder of the data set, or of videos or folders of frames.
        output: folder of the styled copies; not inside root.
        styles: names of styles, and files of networks that stylise, with commas between them: paint,chalk,my.ckpt.
        layout: of videos: ssv2, something_else, kinetics, diving48, activitynet; of sequences: davis2016, davis2017,
            youtube_vos, tao_vos, imagenet_vid, moca; videos or frames for a folder without annotations; auto to guess.
        splits: train, validation, test, as the data set calls them, with commas between them; or all.
        pattern: where the frames go: release, ssv2, activitynet, diving48, davis, or one of your own such as
            "style_{k}/{video}/frame_{frame:05d}.jpg"; by default what the authors' loader of the data set reads.
        first_frame: the number of a video's first frame; by default that of the pattern.
        target_fps: frames a second, 0 for every frame; by default 5 for ActivityNet, as in the paper's release, and
            every frame else.
        short_side: scale larger videos down to this shorter side in pixels.
        limit: only the first so many videos.
        seed: the variant of the styles.
        quality: of JPEG, 1 to 100.
        reader: of videos: decord, torchcodec, pyav or frames.
        labels_dir: folder of the annotation files; by default guessed below root.
        video_dir: folder of the videos; by default guessed below root.
        on_error: skip videos that cannot be read and list them at the end and in skipped.csv, or raise.
        workers: processes that read, for each device; by default one a core, at most 8.
        threads: threads that write, for each device; by default one a core, at most 8.
        chunk_megapixels: how much of a video is held at once, in millions of pixels.
        accelerator: cpu, gpu, auto: as of the Trainer.
        devices: how many, or which; auto takes all GPUs, or one process on the CPU.
        num_nodes: machines, each started with the same command as Lightning's launchers do it.
        strategy: auto shares the videos by DDP where there are several devices.
        progress: show a progress bar.
    """
    data = WholeVideoDataModule(
        root,
        output,
        styles=split_styles(styles),
        seed=seed,
        layout=layout,
        splits=split_styles(splits),
        limit=limit,
        pattern=pattern,
        first_frame=first_frame,
        target_fps=target_fps,
        short_side=short_side,
        reader=reader,
        labels_dir=labels_dir,
        video_dir=video_dir,
        chunk_megapixels=chunk_megapixels,
        quality=quality,
        on_error=on_error,
        num_workers=workers,
    )
    rank_zero_only(data.check)()  # before there are processes that would wait for this one
    writer = StyledFramesWriter(num_threads=threads, progress=progress)
    with _quietly():
        trainer = Trainer(
            accelerator=accelerator,
            devices=devices,
            num_nodes=num_nodes,
            strategy=strategy,
            callbacks=[writer],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.predict(VideoStylizer(), datamodule=data, return_predictions=False)
        except SystemExit:  # of Lightning, after Ctrl+C
            raise SystemExit("Stopped. What has its final name is whole, and the same command goes on.") from None
    if not trainer.is_global_zero:
        return
    if data.num_finished:
        print(f"{data.num_finished} of {data.num_videos} videos were there already, in all styles.")
    if writer.skipped and not writer.num_videos and not data.num_finished:
        name, reason = min(writer.skipped.items())
        raise VideoDecodeError(
            f"None of the {len(writer.skipped)} videos of {root!r} could be read; {name!r}, for example: {reason}. "
            "Check the folder and the reader, or run `staticdropout data check`."
        )


@contextmanager
def _quietly() -> Iterator[None]:
    """Without Lightning's lines on devices, and its warnings on loaders, which say nothing here."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\)")  # in lightning 2.6
        warnings.filterwarnings("ignore", message=r"Couldn't infer the batch indices")
        warnings.filterwarnings("ignore", message=r"The 'predict_dataloader' does not have many workers")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
