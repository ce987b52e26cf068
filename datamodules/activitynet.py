# SPDX-License-Identifier: Apache-2.0
"""ActivityNet as a LightningDataModule."""

from __future__ import annotations

from typing import Any

from ..errors import OptionError
from .activitynet_source import ActivityNetSource
from .video_data_module import VideoDataModule
from .video_source import VideoSource

__all__ = ("ActivityNetDataModule",)


class ActivityNetDataModule(VideoDataModule):
    """ActivityNet 1.3: every annotated segment of a video is a clip of its own.

    The root holds ``activity_net.v1-3.min.json`` (or ``annotations/`` or ``labels/`` with it) and ``v_<id>.mp4`` or
    ``<id>.mp4`` below ``videos/``, ``train/``, ``val/`` or the root itself. Frames are taken from inside the segment
    only; its seconds are counted at the file's average frame rate. Ids are ``<video>/<number of the segment>``, so that
    ``BiasMonitor(group_by="video")`` keeps segments of one video together.

    Classes are the leaves of the taxonomy (200) in alphabetical order, or, in a file without taxonomy, all labels that
    occur. Videos that are not on disk are left out, and a line says how many. Testing and predicting take the
    validation split: the annotations of the test split are not public. Batches are those of :class:`VideoDataModule`.

    Args:
        root: folder of the data set.
        flip: mirror training clips with probability 0.5.
        labels_dir: folder of the JSON file, or the file itself; null: guessed below root.
        **kwargs: further arguments of VideoDataModule.

    Raises:
        OptionError: the reader is ``frames``: folders do not tell how many frames a second has.

    Example:
        >>> ActivityNetDataModule("/data/anet", num_frames=16).hparams["sampling"]
        'segment'
    """

    def __init__(self, root: str, flip: bool = True, labels_dir: str | None = None, **kwargs: Any) -> None:
        super().__init__(root=root, flip=flip, labels_dir=labels_dir, **kwargs)
        if self.reader == "frames":
            raise OptionError(
                "ActivityNet's segments are in seconds, and folders of frames do not tell how many frames a second "
                "has. Use the video files, with --data.reader decord, torchcodec or pyav."
            )

    def source(self, reader: str) -> VideoSource:
        """See :meth:`VideoDataModule.source`."""
        return ActivityNetSource(self.root, reader, self.labels_dir, self.video_dir)
