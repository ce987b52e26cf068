# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from staticdropout.datamodules.camouflage import CamouflageDataModule
from staticdropout.errors import DatasetExistsError


def module(root: Path, **options: Any) -> CamouflageDataModule:
    tiny = {"num_train": 2, "num_val": 2, "num_frames": 3, "height": 48, "width": 64, "size": (48, 64)}
    return CamouflageDataModule(str(root), **{**tiny, "batch_size": 2, "num_workers": 0, **options})


def test_the_data_module_writes_once_and_reads_frames_flow_and_masks(tmp_path: Path) -> None:
    data = module(tmp_path / "runs" / "camouflage")
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == batch["flow"].shape == (2, 3, 48, 64)
    assert batch["mask"].shape == (2, 1, 48, 64)
    assert batch["mask"].any()
    times = {file: file.stat().st_mtime_ns for file in Path(data.hparams["root"]).rglob("*.jpg")}
    again = module(tmp_path / "runs" / "camouflage")
    again.prepare_data()
    assert {file: file.stat().st_mtime_ns for file in Path(data.hparams["root"]).rglob("*.jpg")} == times
    again.setup("validate")
    batches = list(again.val_dataloader())
    assert [name for batch in batches for name in batch["sequence"]] == ["camouflaged_001"] * 2 + ["salient_001"] * 2


def test_the_data_module_refuses_other_parameters_than_those_in_the_folder(tmp_path: Path) -> None:
    module(tmp_path / "camouflage", flow="folder").prepare_data()
    with pytest.raises(DatasetExistsError, match="seed 0 instead of 1"):
        module(tmp_path / "camouflage", flow="folder", data_seed=1).prepare_data()
