# SPDX-License-Identifier: Apache-2.0
"""MATNet's asymmetric co-attention: what each stream is to add to itself after having looked at the other one."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import OptionError

__all__ = ("CoAttention", "Direction", "Norm")

Direction = Literal["uni", "bi"]
Norm = Literal["tanh", "softmax"]


class CoAttention(nn.Module):
    """Asymmetric co-attention in cascades (Zhou et al., MATNet), with the study's bi-directional and gated forms.

    One cascade, from the states ``a`` and ``m`` of the streams:

    - soft selection: ``ã = softmax(s_a(a)) ∘ a`` and ``m̃ = softmax(s_m(m)) ∘ m``, each softmax over all positions;
    - affinity of every motion position to every appearance position: ``T = tanh(e_m(m̃)ᵀ e_a(ã))``;
    - gathering: ``Z_b = ã Tᵀ`` (appearance through the affinity) and ``Z_a = m̃ T`` (motion at the appearance
      positions), both of unit length along the channels;
    - the updates: ``Z_b`` for appearance; for motion ``m̃`` (uni-directional) or ``Z_a`` (bi-directional). The gated
      forms add ``ã ∘ g_a + ã`` for appearance, and bi-directionally ``m̃ ∘ g_m + m̃`` for motion, with one map ``g``
      a stream from a sigmoid over both;
    - the next cascade starts from ``relu(a + update)`` and ``relu(m + update)``. All cascades share their weights.

    Kept as released: appearance is updated with its own features re-weighted by the affinity, and the
    uni-directional net never uses ``Z_a``. The softmax form normalises along the positions that receive, not along
    those that are summed.

    Args:
        channels: channels C of one stream.
        direction: ``"uni"`` (motion informs appearance) or ``"bi"``.
        gated: add the gated selections. The uni-directional form has the gate of motion, as in the released weights,
            but does not use it.
        norm: of the affinity, ``"tanh"`` or ``"softmax"``. The released bi-directional gated network always takes tanh.
        cascades: how often to repeat; 5 in the released networks.
        reduction: C is divided by it for the embeddings ``e``.

    Shape:
        Twice ``(B, C, H, W)`` to the two updates, each ``(B, C, H, W)``. Memory for the affinity: ``(H W)²`` a sample.

    Raises:
        OptionError: an option is out of range.

    Source:
        tfzhou/MATNet ``modules/MATNet.py`` (CoAttention); MSiam/MATNet_FusionCrossConStudy (``cc_type``).

    Example:
        >>> of_appearance, of_motion = CoAttention(32)(torch.rand(2, 32, 4, 6), torch.rand(2, 32, 4, 6))
        >>> of_appearance.shape, of_appearance.norm(dim=1).allclose(torch.ones(2, 4, 6))
        (torch.Size([2, 32, 4, 6]), True)
    """

    def __init__(
        self,
        channels: int,
        direction: Direction = "uni",
        gated: bool = False,
        norm: Norm = "tanh",
        cascades: int = 5,
        reduction: int = 16,
    ) -> None:
        super().__init__()
        if direction not in ("uni", "bi"):
            raise OptionError(f"direction is 'uni' or 'bi', not {direction!r}.")
        if norm not in ("tanh", "softmax"):
            raise OptionError(f"norm is 'tanh' or 'softmax', not {norm!r}.")
        if cascades < 1:
            raise OptionError(f"cascades is 1 or more, not {cascades}.")
        self.direction, self.norm, self.cascades = direction, norm, cascades
        hidden = max(1, channels // reduction)
        self.select_appearance = nn.Conv2d(channels, 1, 1)
        self.select_motion = nn.Conv2d(channels, 1, 1)
        self.embed_appearance = nn.Conv2d(channels, hidden, 1)
        self.embed_motion = nn.Conv2d(channels, hidden, 1)
        self.gate = nn.Conv2d(2 * channels, 2, 1) if gated else None

    def forward(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updates of appearance and motion that the last cascade gives."""
        updates = self.cascade(appearance, motion)
        for _ in range(self.cascades - 1):
            appearance, motion = (appearance + updates[0]).relu(), (motion + updates[1]).relu()
            updates = self.cascade(appearance, motion)
        return updates

    def cascade(self, appearance: Tensor, motion: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updates of one cascade."""
        a = appearance * _over_positions(self.select_appearance(appearance))
        m = motion * _over_positions(self.select_motion(motion))
        affinity = self.embed_motion(m).flatten(2).transpose(1, 2) @ self.embed_appearance(a).flatten(2)
        of_appearance = _gather(a, self._normalise(affinity, 1).transpose(1, 2))
        of_motion = _gather(m, self._normalise(affinity, 2)) if self.direction == "bi" else m
        if self.gate is not None:
            gates = self.gate(torch.cat([a, m], dim=1)).sigmoid()
            of_appearance = of_appearance + a * gates[:, :1] + a
            if self.direction == "bi":
                of_motion = of_motion + m * gates[:, 1:] + m
        return of_appearance, of_motion

    def _normalise(self, affinity: Tensor, dim: int) -> Tensor:
        return affinity.tanh() if self.norm == "tanh" else affinity.softmax(dim)


def _over_positions(logits: Tensor) -> Tensor:
    """Softmax over height and width of ``(B, 1, H, W)``."""
    return logits.flatten(2).softmax(2).view(logits.shape)


def _gather(values: Tensor, weights: Tensor) -> Tensor:
    """Sum ``(B, C, H, W)`` over its positions with weights ``(B, positions, positions)``, then to unit length."""
    return F.normalize((values.flatten(2) @ weights).view(values.shape), dim=1)
