# SPDX-License-Identifier: Apache-2.0
"""Networks of every convention become styles, and what they do wrong is said."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import BatchError, OptionError
from staticdropout.perturbations import NetworkStyle, Style, StyleSet, VideoTriplets, check_style
from staticdropout.perturbations.styles.network_style import weights_digest

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def affine(gain: float, shift: float) -> nn.Conv2d:
    """A network that gives ``gain * picture + shift``."""
    network = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight.copy_(gain * torch.eye(3)[..., None, None])
        assert network.bias is not None
        network.bias.fill_(shift)
    return network


def negative(black: float, white: float) -> nn.Conv2d:
    """A network that turns pictures into their negatives, where black and white are these numbers."""
    return affine(-1, black + white)


class ImageNetNegative(nn.Module):
    def forward(self, pictures: Tensor) -> Tensor:
        mean, std = (pictures.new_tensor(values).view(3, 1, 1) for values in IMAGENET)
        return (1 - (pictures * std + mean) - mean) / std


CONVENTIONS: dict[str, tuple[nn.Module, dict[str, Any]]] = {
    "[-1, 1]": (negative(-1, 1), {}),
    "[0, 1]": (negative(0, 1), {"mean": 0, "std": 1}),
    "0 to 255": (negative(0, 255), {"mean": 0, "std": 1 / 255}),
    "0 to 255 in, [0, 1] out": (affine(-1 / 255, 1), {"mean": 0, "std": 1 / 255, "output_range": (0, 1)}),
    "ImageNet's": (ImageNetNegative(), {"mean": IMAGENET[0], "std": IMAGENET[1]}),
    "white is -1 and black is 0": (affine(1, -1), {"mean": 0, "std": 1, "output_range": (0, -1)}),
}


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_network_of_any_convention_gives_the_pixels_it_means(convention: str, textured_clips: Tensor) -> None:
    network, options = CONVENTIONS[convention]
    style = NetworkStyle(network, "negative", **options)
    assert isinstance(style, Style)
    assert torch.allclose(style(textured_clips), 1 - textured_clips, atol=2e-5)
    check_style(style, textured_clips)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_and_shape_are_kept_and_there_is_no_gradient(dtype: torch.dtype, textured_clips: Tensor) -> None:
    clip = textured_clips.to(dtype).requires_grad_()
    styled = NetworkStyle(negative(-1, 1), "negative")(clip)
    assert (styled.dtype, styled.shape, styled.requires_grad) == (dtype, clip.shape, False)
    assert styled.is_contiguous()
    assert float((styled.float() - 1 + clip.detach().float()).abs().max()) < 0.01


def test_autocast_does_not_reach_the_network(textured_clips: Tensor) -> None:
    style = NetworkStyle(nn.Conv2d(3, 3, 3, padding=1), "any", output_range=(-3, 3))
    expected = style(textured_clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(style(textured_clips), expected)


class Halves(nn.Module):
    """Like many style networks: halves the picture and enlarges it, so that odd sides come back another size."""

    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.interpolate(nn.functional.avg_pool2d(pictures, 4), scale_factor=4)


def test_sides_are_extended_to_a_multiple_and_cut_back() -> None:
    clip = torch.rand(1, 3, 2, 18, 21)
    with pytest.raises(BatchError, match=r"'halves' returned \(2, 3, 16, 20\).*\(2, 3, 18, 21\).*Set multiple"):
        NetworkStyle(Halves(), "halves")(clip)
    styled = NetworkStyle(Halves(), "halves", multiple=4)(clip)
    assert styled.shape == clip.shape
    corner = clip[0, :, 0, 16:, 20:].mean(dim=1)  # the last block holds two rows of one column, extended
    rows = clip[0, :, 0, [16, 17, 17, 17]][..., 20].mean(dim=1)
    assert corner.shape == (3, 1)
    assert torch.allclose(styled[0, :, 0, 17, 20], rows, atol=1e-6)


def test_a_clip_styled_in_pieces_is_the_clip_styled_whole(
    textured_clips: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    style = NetworkStyle(nn.Conv2d(3, 3, 5, padding=2), "any", output_range=(-3, 3))
    whole = style(textured_clips)
    pieces = torch.cat([style(textured_clips[:, :, t : t + 1]) for t in range(5)], dim=2)
    assert torch.allclose(whole, pieces, atol=1e-6)
    monkeypatch.setattr("staticdropout.perturbations.styles.base._PIXELS_PER_STEP", {"cpu": 2 * 72 * 80})
    assert torch.allclose(style(textured_clips), whole, atol=1e-6)


def test_the_network_is_copied_and_runs_in_evaluation_mode(textured_clips: Tensor) -> None:
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm, nn.Dropout(0.9)).train()
    style = NetworkStyle(network, "any")
    before = style(textured_clips), style.parameters
    assert network.training
    assert torch.allclose(before[0], textured_clips, atol=1e-4)
    with torch.no_grad():
        norm.weight.zero_()
    assert torch.equal(style(textured_clips), before[0])
    assert style.parameters == before[1]
    assert NetworkStyle(network, "any").parameters != before[1]


@pytest.mark.parametrize("first", [True, False])
def test_inference_mode_and_normal_mode_follow_each_other(first: bool, textured_clips: Tensor) -> None:
    style = NetworkStyle(negative(-1, 1), "negative")
    for mode in (first, not first):
        with torch.inference_mode(mode):
            assert torch.allclose(style(textured_clips), 1 - textured_clips, atol=1e-5)
    copy.deepcopy(style)(textured_clips)


def test_the_hash_of_a_set_tells_weights_and_conventions_apart() -> None:
    def hashed(network: nn.Module, **options: Any) -> str:
        return StyleSet([NetworkStyle(network, "any", **options), "neon"]).hash

    network = negative(-1, 1)
    assert hashed(network) == hashed(copy.deepcopy(network)) == hashed(negative(-1, 1))
    others = [hashed(negative(-1, 1.001)), hashed(network, mean=0.4), hashed(network, output_range=(-1, 1))]
    others += [hashed(nn.Sequential(negative(-1, 1))), hashed(network, half=True)]
    assert len({hashed(network), *others}) == 6
    assert hashed(network, output_range=(0, 255)) == hashed(network, output_range=[0.0, np.float32(255)])
    assert hashed(network, mean=0, std=1) == hashed(network, mean=(0.0, np.float64(0), 0), std=np.float32(1))


def test_the_hash_is_the_same_on_every_machine() -> None:
    network = nn.Conv2d(3, 3, 1)
    with torch.no_grad():
        network.weight.fill_(0.5)
        assert network.bias is not None
        network.bias.fill_(0.25)
    text = b"bias torch.float32 (3,)\n" + np.full(3, 0.25, "<f4").tobytes()
    text += b"weight torch.float32 (3, 3, 1, 1)\n" + np.full(9, 0.5, "<f4").tobytes()
    assert weights_digest(network) == hashlib.sha256(text).hexdigest()[:16]
    assert StyleSet([NetworkStyle(network, "any"), "paint"]).hash == "b3d9c2db8676"


def test_the_digest_sees_names_types_shapes_and_every_number() -> None:
    def digest(**tensors: Tensor) -> str:
        network = nn.Module()
        for name, tensor in tensors.items():
            network.register_buffer(name, tensor)
        return weights_digest(network)

    a = torch.tensor([1.0, 2.0])
    different = [
        digest(a=a),
        digest(b=a),
        digest(a=a.view(2, 1)),
        digest(a=a.bfloat16()),
        digest(a=a.half()),
        digest(a=torch.tensor([1.0, torch.finfo().eps + 2.0]).nextafter(torch.tensor(9.0))),
        digest(a=torch.tensor(1)),
        digest(a=torch.empty(0)),
        digest(a=a, b=a),
    ]
    assert len(set(different)) == len(different)
    assert digest(a=a, b=2 * a) == digest(b=2 * a, a=a)
    assert digest(a=torch.arange(6.0).view(2, 3).t()) == digest(a=torch.arange(6.0).view(2, 3).t().contiguous())


def test_parameters_are_plain_values() -> None:
    style = NetworkStyle(negative(0, 255), "negative", mean=0, std=1 / 255, output_range=(0, 255), multiple=4)
    assert json.loads(json.dumps(style.parameters)) == style.parameters


class Returns(nn.Module):
    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value

    def forward(self, pictures: Tensor) -> Any:
        return self.value(pictures)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: (x, x), "returned a tuple .*returns the picture alone"),
        (lambda x: x[:, :1], r"returned \(10, 1, 72, 80\)"),
        (lambda x: x / 0, "not finite"),
        (lambda x: x * 127.5 + 127.5, r"out of range: they go from .* output_range .* \(0, 255\)"),
    ],
)
def test_what_a_network_does_wrong_is_said_at_first_use(value: Any, message: str, textured_clips: Tensor) -> None:
    style = NetworkStyle(Returns(value), "mine")
    with pytest.raises(BatchError, match=f"'mine'.*{message}|{message}.*'mine'|.*'mine'.*{message}"):
        style(textured_clips)
    with pytest.raises(BatchError):
        style(textured_clips)


def test_a_little_beyond_the_range_is_clamped(textured_clips: Tensor) -> None:
    styled = NetworkStyle(Returns(lambda x: 1.15 * x), "mine")(textured_clips)
    assert float(styled.min()) >= 0
    assert float(styled.max()) <= 1


@pytest.mark.parametrize(
    "options",
    [{"std": value} for value in (0, [1, 0, 1], math.nan, [1, math.inf, 1], "x", None)]
    + [{"output_range": value} for value in ((1, 1), (0, 128, 255), (255,), 255, (0, math.nan), "ab")]
    + [{"multiple": 0}, {"mean": (0, 1)}, {"mean": -math.inf}],
    ids=str,
)
def test_arguments_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=next(iter(options))):
        NetworkStyle(nn.Identity(), "mine", **options)


def test_what_is_no_clip_is_refused() -> None:
    style = NetworkStyle(nn.Identity(), "same")
    with pytest.raises(BatchError, match="Expected RGB clips"):
        style(torch.rand(3, 4, 8, 8))
    assert style(torch.rand(0, 3, 2, 8, 8)).shape == (0, 3, 2, 8, 8)
    assert style(torch.rand(2, 3, 0, 8, 8)).shape == (2, 3, 0, 8, 8)


def test_network_styles_make_triplets(textured_clips: Tensor) -> None:
    triplets = VideoTriplets(styles=[NetworkStyle(negative(-1, 1), "negative"), "neon"], seed=0)
    triplet = triplets(textured_clips)
    assert triplet.anchor.shape == textured_clips.shape
    assert "negative" in triplets.styles.names


class Own:
    """A style that follows a function of the clip."""

    name = "own"

    def __init__(self, function: Any, temporal: bool = False) -> None:
        self.function, self.temporal = function, temporal

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        styled: Tensor = self.function(clip)
        return styled


def in_place(clip: Tensor) -> Tensor:
    with torch.no_grad():
        clip.mul_(0.5)
    return clip.detach().clone()


def noisy(clip: Tensor, generator: Sequence[torch.Generator] = (torch.Generator().manual_seed(0),)) -> Tensor:
    return (clip.detach() + torch.rand(clip.shape, generator=generator[0])) / 2


def by_frame(clip: Tensor) -> Tensor:
    return clip.detach() * (1 - torch.linspace(0, 0.5, clip.shape[2])[:, None, None])


BAD: dict[str, tuple[Any, str]] = {
    "shape": (lambda clip: clip.detach()[:, :1], "keep the shape"),
    "a list": (lambda clip: list(clip), "returned a list"),
    "dtype": (lambda clip: clip.detach().double(), "float64 on cpu for torch.float32"),
    "gradient": (lambda clip: clip * 0.5, "has a gradient"),
    "range": (lambda clip: clip.detach() * 2 - 0.5, "pixels go from .* clamp"),
    "finite": (lambda clip: clip.detach() * torch.nan, "not finite"),
    "in place": (in_place, "changes the clip"),
    "global draws": (lambda clip: (clip.detach() + torch.rand(1) * 1e-9).clamp(0, 1), "global random state"),
    "own draws": (noisy, "other pixels when it is styled again"),
    "statistics of a batch": (
        lambda clip: clip.detach() / clip.detach().amax() * 0.9 / len(clip),
        "beside other clips",
    ),
    "statistics of a clip": (by_frame, "frames depend on each other"),
}


@pytest.mark.parametrize("fault", BAD)
def test_the_check_of_a_style_names_the_fault(fault: str, textured_clips: Tensor) -> None:
    function, message = BAD[fault]
    with pytest.raises(BatchError, match=f"'own'.*{message}"):
        check_style(Own(function), textured_clips)


def test_the_check_passes_good_styles_and_lets_temporal_ones_use_other_frames(textured_clips: Tensor) -> None:
    check_style(Own(lambda clip: 1 - clip.detach()), textured_clips)
    check_style(Own(by_frame, temporal=True), textured_clips)
    for style in StyleSet():
        check_style(style, textured_clips)
