# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import OptionError, UnknownNameError
from staticdropout.models import capture
from staticdropout.models.segmentation import CONNECTIONS, FUSIONS, MATNet
from staticdropout.models.segmentation.cross_connections import Unconnected

BOUNDARIES = ["boundary", "boundary2", "boundary3", "boundary4", "boundary5"]


def small(**options: Any) -> MATNet:
    torch.manual_seed(0)
    backbone = {"channels": (16, 32, 64, 128), "zero_init_last": False}
    return MATNet(**{"backbone": "resnet18", "backbone_args": backbone, "width": 16, "boundary_width": 8, **options})


def pictures(size: tuple[int, int] = (64, 96), batch: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, flow = (torch.randn((batch, 3, *size), generator=generator) for _ in range(2))
    return image, flow


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (32, 50)])
def test_masks_and_boundaries_have_the_size_of_the_input(size: tuple[int, int]) -> None:
    with torch.inference_mode():
        outputs = small().eval()(*pictures(size))
    assert list(outputs) == ["mask", *BOUNDARIES]
    assert {output.shape for output in outputs.values()} == {(2, 1, *size)}


def test_a_mask_size_gives_square_masks_as_the_released_network_does() -> None:
    with torch.inference_mode():
        outputs = small(mask_size=40).eval()(*pictures())
    assert {output.shape for output in outputs.values()} == {(2, 1, 40, 40)}


def test_the_mask_size_changes_only_the_last_enlargement() -> None:
    with torch.inference_mode():
        free, fixed = (small(mask_size=size).eval()(*pictures((64, 64))) for size in (None, 64))
    assert all(torch.equal(free[name], fixed[name]) for name in free)


def test_without_boundary_refinement_there_is_only_a_mask_and_no_part_for_boundaries() -> None:
    model = small(boundary_refinement=False).eval()
    with torch.inference_mode():
        assert list(model(*pictures())) == ["mask"]
    assert not [name for name, _ in model.named_parameters() if "boundar" in name]


def test_the_boundary_of_a_stage_takes_part_in_its_mask() -> None:
    model = small().eval()
    with torch.inference_mode():
        before = model(*pictures())
        nn.init.constant_(model.get_parameter("decoder.boundaries.stage2.conv3.bias"), 9.0)
        after = model(*pictures())
    assert not torch.allclose(before["mask"], after["mask"])
    assert not torch.allclose(before["boundary"], after["boundary"])
    assert torch.equal(before["boundary3"], after["boundary3"])


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize("refined", [True, False])
def test_gradients_reach_every_parameter(connection: str, refined: bool) -> None:
    model = small(cross_connection=connection, boundary_refinement=refined)
    outputs = model(*pictures())
    torch.autograd.backward([output.square().mean() for output in outputs.values()])
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []


@pytest.mark.parametrize("fusion", FUSIONS)
def test_every_fusion_can_be_chosen(fusion: str) -> None:
    with torch.inference_mode():
        assert small(fusion=fusion).eval()(*pictures())["mask"].shape == (2, 1, 64, 96)


def test_the_first_stage_is_not_connected_and_the_others_are() -> None:
    encoder = small().encoder
    unconnected = [isinstance(encoder.get_submodule(f"connect{stage}"), Unconnected) for stage in (2, 3, 4, 5)]
    assert unconnected == [True, False, False, False]


@pytest.mark.parametrize(("one", "other"), [("uni", "bi"), ("uni_gated", "bi_gated")])
def test_direction_changes_the_function_but_not_the_names_of_the_weights(one: str, other: str) -> None:
    models = [small(cross_connection=name).eval() for name in (one, other)]
    weights = [model.state_dict() for model in models]
    assert [(k, v.shape) for k, v in weights[0].items()] == [(k, v.shape) for k, v in weights[1].items()]
    models[1].load_state_dict(weights[0])
    with torch.inference_mode():
        masks = [model(*pictures())["mask"] for model in models]
    assert not torch.allclose(*masks)


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    model = small(cross_connection="bi_gated").double().eval()
    image, flow = (picture.double() for picture in pictures(batch=3))
    with torch.inference_mode():
        together = model(image, flow)["mask"]
        alone = torch.cat([model(image[i : i + 1], flow[i : i + 1])["mask"] for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_the_mask_depends_on_the_image_and_on_the_flow() -> None:
    model, (image, flow) = small().eval(), pictures()
    with torch.inference_mode():
        mask = model(image, flow)["mask"]
        assert not torch.allclose(model(image.flip(3), flow)["mask"], mask)
        assert not torch.allclose(model(image, flow.flip(3))["mask"], mask)


def test_the_streams_and_fusions_can_be_captured_by_pattern() -> None:
    model = small()
    patterns = ["encoder.connect*[appearance]", "encoder.connect*[motion]", "encoder.fuse*"]
    with torch.no_grad(), capture(model, patterns) as run:
        features = run(model, *pictures())
    assert {name: value.shape[1] for name, value in features.items()} == {
        **{f"encoder.connect{s}[{stream}]": 4 * 2**s for s in (2, 3, 4, 5) for stream in ("appearance", "motion")},
        **{f"encoder.fuse{s}": 8 * 2**s for s in (2, 3, 4, 5)},
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 10}, "width is a multiple of 4, not 10"),
        ({"mask_size": 0}, "mask_size is a number of pixels, or None for the input's size, not 0"),
        ({"norm": "sum"}, "norm is 'tanh' or 'softmax', not 'sum'"),
    ],
)
def test_an_option_out_of_range_is_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        small(**options)


def test_unknown_connections_and_fusions_are_named() -> None:
    with pytest.raises(UnknownNameError, match="no cross connection called 'both'"):
        small(cross_connection="both")
    with pytest.raises(UnknownNameError, match="no fusion called 'gate'"):
        small(fusion="gate")
