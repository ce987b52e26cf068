# SPDX-License-Identifier: Apache-2.0
"""Flow jitter: other dynamics beside the same picture.

Source: Kowal et al., Sec. 3.1 (static pairs of segmentation: hue and saturation of the flow, so its direction and
magnitude, are jittered). ``paper`` does what the released code does with colour pictures. It leaves a fifth of the
pictures within 18 degrees of their hue. ``vector`` turns and scales the vectors themselves, by at least 45 degrees,
and one way for a whole sequence; it also serves flow that is not drawn in colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from ..errors import BatchError, OptionError, UnknownNameError
from .flow_colours import Encoding, known_flow, turn_flow_colours
from .keyed_draws import KeyedDraws, key_names
from .pixel_range import check_unit_range

__all__ = ("ColourDraw", "FlowJitter", "JitterMode", "VectorDraw")

JitterMode = Literal["paper", "vector"]
"""Jitter of the colours of each picture, or of the vectors of each sequence."""


class ColourDraw(NamedTuple):
    """What mode ``paper`` does to one picture.

    Attributes:
        hue: shift of the hue, as a part of the full circle.
        saturation: factor of the saturation: 0 is grey, 1 leaves it.
        hue_first: whether the hue is changed before the saturation.

    Example:
        >>> ColourDraw(hue=0.1, saturation=1.5, hue_first=True).hue
        0.1
    """

    hue: float
    saturation: float
    hue_first: bool


class VectorDraw(NamedTuple):
    """What mode ``vector`` does to one sequence.

    Attributes:
        angle: rotation in degrees, counter-clockwise on the screen.
        scale: factor of the magnitudes.

    Example:
        >>> VectorDraw(angle=90.0, scale=0.5).angle
        90.0
    """

    angle: float
    scale: float


class FlowJitter:
    """Changes the dynamics that flow shows, by draws that depend on the seed and the key of the sample alone.

    Args:
        mode: ``"paper"`` draws for every picture, forward and backward ones by themselves, a hue bound H from ``hue``
            and a saturation bound s from ``saturation``, then a shift of the hue from U(-H, H) and a factor of the
            saturation from U(max(0, 1 - s), 1 + s), applied in random order. ``"vector"`` draws for every sequence,
            forward and backward alike, a rotation from ``angle`` and a factor from ``scale``.
        seed: start of all draws, not negative.
        hue: range of the hue bound, parts of the circle in [0, 0.5]; for ``paper``.
        saturation: range of the saturation bound, not negative; for ``paper``.
        angle: range of the rotation in degrees, counter-clockwise on the screen; for ``vector``.
        scale: range of the factor of the magnitudes, positive; for ``vector``.
        encoding: of the colours, for ``vector``; ``paper`` is the same for all.

    Raises:
        UnknownNameError: there is no such mode or encoding.
        OptionError: a range or the seed is out of bounds.

    Example:
        >>> jitter = FlowJitter(mode="vector", seed=1)
        >>> flow = torch.tensor([[1.0, 0.5, 0.5], [1.0, 1.0, 1.0]]).T.reshape(1, 3, 1, 2)  # to the right; still
        >>> jittered = jitter(flow, keys=["dog/00000"])
        >>> torch.equal(jittered[..., 0], flow[..., 0]), torch.equal(jittered[..., 1], flow[..., 1])
        (False, True)
        >>> jitter.draw("dog/00000") == jitter.draw("dog/00001")
        True
    """

    def __init__(
        self,
        mode: JitterMode = "paper",
        seed: int = 0,
        hue: tuple[float, float] = (0.1, 0.5),
        saturation: tuple[float, float] = (0.1, 1.0),
        angle: tuple[float, float] = (45.0, 315.0),
        scale: tuple[float, float] = (0.5, 2.0),
        encoding: Encoding = "middlebury",
    ) -> None:
        if mode not in get_args(JitterMode):
            raise UnknownNameError("mode of flow jitter", mode, get_args(JitterMode))
        if encoding not in get_args(Encoding):
            raise UnknownNameError("flow encoding", encoding, get_args(Encoding))
        if seed < 0:
            raise OptionError(f"The seed must not be negative, found {seed}.")
        self.mode, self.seed, self.encoding = mode, seed, encoding
        self.hue = _range("hue", hue, 0, 0.5)
        self.saturation = _range("saturation", saturation, 0, math.inf)
        self.angle = _range("angle", angle, -math.inf, math.inf)
        self.scale = _range("scale", scale, 0, math.inf)

    @property
    def description(self) -> dict[str, object]:
        """Plain values that tell jitters apart, with the ranges that the mode uses; for reports."""
        ranges = {"hue": self.hue, "saturation": self.saturation}
        if self.mode == "vector":
            ranges = {"angle": self.angle, "scale": self.scale}
        named = {name: list(values) for name, values in ranges.items()}
        return {"mode": self.mode, **named, "encoding": self.encoding, "seed": self.seed}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.description.items())})"

    def draw(self, key: str, frame: int = 0, backward: bool = False) -> ColourDraw | VectorDraw:
        """Return what is done to one picture.

        Args:
            key: names the sample, ``"<sequence>/<frame>"``. Mode ``vector`` looks at what precedes the last slash.
            frame: number of the picture in a clip of several frames.
            backward: whether it is the backward flow.

        Returns:
            What the mode draws; mode ``vector`` draws the same for all pictures of a sequence.
        """
        if self.mode == "vector":
            draws = KeyedDraws(self.seed, key.rpartition("/")[0] or key, stream=1)
            return VectorDraw(draws.uniform(*self.angle), draws.uniform(*self.scale))
        return self._colour_draw(key, frame, int(backward))

    def _colour_draw(self, key: str, frame: int, direction: int) -> ColourDraw:
        draws = KeyedDraws(self.seed, key, stream=2 + 2 * frame + direction)
        hue, saturation = draws.uniform(*self.hue), draws.uniform(*self.saturation)
        factor = draws.uniform(max(0.0, 1 - saturation), 1 + saturation)
        return ColourDraw(draws.uniform(-hue, hue), factor, hue_first=draws.below(2) == 1)

    @torch.no_grad()
    def __call__(self, flow: Tensor, keys: Sequence[int | str] | Tensor | None = None) -> Tensor:
        """Jitter the flow of a batch.

        Args:
            flow: colour pictures in [0, 1], (B, 3, H, W), or (B, 6, H, W) with forward RGB before backward RGB, or
                either with frames, (B, T, 6, H, W). In mode ``vector`` also (u, v) in pixels, u to the right and v
                downwards, (B, 2, H, W) or (B, T, 2, H, W).
            keys: a name for each sample, the same at every measurement: ids of the data set. The default is the
                positions 0 … B-1 in the batch, which fits a single batch only.

        Returns:
            Flow of the same shape, dtype and device, without gradient. Pixels without motion stay bit-identical.

        Raises:
            BatchError: the flow is not as described, or the keys are not as many as the samples.
        """
        self._check(flow)
        names = key_names(keys, flow.shape[0])
        channels = 2 if flow.shape[-3] == 2 else 3
        # (B, H, W) and frames around directions and channels: forward and backward become pictures of their own.
        pictures = flow.reshape(*flow.shape[:-3], flow.shape[-3] // channels, channels, *flow.shape[-2:])
        if self.mode == "paper":
            jittered = self._jitter_colours(pictures, names)
        else:
            draws = torch.tensor([self.draw(name) for name in names], device=flow.device).view(-1, 2)
            turn = _turn_vectors if channels == 2 else self._turn_colours
            jittered = turn(pictures, draws[:, 0], draws[:, 1])
        return jittered.reshape(flow.shape)

    def _turn_colours(self, pictures: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
        return turn_flow_colours(pictures, self.encoding, angle=angle, scale=scale)

    def _jitter_colours(self, pictures: Tensor, names: Sequence[str]) -> Tensor:
        flat = pictures.flatten(1, -4)  # (B, frames * directions, 3, H, W)
        jittered = torch.empty_like(flat)
        for sample, name in enumerate(names):
            for number, picture in enumerate(flat[sample]):
                frame, direction = divmod(number, pictures.shape[-4])
                jittered[sample, number] = _shift_colours(picture, self._colour_draw(name, frame, direction))
        # A grey has no colour to change; torchvision's weights of grey sum to 0.9999 and would darken white.
        red, green, blue = flat.unbind(-3)
        return torch.where(((red == green) & (green == blue)).unsqueeze(-3), flat, jittered)

    def _check(self, flow: Tensor) -> None:
        channels = flow.shape[-3] if flow.ndim in (4, 5) else 0
        if channels == 2 and self.mode == "vector":
            if flow.is_floating_point():
                return
            raise BatchError(f"Expected floating-point flow in pixels, found {flow.dtype}. Use flow.float().")
        if channels == 2:
            raise BatchError(
                f"Mode 'paper' jitters colours, but found flow of 2 channels, shape {tuple(flow.shape)}. Draw it first "
                "with flow_to_colour, or use FlowJitter(mode='vector')."
            )
        if channels not in (3, 6):
            raise BatchError(
                f"Expected flow pictures of shape (B, 3, H, W), (B, 6, H, W) or (B, T, 6, H, W), found "
                f"{tuple(flow.shape)}. Put the channels before height and width."
            )
        check_unit_range(flow, "flow")


def _shift_colours(picture: Tensor, draw: ColourDraw) -> Tensor:
    picture = picture.float().clamp(0, 1)
    if draw.hue_first:
        return tv.adjust_saturation(tv.adjust_hue(picture, draw.hue), draw.saturation)  # type: ignore[no-any-return]
    return tv.adjust_hue(tv.adjust_saturation(picture, draw.saturation), draw.hue)  # type: ignore[no-any-return]


def _turn_vectors(flow: Tensor, angle: Tensor, scale: Tensor) -> Tensor:
    """Rotate vectors (B, ..., 2, H, W) counter-clockwise on the screen, where v points down, and scale them."""
    u, v = flow.float().unbind(-3)
    radians = angle.deg2rad().view(-1, *[1] * (u.ndim - 1))
    cos, sin = radians.cos() * scale.view_as(radians), radians.sin() * scale.view_as(radians)
    turned = torch.stack((cos * u + sin * v, cos * v - sin * u), -3).to(flow.dtype)
    return torch.where(known_flow(flow), turned, flow)  # marks of unknown flow stay what they are


def _range(name: str, values: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    first, last = (float(value) for value in values) if len(values) == 2 else (math.nan, math.nan)
    if not low <= first <= last <= high:
        raise OptionError(
            f"{name} must be two numbers (lowest, highest) between {low:g} and {high:g}, found {values!r}."
        )
    return first, last
