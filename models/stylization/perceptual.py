# SPDX-License-Identifier: Apache-2.0
"""How different two pictures look to the first layers of VGG19."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from ...errors import CheckpointError, CheckpointMismatchError, OptionError
from ..checkpoints import read_checkpoint

__all__ = ("PerceptualDistance",)

FEATURES = (0, 3, 5)  # conv1_1 before its ReLU, relu1_2, conv2_1 before its ReLU
_WIDTHS = {0: (3, 64), 2: (64, 64), 5: (64, 128)}  # of the convolutions, by their index in `features`


class PerceptualDistance(nn.Module):
    """The perceptual loss of Texler et al. 2020: mean squared difference of early features of VGG19.

    The features are the outputs 0, 3 and 5 of VGG19's ``features``, and all their values enter one mean, so that the
    64 channels of the first two at full size count more than the 128 of the third at half size. Pictures stay in
    [-1, 1], as in the official settings (``use_normalization: False``). Only these six layers are built; they are
    frozen, and gradients reach the pictures.

    Args:
        weights: a file with VGG19's ImageNet weights as torchvision or timm name them (``features.0.weight`` …;
            torchvision's is https://download.pytorch.org/models/vgg19-dcbb9e9d.pth), read without running anything in
            it; or ``"timm"``, to let timm download its own (548 MB).

    Raises:
        OptionError: no weights were given; nothing is downloaded unasked.
        CheckpointError: the file cannot be read, or timm cannot download.
        CheckpointMismatchError: the file holds other weights.

    Example:
        >>> import tempfile
        >>> names = [(0, 3, 64), (2, 64, 64), (5, 64, 128)]
        >>> weights = {f"features.{i}.weight": torch.ones(b, a, 3, 3) for i, a, b in names}
        >>> weights |= {f"features.{i}.bias": torch.zeros(b) for i, a, b in names}
        >>> with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        ...     torch.save(weights, file.name)
        ...     distance = PerceptualDistance(file.name)
        >>> picture = torch.zeros(1, 3, 8, 8)
        >>> distance(picture, picture)
        tensor(0.)
    """

    def __init__(self, weights: str | Path | None) -> None:
        super().__init__()
        state = _read_weights(weights)
        with torch.random.fork_rng(devices=[]):  # the initial weights are drawn, and thrown away
            layers = {index: nn.Conv2d(*widths, 3, padding=1) for index, widths in _WIDTHS.items()}
        for index, layer in layers.items():
            layer.load_state_dict({name: state[f"features.{index}.{name}"] for name in ("weight", "bias")})
        self.features = nn.Sequential(layers[0], nn.ReLU(), layers[2], nn.ReLU(), nn.MaxPool2d(2), layers[5])
        self.requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the distance of pictures (B, 3, H, W) in [-1, 1]: a scalar, 0 where they are the same."""
        squares, count = torch.zeros((), device=first.device), 0
        for index, layer in enumerate(self.features):
            first, second = layer(first), layer(second)
            if index in FEATURES:
                squares = squares + (first.float() - second.float()).square().sum()
                count += first.numel()
        return squares / count


def _read_weights(weights: str | Path | None) -> dict[str, Tensor]:
    if weights is None:
        raise OptionError(
            "The perceptual distance needs the ImageNet weights of VGG19. Pass the path of torchvision's or timm's "
            "file, or 'timm' to let timm download its own (548 MB)."
        )
    if str(weights) == "timm":
        try:
            with torch.random.fork_rng(devices=[]):
                network: nn.Module = timm.create_model("vgg19.tv_in1k", pretrained=True, num_classes=0)
        except (OSError, RuntimeError) as error:  # no network, or a broken file
            raise CheckpointError(
                f"timm could not download VGG19 ({error}). Fetch "
                "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth elsewhere and pass its path."
            ) from error
        return network.state_dict()
    state = read_checkpoint(weights)
    for index, (inputs, outputs) in _WIDTHS.items():
        for leaf, shape in (("weight", (outputs, inputs, 3, 3)), ("bias", (outputs,))):
            name = f"features.{index}.{leaf}"
            found = tuple(state[name].shape) if name in state else None
            if found != shape:
                what = "there is none" if found is None else f"it has {found}"
                raise CheckpointMismatchError(
                    f"{str(weights)!r} does not hold the weights of VGG19: expected {name} of shape {shape}, but "
                    f"{what} (its first names: {', '.join(list(state)[:3])}). Use torchvision's vgg19-dcbb9e9d.pth."
                )
    return state
