# SPDX-License-Identifier: Apache-2.0
"""Masks in the official layout, overlays, and a sheet while training, for a module that is not ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image
from segmentation_toys import HEIGHT, WIDTH, MovingSquares, StrangersSegmenter, squares
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from toys import ToyClassifier, loaders, make_trainer

from staticdropout.callbacks import SaveMasks
from staticdropout.errors import BatchError, OptionError, UnknownNameError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("loop", ["validate", "test", "predict"])
def test_every_frame_gets_a_mask_and_an_overlay_in_the_official_layout(tmp_path: Path, loop: str) -> None:
    trainer = make_trainer(tmp_path, [SaveMasks()])
    getattr(trainer, loop)(StrangersSegmenter(), squares())
    masks = sorted(path.relative_to(tmp_path / "segmentation" / "masks") for path in tmp_path.rglob("*.png"))
    assert masks == [Path(f"square_{s}/{f:05d}.png") for s in range(3) for f in range(4)]
    assert len(list((tmp_path / "segmentation" / "overlays").rglob("*.jpg"))) == 12


def test_a_mask_is_where_the_probability_exceeds_the_threshold(tmp_path: Path) -> None:
    module = StrangersSegmenter()
    saver = SaveMasks(values="probability")
    make_trainer(tmp_path, [saver]).validate(module, squares(), verbose=False)
    soft = np.asarray(Image.open(tmp_path / "segmentation/masks/square_1/00002.png"))
    middle = float(np.median(soft)) / 255
    for values, on in (("binary", 255), ("index", 1)):
        saver = SaveMasks(tmp_path / values, values=values, threshold=middle)  # type: ignore[arg-type]
        make_trainer(tmp_path, [saver]).validate(module, squares(), verbose=False)
        hard = np.asarray(Image.open(tmp_path / values / "masks/square_1/00002.png"))
        assert set(np.unique(hard)) == {0, on}
        sure = np.abs(soft / 255 - middle) > 1 / 255  # the probabilities were rounded to 8 bits
        np.testing.assert_array_equal((hard == on)[sure], (soft / 255 > middle)[sure])


def test_the_indexed_mask_carries_a_palette(tmp_path: Path) -> None:
    make_trainer(tmp_path, [SaveMasks(values="index")]).validate(StrangersSegmenter(), squares(), verbose=False)
    with Image.open(tmp_path / "segmentation/masks/square_0/00000.png") as picture:
        assert picture.mode == "P"
        assert picture.getpalette()[:6] == [0, 0, 0, 128, 0, 0]  # type: ignore[index]


def test_the_overlay_has_the_size_of_the_mask_and_is_tinted_where_it_is(tmp_path: Path) -> None:
    make_trainer(tmp_path, [SaveMasks(threshold=1e-6)]).validate(StrangersSegmenter(), squares(), verbose=False)
    drawn = np.asarray(Image.open(tmp_path / "segmentation/overlays/square_0/00000.jpg")).astype(int)
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    outside = MovingSquares().mask(0, 0)[0].numpy() == 0
    assert drawn[outside, 0].mean() - drawn[outside, 1].mean() > 40  # red: all is predicted


def test_training_writes_no_masks_but_shows_a_sheet_with_a_row_for_each_sequence(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name=None, version="run")
    trainer = make_trainer(tmp_path, [SaveMasks(num_shown=2)], logger=logger, num_sanity_val_steps=1)
    trainer.fit(StrangersSegmenter(), squares(), squares())
    assert not list(tmp_path.rglob("masks/**/*.png"))
    sheet = np.asarray(Image.open(tmp_path / "run/segmentation/masks.png"))
    assert sheet.shape == (2 * (HEIGHT + 4) + 4, 3 * (WIDTH + 4) + 4, 3)
    events = EventAccumulator(str(tmp_path / "run"), size_guidance={"images": 0}).Reload()
    assert [event.step for event in events.Images("segmentation/masks")] == [3, 6]


def test_a_dry_run_leaves_no_files(tmp_path: Path) -> None:
    make_trainer(tmp_path, [SaveMasks()], fast_dev_run=True).fit(StrangersSegmenter(), squares(), squares())
    assert not list(tmp_path.rglob("*.png"))


def test_a_step_that_returns_no_masks_is_told_what_to_return(tmp_path: Path) -> None:
    with pytest.raises(BatchError, match=r"return \{'id': names, 'probability': masks\}, found NoneType"):
        make_trainer(tmp_path, [SaveMasks()]).validate(ToyClassifier(), loaders()[1], verbose=False)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no kind of values called 'png'"):
        SaveMasks(values="png")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="num_shown=-1"):
        SaveMasks(num_shown=-1)
    with pytest.raises(OptionError, match="threshold=2"):
        SaveMasks(threshold=2)
