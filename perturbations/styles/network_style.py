# SPDX-License-Identifier: Apache-2.0
"""Any image-to-image network as a style."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import BatchError, OptionError
from .base import as_clip, as_frames, check_clip, in_groups

__all__ = ("NetworkStyle", "weights_digest")

_BEYOND = 0.1  # how far outside [0, 1] a pixel may lie before it counts as out of range
_MOST_BEYOND = 0.25  # the share of pixels that may lie there: networks without a bound overshoot a little


class NetworkStyle:
    """A network that maps pictures to pictures, as a style.

    Every frame passes through the network by itself, in groups of a few, without gradients and without autocast. The
    network is copied, so that training it on does not change the style; the copy is in evaluation mode and moves to
    the device of the clips. What the network was trained on decides the numbers that it takes: pixels in [0, 1] become
    ``(pixel - mean) / std``. The hash of a set knows the network by its class and weights: networks that differ in
    code alone need different names.

    ============================  ======================================
    the network takes             arguments
    ============================  ======================================
    [-1, 1]                       the default
    [0, 1]                        ``mean=0, std=1``
    0 to 255                      ``mean=0, std=1/255``
    ImageNet's mean and std       ``mean=(0.485, …), std=(0.229, …)``
    ============================  ======================================

    Args:
        network: takes pictures (N, 3, H, W) and returns pictures of the same shape.
        name: the style's name in reports.
        mean: what is subtracted from pixels in [0, 1], one number or one a channel.
        std: what they are divided by then.
        output_range: the numbers that are black and white in the network's output; None: the same as in its input.
            The output is clamped to them.
        multiple: sides of pictures must divide by this; they are extended by their border and the result is cut.
        half: run in half precision on CUDA devices.

    Raises:
        OptionError: an argument is out of range.

    Example:
        >>> negative = nn.Conv2d(3, 3, 1)
        >>> _ = negative.weight.data.copy_(-torch.eye(3).view(3, 3, 1, 1)), negative.bias.data.fill_(255)
        >>> style = NetworkStyle(negative, "negative", mean=0, std=1 / 255)
        >>> style(torch.full((1, 3, 2, 4, 4), 0.25)).mean()
        tensor(0.7500)
    """

    version = 1

    def __init__(
        self,
        network: nn.Module,
        name: str,
        mean: float | Sequence[float] = 0.5,
        std: float | Sequence[float] = 0.5,
        output_range: tuple[float, float] | None = None,
        multiple: int = 1,
        half: bool = False,
    ) -> None:
        self.name = name
        self.temporal = False
        self.mean, self.std = _three("mean", mean), _three("std", std)
        self.output_range = None if output_range is None else _range(output_range)
        self.multiple, self.half = multiple, half
        if 0 in self.std or multiple < 1:
            raise OptionError(f"std must not be 0 and multiple must be positive; found {std} and {multiple}.")
        self._network = copy.deepcopy(network).eval().requires_grad_(False)
        self._running: tuple[torch.device, nn.Module] | None = None
        self._digest = weights_digest(self._network)
        self._checked = False

    @property
    def parameters(self) -> dict[str, object]:
        """What tells this style from others: the kind of network, a digest of its weights, and how it is called."""
        return {
            "network": type(self._network).__name__,
            "weights": self._digest,
            "mean": list(self.mean),
            "std": list(self.std),
            "output_range": None if self.output_range is None else list(self.output_range),
            "multiple": self.multiple,
            "half": self.half,
        }

    @torch.no_grad()
    def __call__(self, clip: Tensor, *, seed: int = 0) -> Tensor:
        """Style clips.

        Args:
            clip: floating-point clips (B, 3, T, H, W), RGB in [0, 1].
            seed: has no effect: a network has one variant.

        Returns:
            Clips of the same shape, dtype and device, without gradient, in [0, 1].

        Raises:
            BatchError: the clip is not a floating-point tensor (B, 3, T, H, W); or, at the first call, the network
                gives another shape, numbers that are not finite, or pixels far out of range.
        """
        check_clip(clip)
        return as_clip(in_groups(as_frames(clip), self.style_frames).to(clip.dtype), clip)

    @torch.no_grad()
    def style_frames(self, frames: Tensor) -> Tensor:
        """Pass frames (N, C, H, W) in [0, 1] through the network: float32 frames (N, 3, H, W) in [0, 1].

        The channels are RGB and, for a network that takes guides, those of the guides.
        """
        height, width = frames.shape[2:]
        below, right = -height % self.multiple, -width % self.multiple
        pixels = F.pad(frames.float().clamp(0, 1), (0, right, 0, below), mode="replicate")
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        pictures = frames.shape[1] // 3  # the frame and its guides
        network = self._on(frames.device)
        with torch.autocast(frames.device.type, enabled=False):
            numbers = (pixels - mean.repeat(1, pictures, 1, 1)) / std.repeat(1, pictures, 1, 1)
            painted = network(numbers.half() if self._is_half(frames.device) else numbers)
            if not isinstance(painted, Tensor) or painted.shape != (len(frames), 3, *pixels.shape[2:]):
                found = tuple(painted.shape) if isinstance(painted, Tensor) else f"a {type(painted).__name__}"
                raise BatchError(
                    f"The network of the style {self.name!r} returned {found} for pictures of "
                    f"{tuple(numbers.shape)}; expected a tensor {(len(frames), 3, *pixels.shape[2:])}. Set multiple "
                    "to what its sides must divide by, or wrap it so that it returns the picture alone."
                )
            painted = painted.float()[:, :, :height, :width]
            if self.output_range is None:
                painted = painted * std + mean
            else:
                black, white = self.output_range
                painted = (painted - black) / (white - black)
        if not self._checked and painted.numel():
            self._check(painted)
            self._checked = True
        return painted.clamp(0, 1)

    def _check(self, painted: Tensor) -> None:
        low, high = (float(value) for value in painted.aminmax())
        beyond = float(((painted < -_BEYOND) | (painted > 1 + _BEYOND)).float().mean())
        if not (low > -torch.inf and high < torch.inf):
            raise BatchError(
                f"The network of the style {self.name!r} returned numbers that are not finite. Check its weights"
                + (", or set half=False." if self.half else " and what pixels it takes (mean, std).")
            )
        if beyond > _MOST_BEYOND:
            raise BatchError(
                f"{beyond:.0%} of the pixels of the style {self.name!r} are out of range: they go from {low:.3g} to "
                f"{high:.3g} where 0 is black and 1 is white. Set output_range to the network's own black and white, "
                "e.g. (0, 255), and mean and std to what it takes."
            )

    def _is_half(self, device: torch.device) -> bool:
        return self.half and device.type == "cuda"

    def _on(self, device: torch.device) -> nn.Module:
        """The network on a device."""
        if device.type == "cpu":
            return self._network
        if self._running is None or self._running[0] != device:
            with torch.inference_mode(False):  # weights made in inference mode could not be moved again outside it
                network = copy.deepcopy(self._network).to(device)
                self._running = (device, network.half() if self._is_half(device) else network)
        return self._running[1]


def weights_digest(network: nn.Module) -> str:
    """Return 16 hexadecimal digits that stand for the weights of a network: a SHA-256 of its sorted state dict.

    Example:
        >>> first, second = nn.Linear(2, 1), nn.Linear(2, 1)
        >>> weights_digest(first) == weights_digest(second)
        False
        >>> _ = second.load_state_dict(first.state_dict())
        >>> weights_digest(first) == weights_digest(second)
        True
    """
    digest = hashlib.sha256()
    tensors = {name: value for name, value in network.state_dict().items() if isinstance(value, Tensor)}
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _three(name: str, values: float | Sequence[float]) -> tuple[float, float, float]:
    numbers = _finite([values] * 3 if isinstance(values, Real) else values)
    if len(numbers) != 3:
        raise OptionError(f"{name} must be one number or three, all finite; found {values!r}.")
    return numbers[0], numbers[1], numbers[2]


def _range(values: Sequence[float]) -> tuple[float, float]:
    numbers = _finite(values)
    if len(numbers) != 2 or numbers[0] == numbers[1]:
        raise OptionError(f"output_range must be two different numbers, black and white; found {values!r}.")
    return numbers[0], numbers[1]


def _finite(values: Any) -> list[float]:
    """The values as floats, so that 255 and 255.0 are one style; none where one of them is no finite number."""
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return []
    return numbers if all(map(math.isfinite, numbers)) else []
