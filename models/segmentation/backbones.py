# SPDX-License-Identifier: Apache-2.0
"""A plain 2-D ResNet or ResNeXt of timm, opened up so that something can happen between its stages."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import timm
from timm.models import adapt_input_conv
from timm.models.resnet import ResNet
from torch import Tensor, nn

from ...errors import CheckpointError, CheckpointMismatchError, OptionError
from ..checkpoints import read_checkpoint

__all__ = ("ResNetBackbone",)


class ResNetBackbone(nn.Module):
    """The stem and the four stages of a ResNet, to be called one by one.

    The parts keep timm's names (``conv1``, ``bn1``, ``layer1`` to ``layer4``), which are torchvision's as well.

    Args:
        name: a plain ResNet of timm: ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101``, ``resnext50_32x4d`` …
        in_channels: channels of the input; 6 for a pair of flow images.
        pretrained: load timm's ImageNet weights (downloaded once).
        output_stride: 32, or 16 or 8, where dilation takes the place of stride in the last stages.
        **options: further arguments of timm's ResNet, e.g. ``channels=(16, 32, 64, 128)`` for a narrow one.

    Raises:
        OptionError: the name is not a plain ResNet of timm.

    Example:
        >>> import torch
        >>> backbone = ResNetBackbone("resnet18", channels=(8, 16, 32, 64))
        >>> backbone.channels
        (8, 16, 32, 64)
        >>> x = backbone.stem(torch.rand(1, 3, 64, 96))
        >>> backbone.stage(2, x).shape
        torch.Size([1, 8, 16, 24])
    """

    def __init__(
        self,
        name: str = "resnet101",
        in_channels: int = 3,
        pretrained: bool = False,
        output_stride: int = 32,
        **options: Any,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise OptionError(f"There is no backbone {name!r} in timm. Choose a plain ResNet, such as resnet101.")
        not_plain = OptionError(
            f"{name} is not a plain ResNet with one 7x7 convolution in front. Choose resnet18, resnet34, resnet50, "
            "resnet101 or resnext50_32x4d."
        )
        if timm.models.model_entrypoint(name).__module__ != ResNet.__module__:
            raise not_plain
        self._make = partial(timm.create_model, name, in_chans=in_channels, output_stride=output_stride, **options)
        try:
            network = self._make(pretrained=pretrained)
        except TypeError as error:
            raise OptionError(f"{name} cannot be built by timm with the options {options}: {error}.") from error
        if not isinstance(network, ResNet) or not isinstance(network.conv1, nn.Conv2d):
            raise not_plain
        self.conv1, self.bn1, self.act1, self.maxpool = network.conv1, network.bn1, network.act1, network.maxpool
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        channels: list[Any] = [info["num_chs"] for info in network.feature_info[1:]]
        self.channels: tuple[int, ...] = tuple(channels)
        """Channels after each of the four stages."""

    def load_pretrained(self, weights: str | Path | None = None) -> None:
        """Start from ImageNet weights: timm's, downloaded once, or a file in timm's or torchvision's naming.

        A convolution for more than three input channels repeats the weights for three, scaled, as timm does.

        Args:
            weights: the file; it is read without running anything in it.

        Raises:
            CheckpointError: the weights cannot be had, or do not fit; the message says what to do instead.

        Example:
            >>> import tempfile, torch
            >>> backbone = ResNetBackbone("resnet18", in_channels=6)
            >>> with tempfile.NamedTemporaryFile() as file:
            ...     torch.save(timm.create_model("resnet18").state_dict(), file.name)
            ...     backbone.load_pretrained(file.name)
        """
        own = self.state_dict()
        if weights is None:
            try:
                found = self._make(pretrained=True).state_dict()
            except Exception as error:  # whatever the hub's library raises without a network
                reason = str(error).partition("\n")[0] or "no message"
                raise CheckpointError(
                    f"timm could not load its weights of {self._make.args[0]} ({type(error).__name__}: {reason}). Give "
                    "a file of weights (--model.pretrained FILE) or a checkpoint (--model.checkpoint FILE), or start "
                    "from random weights (--model.pretrained false)."
                ) from error
        else:
            found = dict(read_checkpoint(weights))
            if "conv1.weight" in found:
                found["conv1.weight"] = adapt_input_conv(self.conv1.in_channels, found["conv1.weight"])
        wrong = [name for name in own if name not in found or found[name].shape != own[name].shape]
        if wrong:
            raise CheckpointMismatchError(
                f"The weights {str(weights or 'of timm')!r} do not fit {self._make.args[0]}: {len(wrong)} of "
                f"{len(own)} tensors are missing or differ in shape, first {wrong[0]}. Choose weights of the same "
                "network."
            )
        self.load_state_dict({name: found[name] for name in own})

    def stem(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, 64, H / 4, W / 4)``."""
        x = self.act1(self.bn1(self.conv1(x)))
        out: Tensor = self.maxpool(x)
        return out

    def stage(self, number: int, x: Tensor) -> Tensor:
        """Run stage 2, 3, 4 or 5 (``layer1`` to ``layer4``), counted as the paper counts: the stem is stage 1."""
        out: Tensor = self.get_submodule(f"layer{number - 1}")(x)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """Run the stem and all stages."""
        x = self.stem(x)
        for number in (2, 3, 4, 5):
            x = self.stage(number, x)
        return x
