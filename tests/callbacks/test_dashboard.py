# SPDX-License-Identifier: Apache-2.0
"""What TensorBoard is given: two runs for two colours, a layout, and a text that says what the numbers mean."""

from __future__ import annotations

import gc
import math
import threading
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from torch.utils.tensorboard import SummaryWriter
from toys import fit

from staticdropout.callbacks import BiasMonitor, StaticDropout
from staticdropout.callbacks.bias_report import about
from staticdropout.callbacks.dashboard import factor_scalars, lay_out_dashboard, log_factors

LAYER = "fc[input]"
VALUES = {"static": 40.0, "dynamic": 25.0, "units_static": 99.0, "units_dynamic": 1.0}
NUMBERS = VALUES | {f"{name}_interval": 3.0 for name in VALUES}


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(folder).Scalars(tag)]


def layout_of(folder: Path) -> dict[str, list[Any]]:
    layout = layout_pb2.Layout()
    layout.ParseFromString(read(folder).Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0])
    return {category.title: list(category.chart) for category in layout.category}


def test_both_factors_have_the_same_tags_in_two_runs_that_begin_in_the_order_of_the_colours(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    for step in (0, 10):
        log_factors([logger, CSVLogger(tmp_path / "csv")], {LAYER: NUMBERS}, step)
    assert points(tmp_path / "static", "bias/fc.input") == [(0, 40), (10, 40)]
    assert points(tmp_path / "dynamic", "bias/fc.input") == [(0, 25), (10, 25)]
    assert points(tmp_path / "dynamic", "units/bias/fc.input") == [(0, 1), (10, 1)]
    begun = [read(tmp_path / run).FirstEventTimestamp() for run in ("", "dynamic", "static")]
    assert begun == sorted(set(begun))
    assert not (tmp_path / "csv").exists()


@pytest.mark.parametrize("factor", ["static", "dynamic"])
def test_bands_stay_within_a_hundred_percent_and_have_no_width_where_the_interval_is_unknown(factor: str) -> None:
    scalars = factor_scalars({LAYER: NUMBERS}, factor, "other")
    value = VALUES[f"units_{factor}"]
    assert scalars["intervals/units/other/fc.input/lower"] == max(0, value - 3)
    assert scalars["intervals/units/other/fc.input/upper"] == min(100, value + 3)
    unknown = factor_scalars({LAYER: NUMBERS | {f"{factor}_interval": math.nan}}, factor)
    limits = [unknown[f"intervals/bias/fc.input/{limit}"] for limit in ("lower", "upper")]
    assert limits == [unknown["bias/fc.input"]] * 2


def test_all_monitors_write_into_the_same_two_files(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    for name in ("bias", "released"):
        log_factors([logger], {LAYER: NUMBERS}, 0, name)
    assert len(list((tmp_path / "static").iterdir())) == 1
    assert {"bias/fc.input", "released/fc.input"} <= set(read(tmp_path / "static").Tags()["scalars"])


def test_a_logger_that_is_gone_leaves_no_thread_behind(tmp_path: Path) -> None:
    gc.collect()
    before = threading.active_count()
    logger = TensorBoardLogger(tmp_path, name="", version="")
    log_factors([logger], {LAYER: NUMBERS}, 0)
    assert threading.active_count() == before + 3  # the training's own run and two more
    logger.experiment.close()
    del logger
    gc.collect()
    assert threading.active_count() == before


def test_a_failed_write_raises_once_and_the_next_one_begins_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    log_factors([logger], {LAYER: NUMBERS}, 0)

    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(SummaryWriter, "flush", full)
        with pytest.raises(OSError, match="No space left"):
            log_factors([logger], {LAYER: NUMBERS}, 1)
    log_factors([logger], {LAYER: NUMBERS}, 2)
    assert 2 in [step for step, _ in points(tmp_path / "static", "bias/fc.input")]
    assert len(list((tmp_path / "static").iterdir())) == 2


def test_every_chart_of_the_layout_finds_its_tags_in_the_logs(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="", version="")
    monitor = BiasMonitor(["backbone.layer*"], num_clips=8, num_groups=2, figures=False, verbose=False)
    fit(tmp_path, [StaticDropout(every_n_steps=2), monitor], logger=logger, max_epochs=1)
    lay_out_dashboard([logger], {"bias": ["backbone.layer1", "backbone.layer2"]}, static_dropout=True)
    logger.experiment.flush()
    runs = {run: set(read(tmp_path / run).Tags()["scalars"]) for run in ("", "dynamic", "static")}
    assert not runs["static"] & runs[""]  # a chart of both factors shows both, and nothing else
    assert runs["static"] == runs["dynamic"]
    charts = [(title, chart) for title, charts in layout_of(tmp_path).items() for chart in charts]
    assert len(charts) == 2 + 2 + 5
    for title, chart in charts:
        (series,) = chart.margin.series
        assert {series.value, series.lower, series.upper} <= runs["" if "StaticDropout" in title else "static"], title


def test_static_dropout_has_charts_where_it_is_at_work(tmp_path: Path) -> None:
    for name, callbacks in (("with", [StaticDropout()]), ("without", [])):
        logger = TensorBoardLogger(tmp_path, name="", version=name)
        monitor = BiasMonitor(["backbone.layer1"], num_clips=8, num_groups=2, figures=False, verbose=False)
        fit(tmp_path, [monitor, *callbacks], logger=logger, max_epochs=1)
        assert any("StaticDropout" in title for title in layout_of(tmp_path / name)) == (name == "with")


def test_the_text_tells_the_style_set_estimator_and_clips_and_names_the_monitors_tags() -> None:
    record = {"step": 0, "layers": {"res5": {"num_clips": 120.0, "num_units": 512.0}}}
    settings = {"estimator": "released", "num_clips": 1000, "style_names": ["paint", "neon"]}
    text = "\n".join(about(record, settings, "other").values())
    for part in ("| estimator | released |", "| num clips | 120 |", "paint, neon", "other/<layer>", "res5 (512 units)"):
        assert part in text
