# SPDX-License-Identifier: Apache-2.0
"""Optical flow as colour pictures and back, and what turning a picture does to its flow colours.

Two encodings are in use, and they are not interchangeable:

``middlebury``
    The colour wheel of Baker et al., "A Database and Evaluation Methodology for Optical Flow": 55 colours whose hue
    is the direction, saturation is the magnitude, so that zero flow is white; beyond the radius 1 the full colour
    is darkened to three quarters. This is what RAFT, PWC-Net's tools and ``torchvision.utils.flow_to_image`` draw.
``hsv``
    OpenCV's tutorial: hue is the direction, saturation is 1, value is the magnitude, so that zero flow is black.

Flow is (u, v) in pixels, u to the right and v downwards.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import BatchError, OptionError, UnknownNameError

__all__ = ("NO_MOTION", "Encoding", "colour_to_flow", "flow_to_colour", "known_flow", "turn_flow_colours")

Encoding = Literal["middlebury", "hsv"]
"""How directions and magnitudes become colours."""

NO_MOTION: dict[Encoding, tuple[float, float, float]] = {"middlebury": (1.0, 1.0, 1.0), "hsv": (0.0, 0.0, 0.0)}
"""The colour (RGB in [0, 1]) of a pixel that does not move."""

_EPSILON = 1e-5  # added to a picture's largest magnitude, as in the code of Baker et al.
_UNKNOWN = 1e9  # components beyond it mark pixels of unknown flow in .flo files
_DARK = 0.75

# The wheel goes red, yellow, green, cyan, blue, magenta, red in so many steps. Its colours are all pure (one channel
# 1, one channel 0), so each is a number in [0, 6): the hue of HSV in units of 60 degrees, in steps of 1/255.
_STEPS = (15, 6, 4, 11, 13, 6)
_HUES = [sector + 255 * step // steps / 255 for sector, steps in enumerate(_STEPS) for step in range(steps)]
_LAST = len(_HUES) - 1  # directions span the wheel from colour 0 to colour 54, which meet to the right


def known_flow(flow: Tensor) -> Tensor:
    """Tell where flow (..., 2, H, W) is known: (..., 1, H, W), false for NaN and components beyond 1e9.

    Example:
        >>> known_flow(torch.tensor([[0.0, 1e10, torch.nan], [5.0, 1e10, 0.0]]).view(2, 1, 3)).flatten().tolist()
        [True, False, False]
    """
    return (flow.abs() <= _UNKNOWN).all(-3, keepdim=True)  # NaN compares as false


@torch.no_grad()
def flow_to_colour(flow: Tensor, encoding: Encoding = "middlebury", max_flow: float | Tensor | None = None) -> Tensor:
    """Draw optical flow as colour pictures.

    Args:
        flow: floating-point flow (..., 2, H, W) in pixels. NaN and components beyond 1e9 (unknown flow of ``.flo``
            files) are drawn as zero motion and do not count as largest magnitude.
        encoding: ``"middlebury"`` or ``"hsv"``.
        max_flow: the magnitude in pixels that gets the full colour: a number, or a tensor with the leading dimensions
            of ``flow`` (or the first of them). Larger magnitudes are darkened on the wheel, and stay at full value in
            HSV. The default is the largest magnitude of each picture, plus 1e-5.

    Returns:
        Pictures (..., 3, H, W), float32 RGB in [0, 1], without gradient.

    Raises:
        BatchError: the flow is not as described, or ``max_flow`` does not fit it.
        UnknownNameError: there is no such encoding.
        OptionError: ``max_flow`` is a number that is not positive.

    Example:
        >>> right, still = torch.tensor([[[3.0]], [[0.0]]]), torch.zeros(2, 1, 1)
        >>> flow_to_colour(torch.stack([right, still]), max_flow=6).flatten(1).tolist()
        [[1.0, 0.5, 0.5], [1.0, 1.0, 1.0]]
    """
    _check(flow, 2, "flow", encoding)
    if isinstance(max_flow, (int, float)) and not max_flow > 0:
        raise OptionError(f"max_flow must be a positive number of pixels, found {max_flow}.")
    u, v = torch.where(known_flow(flow), flow, 0).float().unbind(-3)
    magnitude = torch.hypot(u, v)
    if max_flow is None:
        scale = magnitude.amax((-2, -1), keepdim=True) + _EPSILON
    else:
        scale = _per_picture(max_flow, flow, "max_flow").clamp(min=_EPSILON)
    radius = magnitude / scale
    turns = (torch.atan2(v, u) / math.tau).remainder(1)
    if encoding == "hsv":
        return _from_hsv(turns * 6, torch.ones_like(radius), radius.clamp(max=1))
    return _from_hsv(_wheel_hue(turns), radius.clamp(max=1), torch.where(radius > 1, _DARK, 1.0))


@torch.no_grad()
def colour_to_flow(colour: Tensor, encoding: Encoding = "middlebury", max_flow: float | Tensor = 1.0) -> Tensor:
    """Read optical flow from colour pictures: the inverse of :func:`flow_to_colour`.

    It is exact for colours of the encoding, but for what the picture no longer holds: magnitudes beyond ``max_flow``
    come back as ``max_flow``, and eight bits leave an error of the direction, at most 1 degree from 0.4 of the full
    colour on, 2 at 0.2 and 7 at 0.05. Colours between those of the encoding (resized pictures, black margins) are read
    with the smaller magnitude that their lack of colour suggests; greys are zero motion.

    Args:
        colour: floating-point pictures (..., 3, H, W), RGB in [0, 1].
        encoding: ``"middlebury"`` or ``"hsv"``.
        max_flow: the magnitude of the full colour in pixels: a number, or a tensor with the leading dimensions of
            ``colour`` (or the first of them).

    Returns:
        Flow (..., 2, H, W) in pixels, float32, without gradient.

    Raises:
        BatchError: the pictures are not as described, or ``max_flow`` does not fit them.
        UnknownNameError: there is no such encoding.
        OptionError: ``max_flow`` is a negative number.

    Example:
        >>> flow = torch.tensor([1.5, -2.0]).view(2, 1, 1)
        >>> torch.allclose(colour_to_flow(flow_to_colour(flow, max_flow=4), max_flow=4), flow, atol=1e-5)
        True
    """
    _check(colour, 3, "colour pictures", encoding)
    if isinstance(max_flow, (int, float)) and not max_flow >= 0:
        raise OptionError(f"max_flow must be a number of pixels, found {max_flow}.")
    hue, saturation, value = _to_hsv(colour.float())
    chroma = saturation * value
    if encoding == "hsv":
        turns, radius = hue / 6, chroma
    else:
        turns, radius = _wheel_turns(hue), chroma / value.clamp(min=_DARK)
    angle = turns * math.tau
    magnitude = radius * _per_picture(max_flow, colour, "max_flow")
    return torch.stack((magnitude * angle.cos(), magnitude * angle.sin()), -3)


@torch.no_grad()
def turn_flow_colours(
    colour: Tensor,
    encoding: Encoding = "middlebury",
    angle: float | Tensor = 0.0,
    flip: bool | Tensor = False,
    scale: float | Tensor = 1.0,
) -> Tensor:
    """Change flow colours as flipping, rotating and scaling the picture changes the vectors. No pixel is moved.

    Mirroring or rotating a flow picture moves its pixels, but leaves the vectors pointing where they pointed. This
    function does the other half: first the flip, then the rotation, then the scaling of every vector. Colours that are
    not of the encoding (margins, mixtures) keep their greyness, and darkened colours stay dark.

    Args:
        colour: floating-point pictures (..., 3, H, W), RGB in [0, 1].
        encoding: ``"middlebury"`` or ``"hsv"``.
        angle: rotation in degrees, counter-clockwise as seen on the screen (rows downwards), like that of
            ``torchvision.transforms.v2.functional.rotate`` and ``torch.rot90``: 90 turns motion to the right into
            motion upwards.
        flip: whether left and right are exchanged.
        scale: factor of the magnitudes, not negative; magnitudes end at the full colour.
            Each of the three is one value, or a tensor with the leading dimensions of ``colour`` (or the first of
            them: (B,) for (B, T, 3, H, W)).

    Returns:
        Pictures of the same shape, dtype and device, without gradient. Colours of no motion stay bit-identical.

    Raises:
        BatchError: the pictures are not as described, or a tensor does not fit them.
        UnknownNameError: there is no such encoding.

    Example:
        >>> right, up = flow_to_colour(torch.tensor([[1.0, 0.0], [0.0, -1.0]]).view(2, 2, 1, 1), max_flow=2)
        >>> torch.allclose(turn_flow_colours(right, angle=90), up, atol=1e-5)
        True
    """
    _check(colour, 3, "colour pictures", encoding)
    hue, saturation, value = _to_hsv(colour.float())
    turns = hue / 6 if encoding == "hsv" else _wheel_turns(hue)
    turns = torch.where(_per_picture(flip, colour, "flip") > 0, 0.5 - turns, turns)
    turns = (turns - _per_picture(angle, colour, "angle") / 360).remainder(1)
    factor = _per_picture(scale, colour, "scale")
    if encoding == "hsv":
        turned = _from_hsv(turns * 6, saturation, (value * factor).clamp(0, 1))
    else:
        turned = _from_hsv(_wheel_hue(turns), (saturation * factor).clamp(0, 1), value)
    return turned.to(colour.dtype)


def _wheel_hue(turns: Tensor) -> Tensor:
    """The hue of the wheel in [0, 6] at a direction in [0, 1]: turns from the right, clockwise on the screen."""
    hues = torch.tensor([*_HUES, 6.0], device=turns.device)
    position = turns * _LAST
    before = position.long().clamp(0, _LAST)
    return torch.lerp(hues[before], hues[before + 1], position - before)


def _wheel_turns(hue: Tensor) -> Tensor:
    """The direction in [0, 1] at a hue of the wheel in [0, 6]. Both ends are motion to the right."""
    hues = torch.tensor([*_HUES, 6.0], device=hue.device)
    before = (torch.bucketize(hue, hues, right=True) - 1).clamp(0, _LAST)
    position = before + (hue - hues[before]) / (hues[before + 1] - hues[before])
    return position.clamp(max=_LAST) / _LAST


def _from_hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """RGB (..., 3, H, W) of hue in [0, 6], saturation and value in [0, 1]."""
    pure = torch.stack(((hue - 3).abs() - 1, 2 - (hue - 2).abs(), 2 - (hue - 4).abs()), -3).clamp(0, 1)
    return (1 - (1 - pure) * saturation.unsqueeze(-3)) * value.unsqueeze(-3)


def _to_hsv(colour: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue in [0, 6], saturation and value in [0, 1] of RGB (..., 3, H, W); greys get hue and saturation 0."""
    red, green, blue = colour.unbind(-3)
    low, value = colour.aminmax(dim=-3)
    chroma = value - low
    divisor = torch.where(chroma > 0, chroma, 1)
    other = torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4)
    hue = torch.where(value == red, (green - blue) / divisor, other).remainder(6)
    return hue, chroma / torch.where(value > 0, value, 1), value


def _per_picture(values: float | Tensor, pictures: Tensor, name: str) -> Tensor:
    """One value for each picture of (..., C, H, W), shaped to multiply (..., H, W)."""
    found = torch.as_tensor(values, dtype=torch.float32, device=pictures.device)
    leading = pictures.shape[:-3]
    if found.ndim > len(leading) or any(n not in (1, m) for n, m in zip(found.shape, leading, strict=False)):
        raise BatchError(
            f"{name} of shape {tuple(found.shape)} does not fit pictures of shape {tuple(pictures.shape)}. "
            f"Pass one number, or a tensor of shape {tuple(leading)}."
        )
    return found.reshape(*found.shape, *[1] * (len(leading) - found.ndim + 2))


def _check(pictures: Tensor, channels: int, what: str, encoding: Encoding) -> None:
    if encoding not in get_args(Encoding):
        raise UnknownNameError("flow encoding", encoding, get_args(Encoding))
    if pictures.ndim < 3 or pictures.shape[-3] != channels:
        hint = " Split forward and backward first: unflatten(-3, (2, 3))." if pictures.shape[-3:-2] == (6,) else ""
        raise BatchError(f"Expected {what} of shape (..., {channels}, H, W), found {tuple(pictures.shape)}.{hint}")
    if not pictures.is_floating_point():
        hint = " Convert first: pictures.float() / 255." if channels == 3 else " Convert first: flow.float()."
        raise BatchError(f"Expected floating-point {what}, found {pictures.dtype}.{hint}")
