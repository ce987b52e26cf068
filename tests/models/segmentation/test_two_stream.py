# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import BatchError
from staticdropout.models.features import list_layers
from staticdropout.models.segmentation.backbones import ResNetBackbone
from staticdropout.models.segmentation.cross_connections import Unconnected
from staticdropout.models.segmentation.fusion import ConcatFusion
from staticdropout.models.segmentation.two_stream import STAGES, TwoStreamEncoder

CHANNELS = (8, 16, 32, 64)


class Swap(nn.Module):
    """Each stream goes on with the other one's features."""

    def forward(self, appearance: Tensor, motion: Tensor) -> dict[str, Tensor]:
        return {"appearance": motion, "motion": appearance}


def encoder(connections: dict[int, nn.Module] | None = None, fused: tuple[int, ...] = STAGES) -> TwoStreamEncoder:
    torch.manual_seed(0)
    appearance, motion = (ResNetBackbone("resnet18", channels=CHANNELS) for _ in range(2))
    fusions = {stage: ConcatFusion(CHANNELS[stage - 2]) for stage in fused}
    return TwoStreamEncoder(appearance, motion, connections or {}, fusions).eval()


def pictures(size: tuple[int, int] = (64, 96)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    image, flow = (torch.randn((2, 3, *size), generator=generator) for _ in range(2))
    return image, flow


def test_without_connections_the_streams_are_the_two_backbones() -> None:
    network, (image, flow) = encoder(), pictures()
    features = network(image, flow)
    torch.testing.assert_close(features[5].appearance, network.appearance(image))
    torch.testing.assert_close(features[5].motion, network.motion(flow))
    assert all(isinstance(network.get_submodule(f"connect{stage}"), Unconnected) for stage in STAGES)


def test_what_a_connection_gives_goes_on_to_the_next_stage_and_to_the_fusion() -> None:
    network, (image, flow) = encoder({3: Swap()}), pictures()
    plain, swapped = encoder()(image, flow), network(image, flow)
    assert torch.equal(swapped[2].appearance, plain[2].appearance)
    assert torch.equal(swapped[3].appearance, plain[3].motion)
    assert torch.equal(swapped[3].motion, plain[3].appearance)
    torch.testing.assert_close(swapped[4].appearance, network.appearance.stage(4, plain[3].motion))
    fuse = network.get_submodule("fuse3")
    torch.testing.assert_close(swapped[3].fused, fuse(plain[3].motion, plain[3].appearance))


def test_only_the_stages_with_a_fusion_give_a_fused_tensor() -> None:
    network = encoder(fused=(2, 5))
    features = network(*pictures())
    assert network.fused_stages == (2, 5)
    assert [stage for stage in STAGES if features[stage].fused is not None] == [2, 5]


@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 32)])
def test_stages_halve_the_size_and_round_up(size: tuple[int, int]) -> None:
    for stage, features in encoder()(*pictures(size)).items():
        expected = tuple(-(-side // 2**stage) for side in size)
        assert features.appearance.shape == features.motion.shape == (2, CHANNELS[stage - 2], *expected)


def test_streams_and_fusions_are_layers_with_the_same_names_in_every_network() -> None:
    layers = list_layers(encoder(), *pictures())
    expected = {f"connect{s}[{stream}]" for s in STAGES for stream in ("appearance", "motion")}
    assert expected | {f"fuse{s}" for s in STAGES} <= set(layers)
    assert layers["connect4[motion]"] == (2, 32, 4, 6)


def test_image_and_flow_that_do_not_fit_together_are_named() -> None:
    network, (image, flow) = encoder(), pictures()
    for wrong in (flow[:, :, :-1], flow[:1], flow[0]):
        with pytest.raises(BatchError, match=r"image \(2, 3, 64, 96\) and flow \("):
            network(image, wrong)
