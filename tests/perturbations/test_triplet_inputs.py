# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import jsonargparse
import pytest
import torch
from torch import Tensor

from staticdropout.errors import BatchError
from staticdropout.perturbations import StyleSet, TripletFunction, VideoTriplets


def video(batch: int, length: int = 6, size: int = 12) -> Tensor:
    return torch.rand(batch, 3, length, size, size, generator=torch.Generator().manual_seed(0))


def test_pixels_a_little_outside_the_range_are_accepted() -> None:
    clips = VideoTriplets()(video(2) * 1.0005)
    assert all(side.amin() >= 0 and side.amax() <= 1 for side in clips)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (video(2)[0], r"found \(3, 6, 12, 12\)"),
        (video(2).transpose(1, 2), r"use video.transpose\(1, 2\)"),
        (video(2)[:, :1], r"found \(2, 1, 6, 12, 12\)"),
        ((video(2) * 255).byte(), r"uint8.*/ 255"),
        (video(2) * 255, r"from .* to 25\d.*divide by 255"),
        ((video(2) - 0.45) / 0.225, r"from -2 to 2\.44.*normalised.*\* std \+ mean"),
        (video(2) * torch.nan, r"from nan to nan"),
        (video(2, length=1), r"at least 2 frames"),
    ],
)
def test_what_is_not_a_video_in_the_unit_range_is_refused_with_the_way_out(clips: Tensor, message: str) -> None:
    with pytest.raises(BatchError, match=message):
        VideoTriplets()(clips)


@pytest.mark.parametrize("keys", [["a"], ["a", "b", "c"], "ab", torch.arange(3)])
def test_keys_must_be_one_for_each_clip(keys: Any) -> None:
    with pytest.raises(BatchError, match="one key for each of the 2 clips"):
        VideoTriplets()(video(2), keys)


@pytest.mark.parametrize("styles", [["paint"], StyleSet(["neon"])])
def test_at_least_two_styles_are_needed(styles: Any) -> None:
    with pytest.raises(ValueError, match="at least two styles"):
        VideoTriplets(styles)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        VideoTriplets(seed=-1)


def test_the_description_is_plain_and_tells_styles_and_draws_apart() -> None:
    description = VideoTriplets(seed=3).description
    assert json.loads(json.dumps(description)) == description
    assert description["style_hash"] == StyleSet().hash
    assert description["style_set"] == "default"
    assert description["seed"] == 3


@pytest.mark.parametrize("annotation", [VideoTriplets, TripletFunction])
@pytest.mark.parametrize(
    ("styles", "names"),
    [
        (["paint", "chalk"], ("paint", "chalk")),
        (["neon", {"class_path": "staticdropout.perturbations.styles.Paint"}], ("neon", "paint")),
        (
            {"class_path": "staticdropout.perturbations.StyleSet", "init_args": {"styles": ["neon", "chalk"]}},
            ("neon", "chalk"),
        ),
    ],
)
def test_triplets_can_be_written_in_a_config(annotation: Any, styles: Any, names: tuple[str, ...]) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--triplets", type=annotation)
    config = {
        "class_path": "staticdropout.perturbations.VideoTriplets",
        "init_args": {"styles": styles, "seed": 1},
    }
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    triplets = instantiate(parser.parse_object({"triplets": config})).triplets
    assert isinstance(triplets, VideoTriplets)
    assert triplets.styles.names == names
    assert triplets.seed == 1
