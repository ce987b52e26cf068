# SPDX-License-Identifier: Apache-2.0
"""What grows in the growth benchmark is what it says, and the plot shows every row."""

from __future__ import annotations

import argparse
from typing import Any

import cost_growth
import numpy as np
import pytest
from cost_growth import AXES, COLORS, INTERVALS, MARKS, MEASURE, Network, draw
from parts.cost_parts import computed

from staticdropout.lightning_modules import VideoClassifier


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    def tiny(model: str, num_classes: int) -> VideoClassifier:
        return VideoClassifier(model, num_classes, model_args={"width": 4})

    monkeypatch.setattr(cost_growth, "VideoClassifier", tiny)
    return argparse.Namespace(model="resnet3d_r18", device="cpu", frames=2, size=16)


@pytest.mark.parametrize("grows", list(AXES))
def test_every_cost_can_be_called_again_and_again_and_has_a_colour(grows: str, options: argparse.Namespace) -> None:
    ways, values = AXES[grows]
    for cost, call in ways(values[1], options).items():
        assert cost in COLORS
        assert cost in MARKS
        call()
        call()


def test_layers_and_clips_are_as_many_as_the_axis_says(
    options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    real = Network.measure

    def measure(self: Network, given: list[dict[str, Any]]) -> Any:
        metrics = real(self, given)
        (clips,) = {int(bias.num_clips) for bias in computed(metrics).values()}
        seen.append((len(metrics), clips))
        return metrics

    monkeypatch.setattr(Network, "measure", measure)
    cost_growth.by_layers(4, options)[MEASURE]()
    cost_growth.by_clips(16, options)[MEASURE]()
    assert seen == [(4, 8), (4, 8), (5, 16), (5, 16)]


def test_the_plot_has_a_panel_for_each_size_and_a_line_for_each_cost() -> None:
    rows = [
        {"grows": grows, "value": value, "cost": cost, "ms": 2.0 * value}
        for grows, (_, values) in AXES.items()
        for value in values
        for cost in (MEASURE, INTERVALS)
    ]
    figure = draw(rows)
    assert [axes.get_xlabel() for axes in figure.axes] == list(AXES)
    for axes, (_, values) in zip(figure.axes, AXES.values(), strict=True):
        assert [line.get_label() for line in axes.lines] == [MEASURE, INTERVALS]
        np.testing.assert_array_equal(np.asarray(axes.lines[0].get_xdata()), values)
