# SPDX-License-Identifier: Apache-2.0
"""RTNet as a whole, shrunken: shapes, the order of clips and frames, training, the options of the released code."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from staticdropout.errors import BatchError, OptionError
from staticdropout.models.segmentation.rtnet import R34_ATTENTION, RX50_ATTENTION, RTNet

MASKS = ["mask", "mask2", "mask3", "mask4"]
MOTION_MASKS = [f"motion_mask{number}" for number in (1, 2, 3, 4)]
NARROW: dict[str, Any] = {
    "backbone": "resnet18",
    "backbone_args": {"channels": (8, 16, 32, 64), "zero_init_last": False},
}
# The two released networks, shrunken.
KINDS: dict[str, dict[str, Any]] = {
    "r34": {"attention": R34_ATTENTION},
    "rx50": {"attention": RX50_ATTENTION, "bridges": (4, 8, 16), "bottom_width": 8},
}


def small(**options: Any) -> RTNet:
    torch.manual_seed(0)
    return RTNet(**{**NARROW, **options}).eval()


def clips(batch: int = 2, height: int = 64, width: int = 96) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(batch, 2, 3, height, width, generator=generator)
    return image, torch.randn(batch, 2, 6, height, width, generator=generator)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> dict[str, Any]:
    return KINDS[request.param]


@torch.no_grad()
def test_four_masks_of_both_frames_come_out(kind: dict[str, Any]) -> None:
    masks = small(**kind)(*clips())
    assert {name: mask.shape for name, mask in masks.items()} == dict.fromkeys(MASKS, (2, 2, 1, 64, 96))


def test_training_gives_the_masks_of_motion_as_well(kind: dict[str, Any]) -> None:
    masks = small(**kind).train()(*clips())
    assert {name: mask.shape for name, mask in masks.items()} == dict.fromkeys(MASKS + MOTION_MASKS, (2, 2, 1, 64, 96))


@torch.no_grad()
def test_the_masks_of_motion_can_be_had_outside_training() -> None:
    assert list(small(motion_decoder_in_eval=True)(*clips(1))) == MASKS + MOTION_MASKS


@torch.no_grad()
def test_a_batch_gives_what_its_clips_give_one_by_one(kind: dict[str, Any]) -> None:
    model = small(**kind, motion_decoder_in_eval=True).double()
    image, flow = (x.double() for x in clips(2))
    together, alone = model(image, flow), [model(image[i : i + 1], flow[i : i + 1]) for i in range(2)]
    for name, mask in together.items():
        torch.testing.assert_close(mask, torch.cat([one[name] for one in alone]))


@torch.no_grad()
def test_released_batching_changes_batches_of_several_clips_only(kind: dict[str, Any]) -> None:
    model, released = small(**kind), small(**kind, released_batching=True)
    released.load_state_dict(model.state_dict())
    image, flow = clips(2)
    torch.testing.assert_close(released(image[:1], flow[:1])["mask"], model(image[:1], flow[:1])["mask"])
    difference = (released(image, flow)["mask"] - model(image, flow)["mask"]).abs().amax((2, 3, 4))
    assert (difference > 1e-3).all()  # no frame of either clip is spared


@torch.no_grad()
def test_a_mask_depends_on_both_frames_and_both_inputs() -> None:
    model, (image, flow) = small(), clips(1)
    before = model(image, flow)["mask"][0, 0]
    for changed in (0, 1):
        for frame in (0, 1):
            inputs = [image.clone(), flow.clone()]
            inputs[changed][0, frame] += 1
            assert (model(*inputs)["mask"][0, 0] - before).abs().max() > 1e-4


@pytest.mark.parametrize(("size", "released"), [((97, 129), (100, 132)), ((64, 96), (64, 96))])
@torch.no_grad()
def test_masks_have_the_size_of_the_input_or_of_the_released_code(
    size: tuple[int, int], released: tuple[int, int]
) -> None:
    assert {mask.shape[3:] for mask in small()(*clips(1, *size)).values()} == {size}
    assert {mask.shape[3:] for mask in small(released_size=True)(*clips(1, *size)).values()} == {released}


def test_gradients_reach_every_parameter(kind: dict[str, Any]) -> None:
    model = small(**kind).train()
    generator = torch.Generator().manual_seed(1)
    losses = [(mask * torch.randn(mask.shape, generator=generator)).mean() for mask in model(*clips()).values()]
    torch.autograd.backward(losses)
    unreached = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias of the keys shifts all scores of a query alike, which the softmax takes out; rounding may leave a trace.
    assert [name for name in unreached if not name.endswith("key.bias")] == []


def test_bridges_of_motion_update_their_averages_once_a_step() -> None:
    model, (image, flow) = small(**KINDS["rx50"]).train(), clips()
    bridge, seen = model.encoder.get_submodule("fuse3.motion_bridge"), []
    bridge.get_submodule("conv").register_forward_hook(lambda *args: seen.append(args[-1]))
    model(image, flow)
    assert len(seen) == 2
    torch.testing.assert_close(bridge.get_buffer("norm.running_mean"), 0.1 * seen[0].mean((0, 2, 3)))
    assert bridge.get_submodule("norm").momentum == 0.1


@pytest.mark.parametrize(
    ("image", "flow"),
    [((1, 3, 64, 64), (1, 6, 64, 64)), ((1, 2, 3, 64, 64), (1, 2, 3, 64, 64)), ((1, 2, 3, 64, 64), (1, 2, 6, 64, 32))],
)
def test_other_shapes_are_refused(image: tuple[int, ...], flow: tuple[int, ...]) -> None:
    with pytest.raises(BatchError, match="two frames a clip"):
        small()(torch.rand(image), torch.rand(flow))


@pytest.mark.parametrize("options", [{"attention": R34_ATTENTION[:3]}, {"bridges": (8, 16)}])
def test_a_wrong_number_of_stages_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="each of stages 2 to 5"):
        small(**options)
