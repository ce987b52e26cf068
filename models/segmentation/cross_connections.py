# SPDX-License-Identifier: Apache-2.0
"""Cross connections: how the streams of a two-stream network see each other after a stage.

All of them map (appearance, motion) to a dict of both. Uni-directional means motion to appearance, as in MATNet;
bi-directional both ways (Kowal et al., Sec. 5.3). The choices for :func:`make_connection`:

========== ===================================== ==========================================
name       who made it                           in the released code
========== ===================================== ==========================================
none       FusionSeg                             —
uni        MATNet                                ``cc_type: coatt``
uni_add    Kowal et al., study code              ``cc_type: coatt_add``
uni_gated  Kowal et al., study code              ``cc_type: coatt_gated``
bi         Kowal et al., study code              ``cc_type: coatt_recip``
bi_gated   Kowal et al., study code, "RTNet*"    ``cc_type: coatt_gated_recip``
========== ===================================== ==========================================

RTNet's own, which also attends between two frames, is in :mod:`.reciprocal`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ...errors import UnknownNameError
from .coattention import CoAttention, Direction, Norm

__all__ = ("CONNECTIONS", "CoAttentionConnection", "Unconnected", "make_connection")

_OPTIONS: dict[str, dict[str, Any]] = {
    "uni": {"direction": "uni"},
    "uni_add": {"direction": "uni", "add_motion": True},
    "uni_gated": {"direction": "uni", "gated": True},
    "bi": {"direction": "bi"},
    "bi_gated": {"direction": "bi", "gated": True},
}

CONNECTIONS = ("none", *_OPTIONS)
"""What :func:`make_connection` knows."""


class Unconnected(nn.Module):
    """No cross connection: the streams go on as they are.

    A module all the same, so that every network has its streams at the same names.
    """

    def forward(self, appearance: Tensor, motion: Tensor) -> dict[str, Tensor]:
        """Return the streams."""
        return {"appearance": appearance, "motion": motion}


class CoAttentionConnection(nn.Module):
    """Each stream plus what :class:`CoAttention` gives it, through a ReLU.

    Args:
        channels: channels of one stream.
        direction: ``"uni"`` or ``"bi"``.
        gated: with the gates of the study's "gated" forms.
        add_motion: add the motion stream to the appearance stream as well.
        norm: of the affinity, ``"tanh"`` or ``"softmax"``.
        cascades: of the co-attention.

    Shape:
        Twice ``(B, C, H, W)`` to a dict of the same.

    Example:
        >>> import torch
        >>> streams = CoAttentionConnection(32)(torch.rand(2, 32, 4, 6), torch.rand(2, 32, 4, 6))
        >>> {name: tuple(stream.shape) for name, stream in streams.items()}
        {'appearance': (2, 32, 4, 6), 'motion': (2, 32, 4, 6)}
    """

    def __init__(
        self,
        channels: int,
        direction: Direction = "uni",
        gated: bool = False,
        add_motion: bool = False,
        norm: Norm = "tanh",
        cascades: int = 5,
    ) -> None:
        super().__init__()
        self.add_motion = add_motion
        self.attention = CoAttention(channels, direction, gated, norm, cascades)

    def forward(self, appearance: Tensor, motion: Tensor) -> dict[str, Tensor]:
        """Connect the streams."""
        of_appearance, of_motion = self.attention(appearance, motion)
        base = appearance + motion if self.add_motion else appearance
        return {"appearance": (of_appearance + base).relu(), "motion": (of_motion + motion).relu()}


def make_connection(name: str, channels: int, norm: Norm = "tanh", cascades: int = 5) -> nn.Module:
    """Build a cross connection by name.

    Args:
        name: one of the table at the top.
        channels: channels of one stream.
        norm: of the affinity, ``"tanh"`` or ``"softmax"``.
        cascades: of the co-attention.

    Raises:
        UnknownNameError: there is no such connection.
        OptionError: an option is out of range.

    Example:
        >>> make_connection("bi", 32).attention.direction
        'bi'
    """
    if name not in CONNECTIONS:
        raise UnknownNameError("cross connection", name, CONNECTIONS)
    if name == "none":
        return Unconnected()
    return CoAttentionConnection(channels, norm=norm, cascades=cascades, **_OPTIONS[name])
