# SPDX-License-Identifier: Apache-2.0
"""The center bias of a data set: the mean of its masks, as a figure, a file and a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.loggers import TensorBoardLogger
from segmentation_toys import MovingSquares, StrangersSegmenter, collate, squares
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import ConcatDataset, DataLoader
from toys import ToyClassifier, loaders, make_trainer

from staticdropout.callbacks import CenterBias
from staticdropout.errors import AnnotationError, OptionError
from staticdropout.metrics.center_bias import average_mask, central_share

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_the_average_is_the_mean_of_all_masks_resized_to_one_size() -> None:
    small = np.zeros((4, 4), np.uint8)
    small[:2, :2] = 255
    large = np.ones((8, 8), np.uint8)
    average, count = average_mask([small, large], size=(4, 4))
    expected = np.full((4, 4), 0.5)
    expected[:2, :2] = 1
    np.testing.assert_array_equal(average, expected)
    assert count == 2


def test_objects_in_the_middle_fill_the_central_ninth_and_those_at_the_rim_none_of_it() -> None:
    middle = np.zeros((9, 9))
    middle[3:6, 3:6] = 1
    assert central_share(middle) == 1
    assert central_share(1 - middle) == 0
    assert central_share(np.zeros((9, 9))) == 0


def test_no_masks_are_an_error() -> None:
    with pytest.raises(AnnotationError, match="no masks to average"):
        average_mask([])


@pytest.mark.parametrize("loop", ["fit", "validate"])
def test_figure_file_and_scalars_are_written_once(tmp_path: Path, loop: str) -> None:
    logger = TensorBoardLogger(tmp_path, name=None, version="run")
    trainer = make_trainer(tmp_path, [CenterBias(size=(24, 32))], logger=logger)
    loaders_ = (squares(), squares()) if loop == "fit" else (squares(),)
    getattr(trainer, loop)(StrangersSegmenter(), *loaders_)
    assert (tmp_path / "run/center_bias.png").stat().st_size > 1000
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0, "scalars": 0}).Reload()
    expected = 100 * central_share(average_mask(MovingSquares().annotations(), (24, 32))[0])
    (scalar,) = events.Scalars("center_bias/val")
    assert scalar.value == pytest.approx(expected, rel=1e-5)
    assert len(events.Images("center_bias")) == 1


def test_data_sets_that_are_joined_count_together(tmp_path: Path) -> None:
    both: DataLoader[Any] = DataLoader(ConcatDataset([MovingSquares(1), MovingSquares(3)]), 4, collate_fn=collate)
    trainer = make_trainer(tmp_path, [CenterBias(size=(24, 32))], logger=TensorBoardLogger(tmp_path, None, "run"))
    trainer.validate(StrangersSegmenter(), both, verbose=False)
    masks = [*MovingSquares(1).annotations(), *MovingSquares(3).annotations()]
    events = EventAccumulator(str(tmp_path / "run")).Reload()
    (scalar,) = events.Scalars("center_bias/val")
    assert scalar.value == pytest.approx(100 * central_share(average_mask(masks, (24, 32))[0]), rel=1e-5)


def test_a_data_set_without_annotations_is_told_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(MisconfigurationException, match=r"annotations\(\), which Clips does not have"):
        make_trainer(tmp_path, [CenterBias()]).fit(ToyClassifier(), *loaders())
    with pytest.raises(OptionError, match="two positive numbers"):
        CenterBias(size=(0, 4))
