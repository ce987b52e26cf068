# SPDX-License-Identifier: Apache-2.0
"""Real Kinetics clips through the whole pipeline at the networks' own resolution, with random weights."""

from __future__ import annotations

import csv
import math
import os
from pathlib import Path
from typing import Any

import pytest

from staticdropout import cli

DATA = Path(os.environ.get("STATICDROPOUT_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))

pytestmark = [
    pytest.mark.skipif(
        not (DATA / "kinetics_mini").is_dir(), reason=f"no real videos at {DATA} (STATICDROPOUT_TEST_DATA)"
    ),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def run(verb: str, config: str, folder: Path, **data: Any) -> Any:
    options: dict[str, Any] = {
        **{f"data.{name}": value for name, value in data.items()},
        "data.root": DATA,
        "data.labels_dir": DATA / "kinetics_mini",
        "data.num_workers": 0,
        "trainer.precision": "32-true",
        "trainer.accelerator": "cpu",
        "trainer.devices": 1,
        "trainer.default_root_dir": folder,
        "trainer.enable_progress_bar": "false",
        "trainer.enable_model_summary": "false",
    }
    return cli.run([verb, "--config", config, *(f"--{name}={value}" for name, value in options.items())]).trainer


# SlowFast and X3D on 2 clips x 3 crops, MViT on 3 clips of one crop as in its recipe
@pytest.mark.parametrize(
    ("config", "views"),
    [
        ("kinetics/slowfast_r50_4x16", {"test_clips": 2, "test_crops": 3}),
        ("kinetics/x3d_s", {"test_clips": 2, "test_crops": 3}),
        ("kinetics/mvit_b_16x4", {"test_clips": 3, "test_crops": 1}),
    ],
)
def test_a_network_is_validated_on_many_views_at_its_own_resolution(
    config: str, views: dict[str, int], tmp_path: Path
) -> None:
    trainer = run("validate", config, tmp_path, limit=1, val_views="true", **views)
    assert math.isfinite(trainer.callback_metrics["val/loss"])
    (table,) = tmp_path.rglob("val_classes.csv")
    rows = [row for row in csv.DictReader(table.open()) if row["clips"] == "1"]
    assert len(rows) == 1


def test_the_bias_of_x3d_is_measured_on_real_clips(tmp_path: Path) -> None:
    trainer = run("validate", "kinetics/x3d_s", tmp_path)
    assert math.isfinite(trainer.callback_metrics["val/loss"])
    (table,) = tmp_path.rglob("bias.csv")
    rows = list(csv.DictReader(table.open()))
    assert [row["layer"] for row in rows] == [f"stage{stage}" for stage in range(1, 6)]
    assert {float(row["num_clips"]) for row in rows} == {4}
    assert next(tmp_path.rglob("triplets.png")).stat().st_size > 5000
