# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from staticdropout.errors import OptionError, UnknownNameError
from staticdropout.models.segmentation.cross_connections import (
    CONNECTIONS,
    CoAttentionConnection,
    Unconnected,
    make_connection,
)

ATTENTIVE = [name for name in CONNECTIONS if name != "none"]


def streams(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, m = (torch.rand((2, 32, 4, 6), generator=generator) for _ in range(2))
    return a, m


def connection(name: str) -> nn.Module:
    torch.manual_seed(0)
    return make_connection(name, 32)


def test_every_name_keeps_the_shapes_of_both_streams() -> None:
    for name in CONNECTIONS:
        out = connection(name)(*streams())
        assert {key: value.shape for key, value in out.items()} == dict.fromkeys(
            ("appearance", "motion"), (2, 32, 4, 6)
        )


def test_no_connection_hands_the_streams_on() -> None:
    appearance, motion = streams()
    out = connection("none")(appearance, motion)
    assert isinstance(connection("none"), Unconnected)
    assert out["appearance"] is appearance
    assert out["motion"] is motion


@pytest.mark.parametrize("name", ATTENTIVE)
def test_each_stream_is_added_to_what_the_attention_gives_it(name: str) -> None:
    connect = connection(name)
    assert isinstance(connect, CoAttentionConnection)
    appearance, motion = streams()
    of_appearance, of_motion = connect.attention(appearance, motion)
    out = connect(appearance, motion)
    extra = motion if name == "uni_add" else 0
    torch.testing.assert_close(out["appearance"], (of_appearance + appearance + extra).clamp(min=0))
    torch.testing.assert_close(out["motion"], (of_motion + motion).clamp(min=0))


@pytest.mark.parametrize("name", ATTENTIVE)
def test_appearance_sees_motion_and_only_a_bidirectional_connection_shows_motion_the_appearance(name: str) -> None:
    connect = connection(name)
    (appearance, motion), (other_appearance, other_motion) = streams(0), streams(1)
    out = connect(appearance, motion)
    assert not torch.allclose(connect(appearance, other_motion)["appearance"], out["appearance"], atol=1e-4)
    sees = not torch.allclose(connect(other_appearance, motion)["motion"], out["motion"], atol=1e-4)
    assert sees == name.startswith("bi")


def test_the_six_names_are_six_different_functions() -> None:
    outputs = [torch.cat([*connection(name)(*streams()).values()]) for name in CONNECTIONS]
    for i, one in enumerate(outputs):
        assert not any(torch.allclose(one, other, atol=1e-4) for other in outputs[i + 1 :])


def test_gated_names_have_a_gate() -> None:
    for name in ATTENTIVE:
        attention = connection(name).get_submodule("attention")
        assert (attention.gate is not None) == name.endswith("gated")


def test_options_reach_the_attention() -> None:
    connect = make_connection("bi", 32, norm="softmax", cascades=2)
    assert isinstance(connect, CoAttentionConnection)
    assert (connect.attention.norm, connect.attention.cascades) == ("softmax", 2)
    with pytest.raises(OptionError, match="cascades"):
        make_connection("uni", 32, cascades=0)


def test_an_unknown_name_is_answered_with_close_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"no cross connection called 'bi_gate'.*bi_gated"):
        make_connection("bi_gate", 32)
