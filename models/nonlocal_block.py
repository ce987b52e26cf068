# SPDX-License-Identifier: Apache-2.0
"""The non-local block: self-attention over all positions of a video map (Wang et al., CVPR 2018, arXiv:1711.07971)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..errors import BatchError, UnknownNameError
from .video_conv import VideoConv3d

__all__ = ("NonLocalBlock",)


class NonLocalBlock(nn.Module):
    """Add to every position a weighted sum over all positions in space and time.

    As in the I3D-NLN of SlowFast (``slowfast/models/nonlocal_helper.py``): 1x1x1 convolutions with bias, keys and
    values max-pooled in space, a batch normalisation after the output convolution, no ReLU after the sum. With
    ``zero_init`` a new block is the identity.

    Args:
        channels: channels ``C`` of the map.
        inner: channels of the embeddings; half of ``channels`` when left out.
        pool: spatial pooling of keys and values; 1 turns it off.
        mode: ``"softmax"`` scales the scores by ``inner ** -0.5`` and normalises over the keys; ``"dot_product"``
            divides them by the number of keys instead.
        zero_init: start with the last normalisation at zero.

    Raises:
        UnknownNameError: ``mode`` is neither of the two.

    Example:
        >>> block, video = NonLocalBlock(8), torch.randn(2, 8, 3, 4, 4)
        >>> torch.equal(block(video), video)
        True
    """

    def __init__(
        self, channels: int, inner: int | None = None, pool: int = 2, mode: str = "softmax", zero_init: bool = True
    ) -> None:
        super().__init__()
        if mode not in ("softmax", "dot_product"):
            raise UnknownNameError("non-local mode", mode, ("softmax", "dot_product"))
        inner = inner or channels // 2
        self.mode, self.smallest = mode, pool
        self.conv_theta = VideoConv3d(channels, inner, 1)
        self.pool = nn.MaxPool3d((1, pool, pool)) if pool > 1 else nn.Identity()
        self.conv_phi = VideoConv3d(channels, inner, 1)
        self.conv_g = VideoConv3d(channels, inner, 1)
        self.conv_out = VideoConv3d(inner, channels, 1)
        self.bn = nn.BatchNorm3d(channels)
        if zero_init:
            nn.init.zeros_(self.bn.weight)

    def forward(self, video: Tensor) -> Tensor:
        """Map ``(B, C, T, H, W)`` to the same shape.

        Raises:
            BatchError: ``H`` or ``W`` is smaller than ``pool``.
        """
        if min(video.shape[3:]) < self.smallest:
            raise BatchError(
                f"A non-local block pools {self.smallest}x{self.smallest} positions of a frame and got maps of "
                f"{video.shape[3]}x{video.shape[4]}. Use larger clips: of 17 pixels or more for I3D-NLN."
            )
        pooled = self.pool(video)
        query = self.conv_theta(video).flatten(2)  # (B, inner, positions)
        key = self.conv_phi(pooled).flatten(2)  # (B, inner, keys)
        value = self.conv_g(pooled).flatten(2)
        scores = torch.einsum("bcp,bck->bpk", query, key)
        if self.mode == "softmax":
            weights = (scores * query.shape[1] ** -0.5).softmax(dim=-1)
        else:
            weights = scores / key.shape[-1]
        gathered = torch.einsum("bpk,bck->bcp", weights, value)
        gathered = gathered.reshape(gathered.shape[0], -1, *video.shape[2:])
        update: Tensor = self.bn(self.conv_out(gathered))
        return video + update
