# SPDX-License-Identifier: Apache-2.0
"""Styled frames on disk as a LightningDataModule that measures by the sampling of the paper's released code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch.utils.data import DataLoader

from ..errors import AnnotationError, OptionError
from ..perturbations.protocols import ActionProtocol
from .frame_patterns import FramePattern
from .loaders import default_num_workers, make_loader
from .option_checks import check_counts
from .pattern_check import check_pattern
from .style_provenance import describe_styles, read_style_file
from .styled_counts import counted
from .styled_pairs import PairCollate, StyledPair, StyledPairs
from .styled_videos import (
    Listed,
    StyledFolder,
    annotated_videos,
    annotations_of,
    choose_styles,
    find_pattern,
    unlabelled,
)
from .video_source import Split, VideoSource

__all__ = ("StyledFramesDataModule", "note_styles", "refuse_training")

_CONVENTIONS = ("release", "ssv2", "diving48", "activitynet")
_SHOWN = 3  # of the videos that are left out
_PAPER_STYLES = 4
_FPS = 5.0  # at which the paper's frames of ActivityNet were extracted


def refuse_training(name: str, stage: str | None) -> None:
    """Refuse to be trained on.

    Raises:
        OptionError: ``stage`` is ``"fit"``.
    """
    if stage == "fit":
        raise OptionError(
            f"{name} gives pairs of styled clips to measure on and has nothing to train on. Measure a trained model "
            "with `lightning validate`; train on the data set itself."
        )


def note_styles(count: int) -> None:
    """Tell of another number of styles than the paper has."""
    if count != _PAPER_STYLES:
        rank_zero_warn(
            f"There are {count} styles, and the paper's protocol has {_PAPER_STYLES}: numbers cannot be compared with "
            "those of four. The report names the styles."
        )


class StyledFramesDataModule(LightningDataModule):
    """Pairs of styled clips of action recognition, drawn as the paper's released code draws them.

    The frames of every video lie on disk in several styles: made by ``staticdropout data stylize``, or the authors'
    own. BiasMonitor measures the pairs of the validation loader as they are; see ``docs/protocol.md`` for the protocol
    step by step, and :class:`~staticdropout.perturbations.protocols.ActionProtocol` for what is drawn.

    Batches are ``{"video": (B, 3, T, H, W) uint8, "paired_video": the same, "factor": (B,) int64 index into (static,
    dynamic), "seed": (B,) int64, "label": (B,) int64, "id": list of str}`` and, only where a frame could not be read,
    ``"skipped"``. The pairs of all seeds come one seed after the other. With the oddity ``independent_pathways`` also
    ``"slow"`` and ``"paired_slow"``.

    Videos are those of the first style, in the order of the annotation file (test split of Diving48, otherwise
    validation split) where annotations are found, else all in the order of their names. Labels come from the
    annotations; they are -1 where there are none and with ``use_labels: false``, which is for models of other classes
    (those of Kinetics on ActivityNet): such clips are measured, but not scored.

    Args:
        root: folder of the styled data set.
        pattern: where the frames lie in it: release, ssv2, activitynet, diving48, or a pattern such as
            ``style_{k}/{video}/frame_{frame:05d}.jpg``; null: that of its ``styles.json``, else the one that fits.
        styles: names or numbers of the styles, or how many of those on disk; null: all on disk.
        source_root: folder of the data set that was stylised, for the annotations; null: root.
        labels_dir: folder of the annotation files; null: guessed below source_root.
        layout: ssv2, something_else, diving48, activitynet, kinetics, auto (guessed from the annotation files), or none
            (no annotations: all videos).
        split: train, validation or test; null: validation, or test where there is no validation split.
        use_labels: give the labels of the annotations.
        num_frames: frames in a clip, spread evenly over the window; of a SlowFast the fast ones.
        window: frames that a clip spans, no fewer than it has.
        slow_frames: frames in a slow clip, for independent_pathways, which is for SlowFast alone.
        num_examples: pairs for each seed, at most.
        seeds: seeds; each one is a measurement of its own.
        min_frames: frames that a video must have at least.
        oddities: what the released code does and the paper does not say, see
            ``staticdropout.perturbations.protocols.ACTION_ODDITIES``; null: none of it.
        fps: frames a second of the styled frames, for the segments of ActivityNet; null: that of ``styles.json``, or 5
            where there is no such file.
        short_side: length of the shorter side after resizing, in pixels.
        crop_size: height and width of clips in pixels.
        batch_size: pairs in a batch, for each device.
        num_workers: worker processes; null: one for each CPU core, at most 8.
        on_error: what to do with a video whose frames are not the same in all styles or have gaps in their numbers, and
            with a frame that cannot be read: skip (leave the video out and say so, skip the pair and list it in the
            batch), or raise.

    Attributes:
        left_out: by their names the reasons of videos that are not whole, known after ``setup``.

    Raises:
        OptionError: an option is out of range, or (from setup) there is no such style, no file fits the pattern, or a
            training is asked for.
        UnknownNameError: there is no such oddity or layout.
        DatasetNotFoundError: (from setup) there are no styles, annotations or videos.
        AnnotationError: (from setup) no video is long enough, or (with ``on_error="raise"``) one is not whole.

    Example:
        >>> data = StyledFramesDataModule("/data/stylized_ssv2", pattern="ssv2", oddities=["redraw_start_at_zero"])
        >>> data.protocol.num_examples, data.protocol.oddities
        (3000, ('redraw_start_at_zero',))
    """

    def __init__(
        self,
        root: str,
        pattern: str | None = None,
        styles: Sequence[str | int] | int | None = None,
        source_root: str | None = None,
        labels_dir: str | None = None,
        layout: str = "auto",
        split: Split | None = None,
        use_labels: bool = True,
        num_frames: int = 8,
        window: int = 64,
        slow_frames: int | None = None,
        num_examples: int = 3000,
        seeds: Sequence[int] = (1, 2, 3, 4),
        min_frames: int = 8,
        oddities: Sequence[str] | None = None,
        fps: float | None = None,
        short_side: int = 256,
        crop_size: int = 256,
        batch_size: int = 2,
        num_workers: int | None = None,
        on_error: Literal["skip", "raise"] = "skip",
    ) -> None:
        super().__init__()
        seeds, oddities = tuple(seeds), (oddities,) if isinstance(oddities, str) else tuple(oddities or ())
        self.save_hyperparameters(logger=False)
        check_counts(batch_size=batch_size, short_side=short_side, crop_size=crop_size)
        if fps is not None and not fps > 0:
            raise OptionError(f"fps must be above 0, or null; got {fps}.")
        if crop_size > short_side:
            raise OptionError(f"crop_size={crop_size} must not be above short_side={short_side}: set both.")
        self.root, self.source_root, self.labels_dir = Path(root), source_root, labels_dir
        self.layout, self.split, self.use_labels, self.fps = layout, split, use_labels, fps
        self._pattern = None if pattern is None else FramePattern.of(pattern)
        self._styles = styles
        self.short_side, self.crop_size, self.on_error = short_side, crop_size, on_error
        self.batch_size = batch_size
        self.num_workers = default_num_workers() if num_workers is None else num_workers
        self.protocol = ActionProtocol(
            num_examples=num_examples,
            seeds=seeds,
            window=window,
            num_frames=num_frames,
            slow_frames=slow_frames,
            min_frames=min_frames,
            oddities=oddities,
        )
        self.left_out: dict[str, str] = {}
        self._source: VideoSource | None = None
        self._dataset: StyledPairs | None = None
        self._described: dict[str, Any] = {}

    def setup(self, stage: str | None = None) -> None:
        """Find styles, annotations and videos, and draw the pairs of all seeds; ``fit`` is refused."""
        refuse_training(type(self).__name__, stage)
        if self._dataset is not None:
            return
        pattern = self._pattern or find_pattern(self.root, [self.layout, *_CONVENTIONS])
        folder = StyledFolder(self.root, pattern, choose_styles(self.root, pattern, self._styles))
        check_pattern(folder)
        note_styles(len(folder.styles))
        self.protocol = replace(self.protocol, num_styles=len(folder.styles))
        listed = self._listed(folder)
        in_parts = any(video.spans is not None for video in listed)
        fps = self._frames_a_second() if in_parts else _FPS
        protocol = self.protocol
        found, self.left_out = counted(folder, listed, protocol.takes, protocol.pairs_wanted, fps, self.on_error)
        self._say_what_is_left_out(len(listed))
        if not found:
            needed = f"{protocol.min_frames} frames"
            if in_parts:
                needed = f"{protocol.min_video} frames, {protocol.min_segment} of them in its first segment"
            broken = ""
            if self.left_out:
                broken = f" {len(self.left_out)} are not whole; for example: {next(iter(self.left_out.values()))}"
            raise AnnotationError(
                f"None of the {len(listed)} videos in {str(self.root)!r} can be measured: each needs at least {needed}."
                f"{broken}"
            )
        if len(found) < self.protocol.pairs_wanted:
            rank_zero_info(
                f"{len(found)} of {len(listed)} videos are long enough and make a pair for each seed; "
                f"the protocol takes the first {self.protocol.pairs_wanted} where there are so many."
            )
        labels = [video.label if self.use_labels else -1 for video, _ in found]
        videos = [video for _, video in found]
        pairs = [
            StyledPair(pair, seed, labels[pair.video])
            for seed in self.protocol.seeds
            for pair in self.protocol.draw(videos, seed)
        ]
        self._dataset = StyledPairs(folder, pairs, self.short_side, self.crop_size, self.on_error)
        self._described = {
            **self.protocol.description,
            **describe_styles(self.root, folder.styles, pattern),
            "pairs_per_seed": len(videos),
            "short_side": self.short_side,
            "crop_size": self.crop_size,
        }

    def _say_what_is_left_out(self, listed: int) -> None:
        if self.left_out:
            shown = list(self.left_out.values())[:_SHOWN]
            more = [f"  … and {len(self.left_out) - _SHOWN} more"] if len(self.left_out) > _SHOWN else []
            lines = [f"  {reason}" for reason in shown]
            said = f"{len(self.left_out)} of {listed} videos are left out, whose frames are not whole:"
            rank_zero_info("\n".join([said, *lines, *more]))

    def _frames_a_second(self) -> float:
        """How fast the styled frames play, which places segments in seconds."""
        made = read_style_file(self.root)
        if self.fps is not None or made is None:
            return self.fps or _FPS
        if made.get("target_fps"):
            return float(made["target_fps"])
        raise OptionError(
            f"Segments are annotated in seconds, but the frames in {str(self.root)!r} were written as fast as each "
            "video plays. The protocol has 5 a second: stylise with --target_fps 5, or tell the speed by --data.fps."
        )

    def _listed(self, folder: StyledFolder) -> list[Listed]:
        self._source = annotations_of(folder, self.layout, self.source_root, self.labels_dir)
        if self._source is None:
            return unlabelled(folder)
        split = self.split or ("validation" if "validation" in self._source.splits() else "test")
        return annotated_videos(folder, self._source, split)

    @property
    def pair_protocol(self) -> dict[str, object]:
        """How the pairs were drawn and styled, as plain values; what BiasMonitor looks for and puts into its report."""
        return dict(self._described) or self.protocol.description

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes in the order of their indices; none where labels are not given."""
        return self._source.class_names() if self._source is not None and self.use_labels else ()

    def _loader(self) -> DataLoader[dict[str, Any]]:
        dataset = self._dataset
        if dataset is None:
            raise OptionError("There are no pairs yet: call setup, or hand the data module to a Trainer.")
        collate = PairCollate(dataset.item_shapes)
        return make_loader(dataset, len(dataset), self.batch_size, False, self.num_workers, collate, self.trainer)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The pairs of the first seed in the order of the file, then those of the next."""
        return self._loader()

    def test_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The same as in validation; BiasMonitor measures in `validate` only."""
        return self._loader()
