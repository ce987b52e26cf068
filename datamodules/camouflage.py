# SPDX-License-Identifier: Apache-2.0
"""A generated data set in the layout of DAVIS 2016, where half of the objects show in their motion alone."""

from __future__ import annotations

from typing import Any

from .camouflage_writing import write_camouflage
from .segmentation import VideoSegmentationDataModule

__all__ = ("CamouflageDataModule",)


class CamouflageDataModule(VideoSegmentationDataModule):
    """Generated sequences of camouflaged and salient objects, to segment.

    They are written below ``root`` at the first use (see :func:`write_camouflage`), in the layout of DAVIS 2016, and
    then read like it: batches, flow and augmentation are those of :class:`VideoSegmentationDataModule`.

    Args:
        root: folder to write and read.
        num_train: sequences in the training split.
        num_val: sequences in the validation split.
        num_frames: frames of a sequence.
        height: of the frames in pixels, at least 48.
        width: of the frames in pixels, at least 48.
        distractors: share in [0, 1] of the camouflaged sequences that hold a thing of salient looks which moves with
            the background.
        data_seed: seed of the pictures.
        overwrite: replace camouflaged objects of other parameters in root, and the flow kept there; with a flow_dir
            elsewhere, remove the old flow yourself.
        size: height and width of training pictures; one number: a square.
        batch_size: frames in a training batch, for each device.
        **kwargs: further arguments of VideoSegmentationDataModule.

    Raises:
        OptionError: (from prepare_data) a parameter is out of range.
        DatasetExistsError: (from prepare_data) root holds something else.

    Example:
        >>> CamouflageDataModule(num_train=6).hparams["size"]
        (96, 160)
    """

    def __init__(
        self,
        root: str = "runs/camouflage",
        num_train: int = 24,
        num_val: int = 8,
        num_frames: int = 10,
        height: int = 96,
        width: int = 160,
        distractors: float = 0.5,
        data_seed: int = 0,
        overwrite: bool = False,
        size: int | tuple[int, int] = (96, 160),
        batch_size: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, layout="davis2016", size=size, batch_size=batch_size, **kwargs)
        self._parameters: dict[str, Any] = {
            "num_train": num_train,
            "num_val": num_val,
            "num_frames": num_frames,
            "height": height,
            "width": width,
            "distractors": distractors,
            "seed": data_seed,
            "overwrite": overwrite,
        }

    def prepare_data(self) -> None:
        """Write the sequences, unless they are there, and compute the flow that is missing."""
        write_camouflage(self.hparams["root"], **self._parameters)
        super().prepare_data()
