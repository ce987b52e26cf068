# SPDX-License-Identifier: Apache-2.0
"""A generated data set in the layout of Something-Something V2, where statics are a shortcut and dynamics the truth."""

from __future__ import annotations

from typing import Any

from .shape_writing import class_names, write_moving_shapes
from .ssv2 import SSv2DataModule

__all__ = ("MovingShapesDataModule",)


class MovingShapesDataModule(SSv2DataModule):
    """Generated clips of moving shapes: the class is the motion, the looks are a shortcut.

    They are written below ``root`` at the first use (see :func:`write_moving_shapes`), in the layout of
    Something-Something V2, and then read like it.

    Args:
        root: folder to write and read.
        num_train: clips in the training split.
        num_val: clips in the validation split.
        num_test: clips in the test split.
        num_classes: 2 to 8: right, left, up, down, away, towards, spinning, holding.
        clip_frames: frames of a video, of which num_frames are sampled.
        height: of the videos in pixels, even.
        width: of the videos in pixels, even; not 16, 24, 48 or 72, which decord cannot read.
        correlation: probability in [0, 1] with which a training clip has the looks of its class; otherwise they are
            random.
        val_correlation: the same for validation and test.
        data_seed: seed of the pictures.
        overwrite: replace moving shapes of other parameters in root.
        num_frames: frames in a clip.
        crop_size: height and width of clips in pixels.
        short_side: range of the random length of the shorter side in training, in pixels; evaluation takes the
            smallest.
        **kwargs: further arguments of SSv2DataModule.

    Raises:
        DatasetExistsError: (from prepare_data) root holds something else.

    Example:
        >>> MovingShapesDataModule(num_classes=4).class_names[0]
        'Moving something down'
    """

    def __init__(
        self,
        root: str = "runs/moving_shapes",
        num_train: int = 600,
        num_val: int = 120,
        num_test: int = 60,
        num_classes: int = 6,
        clip_frames: int = 24,
        height: int = 72,
        width: int = 80,
        correlation: float = 0.9,
        val_correlation: float = 0.0,
        data_seed: int = 0,
        overwrite: bool = False,
        num_frames: int = 8,
        crop_size: int = 64,
        short_side: int | tuple[int, int] = (64, 72),
        **kwargs: Any,
    ) -> None:
        super().__init__(root=root, num_frames=num_frames, crop_size=crop_size, short_side=short_side, **kwargs)
        # known before anything is written, so that a model can be built from them
        self._class_names = class_names(num_classes)
        self._parameters: dict[str, Any] = {
            "num_train": num_train,
            "num_val": num_val,
            "num_test": num_test,
            "num_classes": num_classes,
            "num_frames": clip_frames,
            "height": height,
            "width": width,
            "correlation": correlation,
            "val_correlation": val_correlation,
            "seed": data_seed,
            "overwrite": overwrite,
        }

    def prepare_data(self) -> None:
        """Write the videos, unless they are there."""
        write_moving_shapes(self.root, **self._parameters)
