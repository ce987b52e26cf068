# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import random
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
from torch import Tensor

from staticdropout.errors import BatchError, StaticDropoutError
from staticdropout.perturbations import (
    FlowJitter,
    FlowTriplets,
    StyleSet,
    TripletFunction,
    VideoTriplets,
    flow_to_colour,
    get_style,
)

ALL = ("paint", "chalk", "neon", "relief")


class Clips:
    """A temporal style: every frame becomes the mean of its clip."""

    name, temporal = "clips", True

    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        return clip.mean(2, keepdim=True).expand_as(clip)


def batch(size: int = 8, frames: int | None = None, channels: int = 3) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    leading = (size,) if frames is None else (size, frames)
    image = torch.rand(*leading, 3, 12, 14, generator=generator)
    flow = torch.randn(*leading, max(1, channels // 3), 2, 12, 14, generator=generator)
    drawn = flow if channels == 2 else flow_to_colour(flow)
    keys = [f"dog/{i:05d}" for i in range(size)]
    return {"image": image, "flow": drawn.reshape(*leading, channels, 12, 14), "id": keys}


def parts(triplet: Any) -> list[Tensor]:
    return [part for member in triplet for part in member]


def some(samples: dict[str, Any], order: list[int]) -> dict[str, Any]:
    return {
        name: [value[i] for i in order] if isinstance(value, list) else value[order] for name, value in samples.items()
    }


def test_one_pair_shares_the_styled_image_and_the_other_the_flow() -> None:
    samples = batch(24)
    anchor, same_static, same_dynamic = FlowTriplets(seed=5)(samples)
    clip = samples["image"].unsqueeze(2)
    styled = {name: get_style(name)(clip).squeeze(2) for name in ALL}
    assert torch.equal(anchor[1], samples["flow"])
    assert torch.equal(same_dynamic[1], samples["flow"])
    assert torch.equal(same_static[0], anchor[0])
    for i in range(24):
        first = [name for name in ALL if torch.equal(anchor[0][i], styled[name][i])]
        second = [name for name in ALL if torch.equal(same_dynamic[0][i], styled[name][i])]
        assert len(first) == len(second) == 1
        assert first != second
        assert not torch.equal(same_static[1][i], samples["flow"][i])


@pytest.mark.parametrize("jitter", [None, FlowJitter("paper", seed=9), FlowJitter("vector", seed=9)])
def test_the_flow_is_jittered_by_the_ids(jitter: FlowJitter | None) -> None:
    samples = batch()
    expected = (jitter or FlowJitter("paper", seed=4))(samples["flow"], samples["id"])
    assert torch.equal(FlowTriplets(seed=4, jitter=jitter)(samples).same_static[1], expected)


def test_styles_are_drawn_as_for_videos() -> None:
    samples, clip = batch(), batch()["image"].unsqueeze(2).repeat(1, 1, 2, 1, 1)
    videos = VideoTriplets(seed=2)(clip, samples["id"])
    anchor, _, same_dynamic = FlowTriplets(seed=2)(samples)
    assert torch.allclose(anchor[0], videos.anchor[:, :, 0], atol=1e-6)
    assert torch.allclose(same_dynamic[0], videos.same_dynamic[:, :, 0], atol=1e-6)


def test_a_sample_gets_the_same_triplet_in_any_batch_order_or_measurement() -> None:
    samples, triplets = batch(6), FlowTriplets(seed=1)
    whole, order = FlowTriplets(seed=1)(samples), [4, 0, 5, 2, 1, 3]
    mixed = triplets(some(samples, order))
    alone = [triplets(some(samples, [i])) for i in range(6)]
    for i, part in enumerate(parts(whole)):
        assert torch.equal(parts(mixed)[i], part[order])
        assert torch.equal(torch.cat([parts(one)[i] for one in alone]), part)
    assert not torch.equal(FlowTriplets(seed=2)(samples).anchor[0], whole.anchor[0])


def test_positions_are_the_keys_of_a_batch_without_ids_or_of_other_names() -> None:
    samples = batch(4)
    numbered = {"rgb": samples["image"], "of": samples["flow"], "key": torch.arange(4)}
    expected = FlowTriplets()({"image": samples["image"], "flow": samples["flow"]})
    found = FlowTriplets(image="rgb", flow="of", id="key")(numbered)
    assert all(torch.equal(a, b) for a, b in zip(parts(found), parts(expected), strict=True))


def test_two_frame_clips_are_rendered_as_clips_in_one_style() -> None:
    samples = batch(6, frames=2, channels=6)
    anchor, same_static, same_dynamic = FlowTriplets([Clips(), "neon"])(samples)
    clips = samples["image"].transpose(1, 2)
    styled = [style(clips).transpose(1, 2) for style in (Clips(), get_style("neon"))]
    for i in range(6):
        first = [number for number in range(2) if torch.equal(anchor[0][i], styled[number][i])]
        assert first in ([0], [1])
        assert torch.equal(same_dynamic[0][i], styled[1 - first[0]][i])
    assert torch.equal(same_static[1], FlowJitter()(samples["flow"], samples["id"]))
    assert all(part.is_contiguous() for part in parts((anchor, same_static, same_dynamic)))


def test_vectors_serve_where_flow_is_not_drawn() -> None:
    samples = batch(4, channels=2)
    triplet = FlowTriplets(jitter=FlowJitter("vector"))(samples)
    assert torch.equal(triplet.same_static[1], FlowJitter("vector")(samples["flow"], samples["id"]))
    shown = FlowTriplets(jitter=FlowJitter("vector")).picture(triplet)
    lengths = {name: float(1 - pixels[1].amin()) for name, pixels in shown.items()}
    scale = FlowJitter("vector").draw("dog/00000")[1]
    assert lengths["same static"] / lengths["anchor"] == pytest.approx(scale, abs=1e-3)


@pytest.mark.parametrize("frames", [None, 2])
def test_the_picture_shows_image_and_forward_flow_of_the_first_sample(frames: int | None) -> None:
    samples = batch(3, frames, channels=3 if frames is None else 6)
    triplets = FlowTriplets()
    triplet = triplets(samples)
    shown = triplets.picture(triplet)
    assert list(shown) == ["anchor", "same static", "same dynamic"]
    for pixels, (image, flow) in zip(shown.values(), triplet, strict=True):
        assert pixels.shape == (2, 12, 14, 3)
        first = (image[0], flow[0]) if frames is None else (image[0, 0], flow[0, 0, :3])
        assert torch.equal(pixels, torch.stack(first).permute(0, 2, 3, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("mode", ["paper", "vector"])
def test_dtypes_are_kept(dtype: torch.dtype, mode: Any) -> None:
    samples = batch(3)
    samples.update(image=samples["image"].to(dtype), flow=samples["flow"].to(dtype))
    triplets = FlowTriplets(jitter=FlowJitter(mode))
    triplet = triplets(samples)
    assert all(part.dtype == dtype for part in parts(triplet))
    assert all(pixels.dtype == torch.float32 for pixels in triplets.picture(triplet).values())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("mode", ["paper", "vector"])
def test_triplets_are_made_on_the_device_of_the_batch(mode: Any) -> None:
    samples, triplets = batch(4, frames=2, channels=6), FlowTriplets(jitter=FlowJitter(mode))
    found = triplets({**samples, "image": samples["image"].cuda(), "flow": samples["flow"].cuda()})
    assert all(part.is_cuda for part in parts(found))
    for a, b in zip(parts(found), parts(triplets(samples)), strict=True):
        assert (a.cpu() - b).abs().mean() < 1e-4


def test_no_global_generator_is_touched_and_no_gradient_kept() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    samples = batch(3)
    triplet = FlowTriplets()({**samples, "image": samples["image"].requires_grad_()})
    assert not any(part.requires_grad for part in parts(triplet))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.array_equal(np.random.get_state()[1], before[2])  # type: ignore[index] # noqa: NPY002


def test_the_description_is_plain_and_tells_styles_and_jitter_apart() -> None:
    description = FlowTriplets(seed=3).description
    assert json.loads(json.dumps(description)) == description
    assert description["triplets"] == "FlowTriplets"
    assert description["style_hash"] == StyleSet().hash
    assert description["jitter"] == FlowJitter("paper", seed=3).description
    assert FlowTriplets(jitter=FlowJitter("vector")).description != description


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"flow": None}, r"'flow' in the batch, but 'flow' is a NoneType"),
        ({"image": batch()["image"].mul(255).byte()}, r"floating-point images in \[0, 1\], found torch.uint8.*/ 255"),
        ({"flow": batch()["flow"].mul(255).byte()}, r"floating-point flow in \[0, 1\], found torch.uint8.*/ 255"),
        ({"image": batch()["image"] * 3 - 1}, r"images in \[0, 1\].*normalised"),
        ({"image": batch()["image"].movedim(1, -1)}, r"\(B, 3, H, W\).*found \(8, 12, 14, 3\).*channels before"),
        ({"flow": batch(channels=2)["flow"]}, r"flow of 2 channels, shape \(8, 2, 12, 14\).*mode='vector'"),
        ({"flow": batch(channels=6, frames=2)["flow"]}, r"images \(8, 3, 12, 14\) and flow \(8, 2, 6, 12, 14\)"),
        ({"flow": batch()["flow"][..., :8]}, r"flow \(8, 3, 12, 8\).*same samples, frames, height and width"),
        ({"flow": batch(4)["flow"]}, r"flow \(4, 3, 12, 14\)"),
        ({"id": ["a"]}, "one key for each of the 8 clips"),
    ],
)
def test_what_does_not_fit_is_named_with_the_way_out(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BatchError, match=message):
        FlowTriplets()({**batch(), **change})


def test_a_missing_entry_is_named_with_what_the_batch_holds() -> None:
    samples = batch()
    samples["flows"] = samples.pop("flow")
    with pytest.raises(BatchError, match=r"no entry 'flow'. Close matches: flows.*FlowTriplets\(image="):
        FlowTriplets()(samples)
    with pytest.raises(BatchError, match="entries 'image' and 'flow', found a tuple"):
        FlowTriplets()((samples["image"],))  # type: ignore[arg-type]


@pytest.mark.parametrize(("options", "message"), [({"styles": ["paint"]}, "two styles"), ({"seed": -1}, "negative")])
def test_one_style_or_a_negative_seed_is_refused(options: Any, message: str) -> None:
    with pytest.raises((ValueError, StaticDropoutError), match=message):
        FlowTriplets(**options)


@pytest.mark.parametrize("annotation", [FlowTriplets, VideoTriplets | TripletFunction | None])
def test_triplets_can_be_written_in_a_config(annotation: Any) -> None:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--triplets", type=annotation)
    jitter = {
        "class_path": "staticdropout.perturbations.FlowJitter",
        "init_args": {"mode": "vector", "scale": [1, 2], "seed": 5},
    }
    config = {
        "class_path": "staticdropout.perturbations.FlowTriplets",
        "init_args": {"styles": ["neon", "chalk"], "jitter": jitter},
    }
    instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes  # renamed in jsonargparse 4.49
    triplets = instantiate(parser.parse_object({"triplets": config})).triplets
    assert isinstance(triplets, FlowTriplets)
    assert triplets.styles.names == ("neon", "chalk")
    assert (triplets.jitter.mode, triplets.jitter.scale, triplets.jitter.seed) == ("vector", (1.0, 2.0), 5)
