# SPDX-License-Identifier: Apache-2.0
"""Whole videos, chunk by chunk, that styled copies are still missing of: the data module."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from ..errors import DatasetExistsError, OptionError, StaticDropoutError
from ..perturbations import StyleSet
from ..perturbations.styles.style_set import DEFAULT_STYLES
from .frame_patterns import FramePattern, check_name
from .loaders import default_num_workers
from .missing_copies import remove_unfinished, still_missing
from .option_checks import check_counts
from .readers import resolve_reader
from .style_provenance import claim_styles
from .style_sources import SourceVideo, VideoList, default_pattern, list_videos
from .whole_video_chunks import StyleTask, WholeVideoDataset

__all__ = ("WholeVideoDataModule",)

_RELEASE_FPS = {"activitynet": 5.0}


class WholeVideoDataModule(LightningDataModule):
    """Reads whole videos for ``predict``, in chunks and in order, where styled copies of them are missing on disk.

    The folder of a video in a style, if it holds frames, counts as complete, since it gets its name when it is: only
    what is missing is read, so that a run that was ended goes on where it stopped, and a style that is added later is
    made of all videos. ``styles.json`` in the folder says how the frames were made; frames of other settings are not
    added.

    Videos are shared by ranks and, within a rank, by the loader's workers: each is read once, its chunks one after
    another. The chunks are those of :class:`.WholeVideoDataset`. Only ``predict`` is offered.

    Args:
        root: folder of the data set.
        output: folder of the styled copies; not inside ``root``.
        styles: names of styles, or files of networks that stylise; a list, or one text with commas between them.
        seed: the variant of the styles.
        layout: of videos: ssv2, something_else, kinetics, diving48, activitynet; of sequences: davis2016, davis2017,
            youtube_vos, tao_vos, imagenet_vid, moca; videos or frames for a folder without annotations; auto to guess.
        splits: train, validation, test, as the data set calls them, or all. Where there is no validation split, that of
            testing stands for it.
        limit: only the first so many videos.
        pattern: where the frames go: release, ssv2, activitynet, diving48, davis, or a pattern such as
            ``style_{k}/{video}/frame_{frame:05d}.jpg``; by default what the authors' loader of the data set reads.
        first_frame: the number of a video's first frame; by default that of the pattern.
        target_fps: frames a second; 0 for every frame. By default 5 for ActivityNet, as in the paper's release, and
            every frame else.
        short_side: scale larger videos down to this shorter side in pixels.
        reader: of videos: decord, torchcodec, pyav or frames.
        labels_dir: folder of the annotation files; by default guessed below root.
        video_dir: folder of the videos; by default guessed below root.
        chunk_megapixels: how much of a video is held at once; a style that looks at several frames gets it whole.
        quality: of JPEG, 1 to 100.
        on_error: skip videos that cannot be read, or whose names cannot be those of folders, or raise.
        num_workers: processes that read; by default one a core, at most 8.

    Raises:
        OptionError: an option is out of range, or does not go with another.

    Example:
        >>> WholeVideoDataModule("/data/ssv2", "/data/ssv2_styled", styles=["paint", "neon"]).style_set.names
        ('paint', 'neon')
    """

    def __init__(
        self,
        root: str,
        output: str,
        styles: str | Sequence[str] = DEFAULT_STYLES,
        seed: int = 0,
        layout: str = "auto",
        splits: str | Sequence[str] = ("validation",),
        limit: int | None = None,
        pattern: str | None = None,
        first_frame: int | None = None,
        target_fps: float | None = None,
        short_side: int | None = None,
        reader: str = "decord",
        labels_dir: str | None = None,
        video_dir: str | None = None,
        chunk_megapixels: float = 4.0,
        quality: int = 95,
        on_error: Literal["skip", "raise"] = "skip",
        num_workers: int | None = None,
    ) -> None:
        super().__init__()
        self.prepare_data_per_node = False  # all machines see one output folder
        check_counts(optional=True, limit=limit, short_side=short_side)
        if not 1 <= quality <= 100:
            raise OptionError(f"quality must lie between 1 and 100; got {quality}.")
        if chunk_megapixels <= 0 or (target_fps or 0) < 0:
            raise OptionError(
                f"chunk_megapixels must be positive and target_fps not negative; got {chunk_megapixels}, {target_fps}."
            )
        if on_error not in ("skip", "raise"):
            raise OptionError(f"on_error is 'skip' or 'raise', not {on_error!r}.")
        if not splits:
            raise OptionError("splits is empty: name one, such as validation, or all.")
        self.root, self.output = Path(root), Path(output)
        self.style_set = _style_set(_parts(styles), seed)
        """The styles, in order."""
        self.layout, self.splits, self.limit, self.reader = layout, tuple(_parts(splits)), limit, reader
        self.labels_dir, self.video_dir = labels_dir, video_dir
        self.target_fps, self.short_side = target_fps, short_side
        self.chunk_megapixels, self.quality, self.on_error = chunk_megapixels, quality, on_error
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self._pattern, self._first_frame = pattern, first_frame
        if pattern is not None:
            FramePattern.of(pattern, first_frame)  # so that a wrong one is refused at once
        self._listed: VideoList | None = None
        self._tasks: list[StyleTask] = []
        self.num_videos = 0
        """Videos of the data set, known after ``setup``."""
        self.num_finished = 0
        """Those of them that were there in all styles beforehand."""

    @property
    def source(self) -> VideoList:
        """The videos of the data set; read from the disk when it is asked for first."""
        if self._listed is None:
            reader = self.reader if self.reader == "frames" else resolve_reader(self.reader)
            self._listed = list_videos(
                self.root, self.layout, self.splits, self.limit, reader, self.labels_dir, self.video_dir
            )
        return self._listed

    @property
    def pattern(self) -> FramePattern:
        """Where the frames go."""
        return FramePattern.of(self._pattern or default_pattern(self.source.layout), self._first_frame)

    @property
    def _fps(self) -> float | None:
        """The frame rate to take; None: every frame."""
        if self.target_fps is None and self.source.reader != "frames":
            return _RELEASE_FPS.get(self.source.layout)
        return self.target_fps or None

    def prepare_data(self) -> None:
        """Claim the output folder, and remove what a run that was ended has left half done. On one process of all.

        Raises:
            DatasetExistsError, DatasetNotFoundError, UnknownNameError, AnnotationError, OptionError: see :meth:`check`.
            OptionError: nothing can be written to the folder.
        """
        self.check()
        try:
            claim_styles(self.output, self.style_set, self.pattern, self._settings)
            remove_unfinished({self.output, *(folder.parent for task in self._all() for folder in task.folders)})
        except DatasetExistsError:
            raise
        except OSError as error:
            hint = "Choose another folder."
            raise OptionError(f"Nothing can be written to {str(self.output)!r}: {error}. {hint}") from error

    @property
    def _settings(self) -> dict[str, Any]:
        """What ``styles.json`` says beside the styles and the pattern."""
        return {
            "source": str(self.root.resolve()),
            "layout": self.source.layout,
            "target_fps": self._fps,
            "short_side": self.short_side,
            "quality": self.quality if self.pattern.suffix != ".png" else None,
            "staticdropout": importlib.metadata.version("staticdropout"),
        }

    def check(self) -> None:
        """Make sure that data set, options and output folder go together; nothing is written.

        Raises:
            DatasetExistsError: the output lies inside the data set, or holds frames of another kind.
            DatasetNotFoundError, UnknownNameError, AnnotationError: see :func:`.list_videos`.
            OptionError: an option does not go with the data set.
        """
        inside, outside = self.output.resolve(), self.root.resolve()
        if inside == outside or outside in inside.parents:
            raise DatasetExistsError(
                f"The output {str(self.output)!r} lies inside the data set {str(self.root)!r}, where its frames would "
                "pass for data. Choose a folder beside it."
            )
        source, pattern = self.source, self.pattern
        if pattern.by_stem and not all(video.frames for video in source.videos):
            raise OptionError(
                f"The pattern {pattern.text!r} keeps the names of pictures, but {source.layout!r} has videos. Number "
                "the frames: {frame:05d} in place of {stem}."
            )
        sequences = any(video.frames for video in source.videos)
        if sequences and (self.short_side or self.target_fps):
            raise OptionError(
                "short_side and target_fps are for videos: the pictures of sequences keep their number and size, which "
                "their masks have too."
            )
        if source.reader == "frames" and self.target_fps:
            raise OptionError("target_fps needs video files: a folder of frames does not tell its own rate.")
        self._all()  # where they are not skipped, names that cannot be folders end it here
        claim_styles(self.output, self.style_set, pattern, self._settings, write=False)

    def _all(self) -> list[StyleTask]:
        """Every video in every style."""
        return [self._task(video) for video in self.source.videos]

    def _task(self, video: SourceVideo) -> StyleTask:
        names, pattern = self.style_set.names, self.pattern
        try:
            check_name("video", video.name)
        except OptionError as error:
            if self.on_error == "raise":
                raise
            return StyleTask(video, (), (), refused=str(error))
        folders = tuple(pattern.folder(self.output, name, k, video.name) for k, name in enumerate(names, start=1))
        return StyleTask(video, tuple(range(len(names))), folders)

    def setup(self, stage: str | None = None) -> None:
        """Find out what is missing; the first process does, for all.

        Raises:
            OptionError: another stage than ``predict``.
        """
        if stage not in (None, "predict"):
            raise OptionError(f"WholeVideoDataModule has whole videos for `predict`, and nothing for `{stage}`.")
        trainer = self.trainer
        found: Any = None
        if trainer is None or trainer.is_global_zero:
            everything = self._all()
            left = (still_missing(task, self.pattern.suffix) for task in everything)
            missing = [task for task in left if task.styles or task.refused]
            # with the layout, so that the other processes need not look at the annotations
            listed = VideoList(self.source.layout, self.source.reader, [])
            found = (missing, len(everything), listed)
        if trainer is not None:
            found = trainer.strategy.broadcast(found)
        tasks, self.num_videos, listed = found
        self._listed = self._listed or listed
        self.num_finished = self.num_videos - len(tasks)
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        self._tasks = tasks[rank::world]

    def predict_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The loader of this rank's videos; an item is a chunk, not a batch of them."""
        temporal = any(style.temporal for style in self.style_set)
        dataset = WholeVideoDataset(
            self._tasks,
            self.style_set.names,
            self.pattern,
            reader=self.source.reader,
            target_fps=self._fps,
            short_side=self.short_side,
            chunk_pixels=None if temporal else round(1e6 * self.chunk_megapixels),
            on_error=self.on_error,
            more={"quality": self.quality, "output": str(self.output), "num_videos": len(self._tasks)},
        )
        return DataLoader(
            dataset,
            batch_size=None,
            num_workers=min(self.num_workers, len(self._tasks)),
            collate_fn=_as_it_is,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(0),  # of the workers' seeds, else from the global generator
        )


def _parts(texts: str | Sequence[str]) -> list[str]:
    """The parts of a text with commas, or a list as it is."""
    return [part.strip() for part in texts.split(",") if part.strip()] if isinstance(texts, str) else list(texts)


def _style_set(styles: Sequence[str], seed: int) -> StyleSet:
    try:
        return StyleSet(list(styles), seed=seed)
    except StaticDropoutError:
        raise
    except (TypeError, ValueError) as error:  # none, or one of them twice
        raise OptionError(f"styles={list(styles)}: {error}") from error


def _as_it_is(chunk: Any) -> Any:
    return chunk
