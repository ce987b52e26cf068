# SPDX-License-Identifier: Apache-2.0
"""Kinetics as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from .kinetics_source import KineticsSource
from .sampling import Sampling
from .video_data_module import Role, VideoDataModule
from .video_source import Split, VideoSource

__all__ = ("KineticsDataModule",)


class KineticsDataModule(VideoDataModule):
    """Kinetics-400, -600 or -700, by the official csv files or by lists of paths and classes.

    Understood are the official files (``label,youtube_id,time_start,time_end,split``) with videos called
    ``<id>_<start>_<end>.mp4`` (six digits each) or ``<id>.mp4`` below ``train``, ``val``, ``videos`` or the root, in
    folders of their classes or not; and lists of lines ``path label`` as SlowFast and mmaction2 have them. See
    ``docs/action_data.md``.

    Videos that are listed but not on disk are left out, and a line says how many: on YouTube they become fewer every
    year. Classes keep their indices whatever is missing. Testing and predicting take the validation split, on which
    results are usually reported, unless ``test_split`` says otherwise. Batches are those of :class:`VideoDataModule`.

    SlowFast's test of 30 views is ``test_clips=10, test_crops=3`` with ``crop_size`` and ``short_side`` of the model.

    Args:
        root: folder of the data set.
        num_frames: frames in a clip.
        sampling: ``window`` spreads num_frames frames over num_frames x stride frames, ends included, as SlowFast does
            on Kinetics; ``dense`` takes num_frames frames at a distance of stride; ``segment`` takes one frame from
            each of num_frames equal parts of the video.
        stride: sampling rate: 8 in a model called 8x8.
        flip: mirror training clips with probability 0.5.
        target_fps: frames a second that the stride counts in; SlowFast's recipes have 30. null: the stride counts
            frames of the video, whatever its rate; needed with reader frames.
        classes: file with the names of the classes in their order, a line each; null: ``label_map*.txt`` beside the
            annotations or else the labels of the training csv in alphabetical order, which is the official one.
        test_split: the split for testing and predicting.
        **kwargs: further arguments of VideoDataModule.

    Raises:
        DatasetNotFoundError: (from setup) the annotations are absent, or none of the videos is there.
        AnnotationError: (from setup) an annotation is not understood, or names a class that there is not.

    Example:
        >>> data = KineticsDataModule("/data/k400", num_frames=32, stride=2, test_clips=10, test_crops=3)
        >>> data.hparams["target_fps"], data.hparams["flip"]
        (30.0, True)
    """

    def __init__(
        self,
        root: str,
        num_frames: int = 8,
        sampling: Sampling = "window",
        stride: int = 8,
        flip: bool = True,
        target_fps: float | None = 30.0,
        classes: str | None = None,
        test_split: Literal["validation", "test"] = "validation",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            root=root,
            num_frames=num_frames,
            sampling=sampling,
            stride=stride,
            flip=flip,
            target_fps=target_fps,
            **kwargs,
        )
        self.classes = classes
        self.test_split: Split = test_split

    def source(self, reader: str) -> VideoSource:
        """See :meth:`VideoDataModule.source`."""
        return KineticsSource(self.root, reader, self.labels_dir, self.video_dir, self.classes)

    def splits_for(self, role: Role) -> Sequence[Split]:
        """See :meth:`VideoDataModule.splits_for`."""
        return super().splits_for(role) if role in ("train", "val") else (self.test_split,)
