# SPDX-License-Identifier: Apache-2.0
"""TimeSformer: an image transformer whose blocks attend over time, then over space.

Bertasius et al., ICML 2021, arXiv:2102.05095; computes what ``VisionTransformer`` in ``timesformer/models/vit.py`` of
facebookresearch/TimeSformer does.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn

from ..errors import BatchError, OptionError, UnknownNameError
from .adaptation import Adaptation
from .heads import LinearHead
from .resnet_layers import check_clip
from .transformer_layers import Attention, drop_path_rates, initialise_tokens, resize_grid, resize_line

__all__ = ("FrameEmbed", "FramePositions", "TimeSformer", "TimeSformerBlock")


AttentionKind = Literal["divided", "joint", "space_only"]
EPSILON = 1e-6


class FrameEmbed(nn.Module):
    """Patches of every frame, clip by clip: ``(B, C, T, H, W)`` to ``(B * T, H / patch * W / patch, width)``."""

    def __init__(self, in_channels: int, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, width, patch, patch)

    def forward(self, video: Tensor) -> Tensor:
        """Return the tokens, row by row."""
        tokens: Tensor = self.proj(video.transpose(1, 2).flatten(0, 1)).flatten(2).transpose(1, 2)
        return tokens


class FramePositions(nn.Module):
    """Learned positions in the picture (the class token's first), and of frames.

    Args:
        grid: height and width in patches for which there are positions; those of other pictures are resized (nearest).
        frames: frames for which there are positions; those of longer or shorter clips are resized (nearest). None: no
            positions of frames.
        width: channels of the tokens.
    """

    def __init__(self, grid: tuple[int, int], frames: int | None, width: int) -> None:
        super().__init__()
        self.grid = grid
        self.spatial = nn.Parameter(torch.zeros(1, 1 + grid[0] * grid[1], width))
        self.temporal = None if frames is None else nn.Parameter(torch.zeros(1, frames, width))

    def in_picture(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add the positions in the picture to ``(B, 1 + H * W, width)``."""
        patches = resize_grid(self.spatial[:, 1:], self.grid, grid, "nearest")
        return tokens + torch.cat([self.spatial[:, :1], patches], dim=1)

    def in_time(self, tokens: Tensor, frames: int) -> Tensor:
        """Add the positions of frames to ``(B, frames, width)``."""
        return tokens if self.temporal is None else tokens + resize_line(self.temporal, frames, "nearest")


class TimeSformerBlock(nn.Module):
    """Attention over time at every place (where it is divided), attention over space in every frame, MLP.

    Tokens are ``(B, 1 + N * T, width)``: the class token, then for each of N places its T frames.

    Args:
        width: channels of the tokens.
        heads: number of heads.
        divided: attend over time first; otherwise over all tokens at once.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, width: int, heads: int, divided: bool, drop_path: float) -> None:
        super().__init__()
        self.divided = divided
        if divided:
            self.time_norm = nn.LayerNorm(width, EPSILON)
            self.time_attn = Attention(width, heads)
            self.time_fc = nn.Linear(width, width)
        self.norm1 = nn.LayerNorm(width, EPSILON)
        self.attn = Attention(width, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, EPSILON)
        self.mlp = Mlp(width, 4 * width, width)

    def forward(self, tokens: Tensor, frames: int) -> Tensor:
        """Map tokens of ``frames`` frames to the same shape."""
        if self.divided:
            class_token, patches = tokens[:, :1], tokens[:, 1:]
            patches = patches + self._over_time(patches, frames)
            tokens = torch.cat([class_token, patches], dim=1) + self._over_space(class_token, patches, frames)
        else:
            tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        out: Tensor = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return out

    def _over_time(self, patches: Tensor, frames: int) -> Tensor:
        """Attend over the frames of every place; returns what is added to ``(B, N * T, width)``."""
        places = patches.reshape(-1, frames, patches.shape[2])
        update: Tensor = self.time_fc(self.drop_path(self.time_attn(self.time_norm(places))))
        return update.reshape(patches.shape)

    def _over_space(self, class_token: Tensor, patches: Tensor, frames: int) -> Tensor:
        """Attend over each frame and a copy of the class token, whose updates are averaged; for all tokens."""
        batch, _, width = patches.shape
        pictures = patches.reshape(batch, -1, frames, width).transpose(1, 2)  # (B, T, N, width)
        copies = class_token.unsqueeze(1).expand(-1, frames, -1, -1)
        update = self.drop_path(self.attn(self.norm1(torch.cat([copies, pictures], dim=2).flatten(0, 1))))
        update = update.reshape(batch, frames, -1, width)
        places = update[:, :, 1:].transpose(1, 2).reshape(patches.shape)
        return torch.cat([update[:, :, 0].mean(1, keepdim=True), places], dim=1)


class TimeSformer(nn.Module):
    """TimeSformer for clips: ``patch_embed``, ``positions``, ``blocks``, ``norm``, ``head``.

    Takes clips of any number of frames whose height and width are multiples of ``patch``; positions are resized where
    they are not those that it was built for.

    Args:
        num_classes: number of classes.
        frames: frames of the clips that there are positions for.
        crop_size: height and width of these clips in pixels.
        attention: ``"divided"`` (over time, then over space), ``"joint"`` (over all tokens at once) or
            ``"space_only"`` (every frame by itself, averaged before the last normalisation).
        depth: number of blocks.
        width: channels of the tokens.
        heads: number of heads.
        patch: height and width of a patch in pixels.
        dropout: rate of standard dropout just before the last linear layer.
        drop_path: rate of stochastic depth in the last block, growing evenly from 0 in the first.
        in_channels: channels of the video.
        head_mode: ``"logits"``, which the official model gives, or ``"softmax"``: probabilities in evaluation.

    Raises:
        UnknownNameError: an unknown ``attention`` or ``head_mode``.
        OptionError: an option out of range.
        BatchError: in ``forward``, an input that is not ``(B, in_channels, T, H, W)`` of such a size.

    Example:
        >>> model = TimeSformer(num_classes=5, frames=4, crop_size=32, depth=2, width=24, heads=2)
        >>> model(torch.randn(2, 3, 4, 32, 32)).shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        frames: int = 8,
        crop_size: int = 224,
        attention: AttentionKind = "divided",
        depth: int = 12,
        width: int = 768,
        heads: int = 12,
        patch: int = 16,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        in_channels: int = 3,
        head_mode: str = "logits",
    ) -> None:
        super().__init__()
        if attention not in get_args(AttentionKind):
            raise UnknownNameError("attention", attention, get_args(AttentionKind))
        small = min(depth, frames, width, heads, patch, crop_size) < 1
        if small or width % heads or crop_size % patch:
            raise OptionError(
                f"depth={depth}, frames={frames}, width={width}, heads={heads}, patch={patch} and "
                f"crop_size={crop_size} must be at least 1, width a multiple of heads, crop_size one of patch."
            )
        self.in_channels, self.patch, self.attention = in_channels, patch, attention
        side = crop_size // patch
        self.patch_embed = FrameEmbed(in_channels, width, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = FramePositions((side, side), None if attention == "space_only" else frames, width)
        rates, divided = drop_path_rates(drop_path, depth), attention == "divided"
        self.blocks = nn.ModuleList(TimeSformerBlock(width, heads, divided, rate) for rate in rates)
        self.norm = nn.LayerNorm(width, EPSILON)
        self.head = LinearHead(width, num_classes, dropout, head_mode)
        # the positions of frames start at zero, and so does what all blocks but the first add by looking over time
        initialise_tokens(self, [self.class_token, self.positions.spatial])
        if divided:
            for block in list(self.blocks)[1:]:
                for parameter in block.get_submodule("time_fc").parameters():
                    nn.init.zeros_(parameter)

    @property
    def analysis_layers(self) -> dict[str, str]:
        """The blocks, from 0 as in the papers' figures, and the layers whose outputs they are."""
        return {f"block{index}": f"blocks.{index}" for index in range(len(self.blocks))}

    def adapt_to(self, weights: dict[str, Tensor], layout: str = "") -> Adaptation:
        """Resize positions as the official loader does: to the nearest, those in the picture along one line, too.

        In ``forward``, positions in the picture are resized as a grid instead, as the official model does there; build
        the model with the weights' own ``crop_size`` to have that.

        Args:
            weights: in our names.
            layout: does not matter here.

        Returns:
            The weights with resized positions.
        """
        notes, fitted = [], dict(weights)
        spatial, temporal = weights.get("positions.spatial"), weights.get("positions.temporal")
        own = self.positions
        if spatial is not None and spatial.ndim == 3 and spatial.shape[1] > 1:
            wanted = own.spatial.shape[1] - 1
            if spatial.shape[1] - 1 != wanted:
                patches = resize_line(spatial[:, 1:], wanted, "nearest")
                fitted["positions.spatial"] = torch.cat([spatial[:, :1], patches], dim=1)
                side = math.isqrt(spatial.shape[1] - 1)
                notes.append(
                    f"positions.spatial was resized from {side}x{side} to {own.grid[0]}x{own.grid[1]} places, "
                    "along one line as the official loader does."
                )
        if temporal is not None and own.temporal is not None and temporal.ndim == 3 and temporal.shape[1] > 0:
            wanted = own.temporal.shape[1]
            if temporal.shape[1] != wanted:
                fitted["positions.temporal"] = resize_line(temporal, wanted, "nearest")
                notes.append(f"positions.temporal was resized from {temporal.shape[1]} to {wanted} frames.")
        return Adaptation(fitted, tuple(notes))

    def forward(self, video: Tensor) -> Tensor:
        """Map a normalised clip ``(B, in_channels, T, H, W)`` to logits ``(B, num_classes)``."""
        check_clip(video, self.in_channels)
        batch, _, frames, height, width = video.shape
        if height % self.patch or width % self.patch or not frames * height * width:
            raise BatchError(
                f"TimeSformer takes clips whose height and width are multiples of {self.patch} pixels; got "
                f"{frames} frames of {height}x{width}. Change the crop size."
            )
        patches = self.patch_embed(video)
        tokens = torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1)
        tokens = self.positions.in_picture(tokens, (height // self.patch, width // self.patch))
        if self.attention != "space_only":
            tokens = self._joined(tokens.reshape(batch, frames, *tokens.shape[1:]))
        for block in self.blocks:
            tokens = block(tokens, frames)
        if self.attention == "space_only":
            tokens = tokens.reshape(batch, frames, *tokens.shape[1:]).mean(1)
        logits: Tensor = self.head(self.norm(tokens)[:, 0])
        return logits

    def _joined(self, tokens: Tensor) -> Tensor:
        """Make one sequence of each clip's frames ``(B, T, 1 + N, width)``: the class token, then place by place."""
        batch, frames, _, width = tokens.shape
        places = tokens[:, :, 1:].transpose(1, 2).reshape(-1, frames, width)
        places = self.positions.in_time(places, frames).reshape(batch, -1, width)
        return torch.cat([tokens[:, 0, :1], places], dim=1)
