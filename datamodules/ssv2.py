# SPDX-License-Identifier: Apache-2.0
"""Something-Something V2 as a LightningDataModule."""

from __future__ import annotations

from collections.abc import Sequence

from .ssv2_annotations import SSv2Source, find_annotation
from .video_data_module import Role, VideoDataModule
from .video_source import Split, VideoSource

__all__ = ("SSv2DataModule",)


class SSv2DataModule(VideoDataModule):
    """Something-Something V2, or any data set in its layout.

    The root holds ``labels/`` and ``20bn-something-something-v2/<id>.webm`` (or ``videos/``; ``frames/<id>/0001.jpg``
    with reader ``frames``). Batches and options are those of :class:`VideoDataModule`. ``flip`` is off: some classes
    differ only in left and right.

    The test split takes its labels from ``test-answers.csv``. Without that file ``test`` runs on the validation split,
    which is what results on this data set are usually reported on; ``predict`` takes the test split with or without
    answers (label -1) and the validation split where there is no test file.

    Example:
        >>> data = SSv2DataModule("/data/ssv2", num_frames=16, crop_size=112, short_side=(128, 160))
        >>> data.hparams["reader"]
        'decord'
    """

    def source(self, reader: str) -> VideoSource:
        """See :meth:`VideoDataModule.source`."""
        return SSv2Source(self.root, reader, self.labels_dir, self.video_dir)

    def splits_for(self, role: Role) -> Sequence[Split]:
        """See :meth:`VideoDataModule.splits_for`."""
        if role in ("train", "val") or find_annotation(self.root, "test", self.labels_dir) is None:
            return super().splits_for(role)
        answered = find_annotation(self.root, "test-answers", self.labels_dir) is not None
        # an empty list is as good as none
        return ("test", "validation") if answered or role == "predict" else ("validation",)
