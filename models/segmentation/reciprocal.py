# SPDX-License-Identifier: Apache-2.0
"""RTNet's cross connection: reciprocal transformations between two frames and between appearance and motion.

Each transformation scales the channels of its inputs (squeeze and excitation), lets one attend to the other, and gates
the results by position (Kowal et al., Sec. 5.3; OliverRensu/RTNet ``model_R34.py``, ``model_RX50.py``). The two
released networks differ in how the attention is done; :class:`AttentionForm` names the differences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import BatchError, OptionError
from .resizing import resize

__all__ = ("AttentionForm", "ReciprocalAttention", "ReciprocalConnection", "ReciprocalTransform", "SelfTransform")


@dataclass(frozen=True)
class AttentionForm:
    """How a stage attends. ``A_ij`` is the softmax over the keys j of ``q_i · k_j / sqrt(C / heads)``.

    Attributes:
        heads: the channels are split into so many heads.
        transposed: what is summed. False: ``out_i = sum_j A_ij v_j``, the usual attention. True: ``out_j = sum_i A_ij
            v_i``; the same matrix, applied from its other side. So the released code does in the first stage of both
            networks and in all stages of that with a ResNeXt-50. Weights trained one way are wrong for the other.
        bias: query, key and value have a bias.
        pooled: attend at half the resolution (3x3 max-pooling, stride 2) and interpolate back, as in the first stage.
        squeeze: the channel scaling squeezes C (or 2 C) channels to C / squeeze; by default the number of heads, as in
            the released code.
    """

    heads: int = 1
    transposed: bool = False
    bias: bool = False
    pooled: bool = False
    squeeze: int | None = None

    def squeezed(self, channels: int) -> int:
        """Return the channels between squeeze and excitation."""
        return max(1, channels // (self.squeeze or self.heads))


class ReciprocalAttention(nn.Module):
    """Attention of all positions of one map to all positions of another, without a residual connection.

    Args:
        channels: channels C of both maps.
        form: see :class:`AttentionForm`.

    Shape:
        Twice ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Raises:
        OptionError: the channels cannot be split into the heads.

    Example:
        >>> ReciprocalAttention(8, AttentionForm(heads=2))(torch.rand(1, 8, 4, 6), torch.rand(1, 8, 4, 6)).shape
        torch.Size([1, 8, 4, 6])
    """

    def __init__(self, channels: int, form: AttentionForm) -> None:
        super().__init__()
        if channels % form.heads:
            raise OptionError(f"{channels} channels cannot be split into heads={form.heads}. Choose a divisor.")
        self.form = form
        self.query, self.key, self.value = (nn.Conv2d(channels, channels, 1, bias=form.bias) for _ in range(3))

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        """Let ``x``, which gives the queries, attend to ``source``, which gives keys and values."""
        size = x.shape[2:]
        if self.form.pooled:
            x, source = F.max_pool2d(x, 3, 2, padding=1), F.max_pool2d(source, 3, 2, padding=1)
        inner = x.shape[2:]
        # (B, heads, C / heads, positions)
        query, key, value = (
            conv(t).flatten(2).unflatten(1, (self.form.heads, -1))
            for conv, t in ((self.query, x), (self.key, source), (self.value, source))
        )
        if self.form.transposed:
            scaled = query * query.shape[2] ** -0.5
            out = value @ (scaled.mT @ key).softmax(dim=-1)
        else:
            # The fused kernels want the channels last in memory; on other tensors they fall back to three passes.
            tokens = (t.mT.contiguous() for t in (query, key, value))
            out = F.scaled_dot_product_attention(*tokens).mT
        out = out.flatten(1, 2).unflatten(2, inner)
        return resize(out, size, align_corners=True) if self.form.pooled else out


class _Scaling(nn.Module):
    """Weights ``1 + sigmoid`` of the channels of some maps, from the means of all of them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(channels, hidden, 1), nn.Conv2d(hidden, channels, 1)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        means = torch.cat([m.mean((2, 3), keepdim=True) for m in maps], dim=1)
        weights: Tensor = 1 + self.excite(self.squeeze(means).relu()).sigmoid()
        return tuple(m * w for m, w in zip(maps, weights.chunk(len(maps), dim=1), strict=True))


class _Gate(nn.Module):
    """A weight ``1 + sigmoid`` of each position of some maps, from all of them."""

    def __init__(self, channels: int, maps: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels * maps, maps, 1)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        weights: Tensor = 1 + self.conv(torch.cat(maps, dim=1)).sigmoid()
        return tuple(m * w for m, w in zip(maps, weights.chunk(len(maps), dim=1), strict=True))


class ReciprocalTransform(nn.Module):
    """Two maps transform each other: scaling, attention there and back, gating (``RTModule``).

    The first attends to the second; the second then attends to the first **as already transformed**.

    Args:
        channels: channels C of each map.
        form: see :class:`AttentionForm`.
        shared: use the same attention in both directions, as between two frames of one stream.

    Shape:
        Twice ``(B, C, H, W)`` to twice ``(B, C, H, W)``.

    Example:
        >>> x, y = ReciprocalTransform(8, AttentionForm())(torch.rand(1, 8, 4, 6), torch.rand(1, 8, 4, 6))
        >>> x.shape, y.shape
        (torch.Size([1, 8, 4, 6]), torch.Size([1, 8, 4, 6]))
    """

    def __init__(self, channels: int, form: AttentionForm, shared: bool = False) -> None:
        super().__init__()
        self.scaling = _Scaling(2 * channels, form.squeezed(channels))
        self.attention = ReciprocalAttention(channels, form)
        self.attention_back = None if shared else ReciprocalAttention(channels, form)
        self.gate = _Gate(channels, maps=2)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return what ``x`` and what ``y`` became."""
        x, y = self.scaling(x, y)
        x = self.attention(x, y)
        y = (self.attention_back or self.attention)(y, x)
        x, y = self.gate(x, y)
        return x, y


class SelfTransform(nn.Module):
    """One map transforms itself: scaling, self-attention, gating (``SelfModule``).

    Args:
        channels: channels C.
        form: see :class:`AttentionForm`.

    Shape:
        ``(B, C, H, W)`` to ``(B, C, H, W)``.

    Example:
        >>> SelfTransform(8, AttentionForm(pooled=True))(torch.rand(1, 8, 5, 7)).shape
        torch.Size([1, 8, 5, 7])
    """

    def __init__(self, channels: int, form: AttentionForm) -> None:
        super().__init__()
        self.scaling = _Scaling(channels, form.squeezed(channels))
        self.attention = ReciprocalAttention(channels, form)
        self.gate = _Gate(channels, maps=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what ``x`` became."""
        (x,) = self.scaling(x)
        (x,) = self.gate(self.attention(x, x))
        return x


class ReciprocalConnection(nn.Module):
    """RTNet's cross connection after a stage: each stream adds what three transformations make of it.

    Those are with the other frame of the clip, with the other stream at the same frame, and with itself.

    Args:
        channels: channels C of a stream.
        form: see :class:`AttentionForm`.
        released_batching: return the rows frame by frame, as the released code does: all first frames, then all second
            ones. The next stage takes them as clip by clip again, so that with more than one clip in a batch frames of
            different clips are paired. The released networks were trained and tested with one clip, where both agree.

    Shape:
        Twice ``(2 B, C, H, W)``, clip by clip (row ``2 b + f`` is frame f of clip b), to a dict of the streams
        ``appearance`` and ``motion`` of the same shape and order.

    Raises:
        BatchError: the number of rows is odd.

    Example:
        >>> rows = torch.rand(4, 8, 4, 6)
        >>> {stream: tuple(m.shape) for stream, m in ReciprocalConnection(8)(rows, rows).items()}
        {'appearance': (4, 8, 4, 6), 'motion': (4, 8, 4, 6)}
    """

    def __init__(self, channels: int, form: AttentionForm | None = None, released_batching: bool = False) -> None:
        super().__init__()
        form = form or AttentionForm()
        self.released_batching = released_batching
        self.appearance_frames = ReciprocalTransform(channels, form, shared=True)
        self.motion_frames = ReciprocalTransform(channels, form, shared=True)
        self.streams = ReciprocalTransform(channels, form)
        self.appearance_self = SelfTransform(channels, form)
        self.motion_self = SelfTransform(channels, form)

    def forward(self, appearance: Tensor, motion: Tensor) -> dict[str, Tensor]:
        """Connect the streams."""
        if len(appearance) % 2:
            raise BatchError(
                f"RTNet's connection takes two frames a clip, found {len(appearance)} rows, an odd number."
            )
        with_motion, with_appearance = self.streams(appearance, motion)
        appearance = (
            appearance
            + self._between_frames(self.appearance_frames, appearance)
            + self.appearance_self(appearance)
            + with_motion
        )
        motion = motion + self._between_frames(self.motion_frames, motion) + self.motion_self(motion) + with_appearance
        if self.released_batching:
            appearance, motion = (torch.cat([m[0::2], m[1::2]]) for m in (appearance, motion))
        return {"appearance": appearance, "motion": motion}

    @staticmethod
    def _between_frames(transform: nn.Module, rows: Tensor) -> Tensor:
        first, second = transform(rows[0::2], rows[1::2])
        return torch.stack([first, second], dim=1).flatten(0, 1)
