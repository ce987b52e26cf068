# SPDX-License-Identifier: Apache-2.0
"""The Something-Something v2 recipe on real webm files, through both callbacks."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path

import pytest
import torch

from staticdropout import cli
from staticdropout.callbacks import StaticDropout

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data")) / "ssv2_mini"

pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason=f"no real videos at {DATA} (STATICDROPOUT_TEST_DATA)"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def arguments(root: Path, folder: Path) -> list[str]:
    options = {
        "data.root": root,
        "data.crop_size": 48,
        "data.eval_crop_size": 48,
        "data.short_side": [56, 64],
        "data.batch_size": 3,
        "data.test_crops": 1,
        "data.num_workers": 0,
        "trainer.precision": "32-true",
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.max_epochs": 3,
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    named = [f"--{name}={value}" for name, value in options.items()]
    return ["fit", "--config", "ssv2/slowonly_r50_staticdropout", *named]


def test_the_r50_recipe_runs_on_real_videos_and_writes_its_curves(tmp_path: Path) -> None:
    trainer = cli.run(arguments(DATA, tmp_path)).trainer
    (static,) = (callback for callback in trainer.callbacks if isinstance(callback, StaticDropout))
    assert static.dropout is not None
    assert static.dropout.num_channels == 2048
    assert int(static.dropout.num_masks) == 3  # one epoch of 9 clips with dropout, two without
    assert static.dropout.scores.isfinite().all()
    (table,) = tmp_path.rglob("bias.csv")
    rows = list(csv.DictReader(table.open()))
    assert [row["step"] for row in rows[::5]] == ["0", "3", "6", "9"]
    assert {row["layer"] for row in rows} == {f"stage{stage}" for stage in range(1, 6)}
    assert all(0 < float(row["dynamic"]) < float(row["static"]) < 50 for row in rows[-5:])
    for name in ("curves", "encodings", "units", "triplets"):
        assert next(tmp_path.rglob(f"{name}.png")).stat().st_size > 5000


def test_a_broken_webm_among_good_ones_is_skipped_counted_and_listed(tmp_path: Path) -> None:
    root = tmp_path / "data"
    shutil.copytree(DATA, root, copy_function=lambda source, target: Path(target).symlink_to(source))
    for name in ("task05_0", "166766"):  # one of the training, one of the validation split
        broken = root / "20bn-something-something-v2" / f"{name}.webm"
        broken.unlink()
        broken.write_bytes(b"\x1a\x45\xdf\xa3 not a video")
    with pytest.warns(UserWarning, match="videos could not be read and were skipped") as caught:
        trainer = cli.run([*arguments(root, tmp_path / "run"), "--trainer.max_epochs=3"]).trainer
    said = "\n".join(str(warning.message) for warning in caught)
    assert "task05_0" in said
    assert "166766" in said
    assert trainer.global_step == 9
    assert torch.isfinite(trainer.callback_metrics["val/loss"])
    assert list((tmp_path / "run").rglob("curves.png"))
