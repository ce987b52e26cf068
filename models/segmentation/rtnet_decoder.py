# SPDX-License-Identifier: Apache-2.0
"""RTNet's decoder: dilated convolutions at the bottom, a U-shaped way up, a mask from each of its four steps.

Source: OliverRensu/RTNet ``model_R34.py``, ``model_RX50.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .fusion import ConvexGatedFusion
from .resizing import resize
from .two_stream import STAGES

__all__ = ("BridgedFusion", "DilatedBottom", "RTNetDecoder")

DILATIONS = (1, 2, 4, 8)


class _ConvNormAct(nn.Module):
    """A convolution without bias, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(x))
        return normed.relu()


class BridgedFusion(nn.Module):
    """RTNet's fusion of a stage: fewer channels of each stream ("bridge"), then the convex combination (STAFM).

    Args:
        channels: channels of one stream.
        ratio: of the squeeze in the convex combination.
        width: channels after the bridges; None for no bridges, as with a ResNet-34.

    Shape:
        Twice ``(B, channels, H, W)`` to ``(B, width, H, W)``.

    Example:
        >>> BridgedFusion(32, ratio=2, width=8)(torch.rand(2, 32, 4, 6), torch.rand(2, 32, 4, 6)).shape
        torch.Size([2, 8, 4, 6])
    """

    def __init__(self, channels: int, ratio: int, width: int | None = None) -> None:
        super().__init__()
        self.out_channels = width or channels
        self.appearance_bridge = _ConvNormAct(channels, width, 1) if width else nn.Identity()
        self.motion_bridge = _ConvNormAct(channels, width, 1) if width else nn.Identity()
        self.fusion = ConvexGatedFusion(self.out_channels, hidden=max(1, self.out_channels // ratio), combine="sum")

    def forward(self, appearance: Tensor, motion: Tensor) -> Tensor:
        """Fuse the streams."""
        fused: Tensor = self.fusion(self.appearance_bridge(appearance), self.motion_bridge(motion))
        return fused


class DilatedBottom(nn.Module):
    """The last stage's features beside 3x3 convolutions of them with dilation 1, 2, 4 and 8.

    Args:
        channels: channels C of the features.
        width: channels of each branch; a 1x1 convolution then makes the first one. None, as with a ResNet-34: C
            channels each, and the first branch is the features themselves.

    Shape:
        ``(B, C, H, W)`` to ``(B, 5 width, H, W)``.

    Example:
        >>> DilatedBottom(32, width=8)(torch.rand(2, 32, 4, 6)).shape
        torch.Size([2, 40, 4, 6])
    """

    def __init__(self, channels: int, width: int | None = None) -> None:
        super().__init__()
        self.out_channels = 5 * (width or channels)
        self.branch0 = _ConvNormAct(channels, width, 1) if width else nn.Identity()
        for number, dilation in enumerate(DILATIONS, start=1):
            self.add_module(f"branch{number}", _ConvNormAct(channels, width or channels, dilation=dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Run the branches."""
        return torch.cat([branch(x) for branch in self.children()], dim=1)


class RTNetDecoder(nn.Module):
    """From the last stage's features up to stage 2, with the features of each stage joining in.

    Args:
        in_channels: channels of the last stage.
        skip_channels: channels of what joins at stages 2, 3 and 4; they are the widths of the way up as well.
        width: channels of a branch at the bottom, see :class:`DilatedBottom`.

    Shape:
        Features of the last stage and a mapping of stages 4, 3, 2 to ``(B, skip_channels[stage - 2], h, w)``; to
        ``{2: …, 3: …, 4: …, 5: …}``, one map of logits ``(B, 1, h, w)`` of the same size as what joined at the stage.
        ``decode5`` to ``decode2`` are the steps and ``head5`` to ``head2`` give the logits; in the released code, which
        does not count the stem, they are ``decoder4`` to ``decoder1`` and ``out4`` to ``out1``.

    Example:
        >>> decoder = RTNetDecoder(32, (4, 8, 16), width=8)
        >>> logits = decoder(torch.rand(1, 32, 2, 3), {s: torch.rand(1, 2**s, 2 ** (6 - s), 3) for s in (2, 3, 4)})
        >>> {stage: tuple(m.shape) for stage, m in logits.items()}
        {5: (1, 1, 2, 3), 4: (1, 1, 4, 3), 3: (1, 1, 8, 3), 2: (1, 1, 16, 3)}
    """

    def __init__(self, in_channels: int, skip_channels: Sequence[int], width: int | None = None) -> None:
        super().__init__()
        self.bottom = DilatedBottom(in_channels, width)
        out_channels = (skip_channels[0], *skip_channels)
        for stage, out in zip(STAGES, out_channels, strict=True):
            inner = (width or in_channels) if stage == 5 else skip_channels[stage - 2]
            before = self.bottom.out_channels if stage == 5 else 2 * inner
            steps = [_ConvNormAct(before, inner), _ConvNormAct(inner, inner), _ConvNormAct(inner, out)]
            self.add_module(f"decode{stage}", nn.Sequential(*steps))
            head = nn.Sequential(_ConvNormAct(out, skip_channels[0]), nn.Conv2d(skip_channels[0], 1, 1))
            self.add_module(f"head{stage}", head)

    def forward(self, bottom: Tensor, skips: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the logits by stage, coarsest first."""
        x = self.get_submodule("decode5")(self.bottom(bottom))
        logits = {5: self.get_submodule("head5")(x)}
        for stage in (4, 3, 2):
            skip = skips[stage]
            x = resize(x, skip.shape[2:], align_corners=True)
            x = self.get_submodule(f"decode{stage}")(torch.cat([x, skip], dim=1))
            logits[stage] = self.get_submodule(f"head{stage}")(x)
        return logits
