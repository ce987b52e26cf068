# SPDX-License-Identifier: Apache-2.0
"""docs/styles.md is true: its code runs, and what it says of statistics holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor, nn

import staticdropout
from staticdropout.models.stylization import PatchGenerator
from staticdropout.perturbations import VideoTriplets, list_styles
from staticdropout.perturbations.styles import unregister_style

PAGE = (Path(staticdropout.__file__).parent / "docs" / "styles.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.S)


class TransformerNet(nn.Module):
    """A shrunken network in the form of pytorch/examples' fast neural style: 0 to 255 in and out."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.InstanceNorm2d(4, affine=True), nn.ReLU())
        last = nn.Conv2d(4, 3, 3, padding=1)
        self.up = nn.Sequential(nn.Upsample(scale_factor=2), last)
        with torch.no_grad():
            assert last.bias is not None
            last.bias.fill_(127.0)

    def forward(self, pictures: Tensor) -> Tensor:
        painted: Tensor = self.up(self.down(pictures)) + 0 * pictures  # the sides must divide by two
        return painted


@pytest.fixture
def names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_generator: Callable[..., PatchGenerator]
) -> Iterator[dict[str, Any]]:
    """What the page takes as given, and after it all that its code defines."""
    monkeypatch.chdir(tmp_path)
    generator = torch.Generator().manual_seed(0)
    old = {**TransformerNet().state_dict(), "down.1.running_mean": torch.zeros(4)}  # as files of old torch hold them
    torch.save(old, "mosaic.pth")
    torch.save({f"generator.{key}": value for key, value in small_generator().state_dict().items()}, "bare.pth")
    torch.save({"state_dict": torch.load("bare.pth"), "hyper_parameters": {"guide_sigmas": []}}, "my.ckpt")
    encoder = nn.Conv2d(3, 6, 3, padding=1)
    found: dict[str, Any] = {
        "TransformerNet": TransformerNet,
        "clips": torch.rand(2, 3, 4, 16, 18, generator=generator),
        "painting": torch.rand(3, 20, 20, generator=generator),
        "encoder": encoder,
        "decoder": nn.Conv2d(6, 3, 1),
    }
    for block in BLOCKS:
        exec(block, found)  # noqa: S102 - our own page
    yield found
    unregister_style("mosaic")


def test_the_code_runs_from_top_to_bottom(names: dict[str, Any]) -> None:
    assert len(BLOCKS) == 4
    assert names["triplets"].styles.names == ("mosaic", "paint", "chalk", "neon")
    assert names["styles"].names == ("paint", "my")
    assert torch.equal(names["same"](names["clips"]), names["styles"].render(1, names["clips"]))
    assert len(names["StyleSet"]([names["waves"], names["mosaic"]]).hash) == 12


def test_the_config_of_the_page_is_parsed(names: dict[str, Any]) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)
    parser = ArgumentParser()
    parser.add_class_arguments(VideoTriplets, "triplets")
    given = parser.parse_object({"triplets": yaml.safe_load(text)})
    styles = parser.instantiate_classes(given).triplets.styles
    assert styles.names == ("paint", "my")
    assert styles[1].half


def test_statistics_of_each_frame_change_a_still_wall_when_something_comes_into_view(names: dict[str, Any]) -> None:
    style = names["AdaIN"](nn.Identity(), nn.Identity(), names["painting"], "colours")
    clip = torch.rand(1, 3, 1, 16, 16, generator=torch.Generator().manual_seed(0)).mul(0.4).repeat(1, 1, 4, 1, 1)
    clip[:, :, 2:, 10:, :] = 0.9  # something bright, before a still wall
    wall = slice(0, 10)

    def change(styled: Tensor) -> float:
        return float((styled[:, :, 2, wall] - styled[:, :, 1, wall]).abs().mean())

    by_frame = torch.cat([style(clip[:, :, t : t + 1]) for t in range(4)], dim=2)
    assert change(style(clip)) < 1e-6
    assert change(by_frame) > 0.05


def test_the_built_in_styles_of_the_page_are_those_that_exist() -> None:
    table = PAGE.split("## Built-in styles")[1].split("##")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.M)) == {"paint", "chalk", "neon", "relief"} <= set(list_styles())
