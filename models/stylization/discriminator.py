# SPDX-License-Identifier: Apache-2.0
"""The discriminator of few-shot patch-based stylization: it tells painted patches from generated ones."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from ...errors import OptionError

__all__ = ("PatchDiscriminator",)

_MOST = 8  # the widest layer, as a multiple of the first


class PatchDiscriminator(nn.Module):
    """A PatchGAN discriminator: one judgement (painted or generated) for each small region of a patch.

    ``DiscriminatorN_IN`` of the official code of Texler et al. (ACM Transactions on Graphics 2020) with the settings
    ``reference_P``: convolutions of 4x4, instance normalisation without weights, LeakyReLU. With the defaults it has
    24 469 parameters, and a patch of 32x32 gets 6x6 judgements.

    Args:
        filters: width of the first layer; it doubles from layer to layer, up to eight times.
        layers: number of halvings.

    Raises:
        OptionError: an argument is not positive.

    Example:
        >>> import torch
        >>> discriminator = PatchDiscriminator()
        >>> sum(weight.numel() for weight in discriminator.parameters())
        24469
        >>> discriminator(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 1, 6, 6])
    """

    def __init__(self, filters: int = 12, layers: int = 2) -> None:
        super().__init__()
        if filters < 1 or layers < 1:
            raise OptionError(f"filters and layers must be positive, found {filters} and {layers}.")
        widths = [filters * min(2**layer, _MOST) for layer in range(layers + 1)]
        parts: OrderedDict[str, nn.Module] = OrderedDict(conv0=_block(3, widths[0], stride=2, norm=False))
        for layer in range(1, layers + 1):
            parts[f"conv_{layer}"] = _block(widths[layer - 1], widths[layer], stride=2 if layer < layers else 1)
        parts["conv_out"] = nn.Sequential(OrderedDict(conv=nn.Conv2d(widths[-1], 1, 4, padding=1)))
        self.net = nn.Sequential(parts)

    def forward(self, pictures: Tensor) -> Tensor:
        """Judge pictures (B, 3, H, W) in [-1, 1]: logits (B, 1, h, w), 1 for painted and 0 for generated."""
        logits: Tensor = self.net(pictures)
        return logits


def _block(inputs: int, outputs: int, stride: int, norm: bool = True) -> nn.Sequential:
    block = nn.Sequential(OrderedDict(conv=nn.Conv2d(inputs, outputs, 4, stride, padding=1)))
    if norm:
        block.add_module("norm", nn.InstanceNorm2d(outputs))
    block.add_module("relu", nn.LeakyReLU(0.2))
    return block
