# SPDX-License-Identifier: Apache-2.0
"""The MATNet recipe on real frames of DAVIS, and MoCA's scores on a real camouflaged animal, through the commands."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from staticdropout import cli
from staticdropout.datamodules import VideoSegmentationDataModule
from staticdropout.errors import AnnotationError
from staticdropout.lightning_modules import VideoObjectSegmenter
from staticdropout.metrics import SegmentationScores

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

pytestmark = [
    pytest.mark.skipif(
        not (DATA / "davis16_mini").is_dir(), reason=f"no real frames at {DATA} (STATICDROPOUT_TEST_DATA)"
    ),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
SMALL = "{backbone: resnet18, backbone_args: {channels: [8, 16, 32, 48]}, width: 16, boundary_width: 8}"


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flow")


def options(folder: Path, flow: Path, **more: object) -> list[str]:
    given = {
        "data.root": DATA / "davis16_mini",
        "data.flow_dir": flow,
        "data.size": [96, 160],
        "data.batch_size": 4,
        "data.num_workers": 0,
        "data.limit": 2,
        "model.init_args.model_args": SMALL,
        "model.init_args.pretrained": "false",
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.max_epochs": 1,
        "trainer.limit_train_batches": 3,
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    return ["--config", "davis/matnet", *(f"--{key}={value}" for key, value in (given | more).items())]


def test_matnet_fits_and_validates_on_real_frames_with_dis_flow(
    tmp_path: Path, flow: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = cli.run(["fit", *options(tmp_path, flow)]).trainer
    assert trainer.global_step == 3
    assert 0 <= trainer.callback_metrics["val/J"] <= 100
    (table,) = tmp_path.rglob("bias.csv")
    rows = {row["layer"]: row for row in csv.DictReader(table.open())}
    static, dynamic = (
        [float(row[key]) for layer, row in rows.items() if "motion" in layer] for key in ("static", "dynamic")
    )
    assert np.mean(dynamic) > np.mean(static), "the motion stream shares more with itself than with jittered flow"
    for name in ("curves", "encodings", "units", "triplets", "masks", "center_bias"):
        assert next(tmp_path.rglob(f"{name}.png")).stat().st_size > 5000
    capsys.readouterr()
    checkpoint = next(tmp_path.rglob("last.ckpt"))
    validated = cli.run(["validate", *options(tmp_path, flow), "--ckpt_path", str(checkpoint)]).trainer
    assert "J&F" in capsys.readouterr().out
    masks = list((Path(validated.log_dir or "") / "segmentation" / "masks").rglob("*.png"))
    sizes = {Image.open(path).size for path in masks}
    assert sizes == {(854, 480)}, "masks have the size of the annotations"


def test_true_masks_score_a_hundred_and_those_of_another_sequence_do_not(flow: Path) -> None:
    data = VideoSegmentationDataModule(
        str(DATA / "davis16_mini"), flow_dir=str(flow), size=(48, 80), num_workers=0, eval_batch_size=16
    )
    data.prepare_data()
    data.setup("validate")
    same, shifted, other = SegmentationScores(), SegmentationScores(), SegmentationScores()
    for batch in data.val_dataloader():
        true, places = batch["annotation"], (batch["sequence"], batch["position"], batch["num_frames"])
        same.update(true, true, *places)
        shifted.update([mask.roll(20, -1) for mask in true], true, *places)
        other.update([mask.flip(-1).flip(-2) for mask in true], true, *places)
    results = [scores.compute() for scores in (same, shifted, other)]
    j_same, j_shifted, j_other = (result.j_mean for result in results if result is not None)
    f_same, f_shifted, f_other = (result.f_mean for result in results if result is not None)
    assert j_same == f_same == 1
    assert 1 > j_shifted > j_other
    assert 1 > f_shifted > f_other


def test_a_mask_of_the_wrong_size_is_an_error_or_resized_as_asked(tmp_path: Path) -> None:
    root = tmp_path / "DAVIS17"
    shutil.copytree(DATA / "davis17_mini", root)
    data = VideoSegmentationDataModule(str(root), "davis2017", num_workers=0, size=(48, 80))
    with pytest.raises(AnnotationError, match=r"(?s)judo.*on_size_mismatch"):
        data.prepare_data()
    assert not (root / "FlowImages_gap1").exists(), "it is said before flow is computed"


def test_moca_is_scored_by_boxes_on_a_real_animal(tmp_path: Path, flow: Path) -> None:
    given = {"data.root": DATA / "moca_mini", "data.flow_dir": flow / "moca"}
    arguments = [*options(tmp_path, flow), "--config", "davis/moca", *(f"--{k}={v}" for k, v in given.items())]
    trainer = cli.run(["validate", *arguments]).trainer
    assert 0 <= trainer.callback_metrics["val/mIoU"] <= 100
    assert "val/success_0.5" in trainer.callback_metrics
    assert isinstance(trainer.lightning_module, VideoObjectSegmenter)
    assert trainer.lightning_module.result.num_frames == 22, "the last of 23 frames has no flow"
    (mask, *_) = tmp_path.rglob("masks/hedgehog_3/*.png")
    assert len(np.unique(np.asarray(Image.open(mask)))) > 2, "MoCA's evaluation takes probabilities"
