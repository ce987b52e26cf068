# SPDX-License-Identifier: Apache-2.0
"""Whether styles are fit for a measurement of static and dynamic bias, from what they change and what they keep."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = (
    "DESCRIPTOR_LIMIT",
    "NETWORK_LIMIT",
    "Fault",
    "StyleLimits",
    "StyleMeasures",
    "find_faults",
    "pair_correlations",
)

NETWORK_LIMIT = 0.5
DESCRIPTOR_LIMIT = 0.75


@dataclass(frozen=True)
class StyleMeasures:
    """What was measured of a style.

    Attributes:
        name: of the style.
        hellinger: distance of its colours from the source's, 0 to 1.
        flow_error: against a known motion, in pixels.
        flow_ratio: that, over the error in the source itself.
        flicker: change from frame to frame, over the source's; contrast and motion make it up as well.
        still_flicker: which share of that change is there without motion, from the noise of a sensor; over the source's
            share.
        frames_per_second: how fast it is; NaN where that makes no sense.
        correlations: with what is told of the same stills in the source and in the other styles, by name.
    """

    name: str
    hellinger: float
    flow_error: float
    flow_ratio: float
    flicker: float
    still_flicker: float
    frames_per_second: float = math.nan
    correlations: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StyleLimits:
    """What a style must reach, and must not exceed.

    Attributes:
        hellinger: the least distance of colours from the source.
        flicker: the least change from frame to frame, in multiples of the source's.
        flow_ratio: the largest error of flow, in multiples of the source's.
        still_flicker: the largest share of change without motion, in multiples of the source's.
        correlation: the largest correlation with the source, and the largest mean over pairs of styles.
    """

    hellinger: float = 0.5
    flicker: float = 0.05
    flow_ratio: float = 2.0
    still_flicker: float = 2.0
    correlation: float = NETWORK_LIMIT


@dataclass(frozen=True)
class Fault:
    """A limit that is crossed.

    Attributes:
        style: whose fault it is; empty for the set as a whole.
        measure: which field of :class:`StyleLimits`.
        text: what was found, what it means, and what to do.
    """

    style: str
    measure: str
    text: str


def find_faults(
    styles: Sequence[StyleMeasures], limits: StyleLimits | None = None, source: StyleMeasures | None = None
) -> list[Fault]:
    """Compare what was measured with the limits.

    NaN crosses none, with one exception: where a style has no flicker, or no correlation with the source, and the
    source has them, the style gives the same picture whatever the clip.

    Args:
        styles: the measures of each style; their ``correlations`` have the key ``source`` and those of other styles.
        limits: the defaults where left out.
        source: the measures of the source with noise; None: what is NaN in a style is taken to be so in the source.

    Example:
        >>> dim = StyleMeasures("dim", 0.2, 0.2, 1.0, 1.0, 1.0, correlations={"source": 0.9})
        >>> [fault.measure for fault in find_faults([dim])]
        ['hellinger', 'correlation']
    """
    limits = limits or StyleLimits()
    moves, varies = (source is not None and not math.isnan(value) for value in _flicker_and_r(source))
    faults = [fault for style in styles for fault in _faults_of(style, limits, moves, varies)]
    pairs = pair_correlations(styles)
    mean = math.fsum(pairs.values()) / len(pairs) if pairs else math.nan
    if mean > limits.correlation:
        worst = max(pairs, key=pairs.__getitem__)
        count = f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
        text = (
            f"the styles are too much alike: mean r = {mean:.2f} over {count}, at most {limits.correlation:g} is fit, "
            "since what two styles of a clip have in common counts as dynamic. Replace one of "
            f"{worst[0]} and {worst[1]} (r = {pairs[worst]:.2f}) by a style of another family."
        )
        faults.append(Fault("", "correlation", text))
    return faults


def _flicker_and_r(style: StyleMeasures | None) -> tuple[float, float]:
    return (math.nan, math.nan) if style is None else (style.flicker, style.correlations.get("source", math.nan))


def _faults_of(style: StyleMeasures, limits: StyleLimits, moves: bool, varies: bool) -> Iterator[Fault]:
    """Faults of a style; whether the source moves within the clips, and varies between them."""
    change, r = _flicker_and_r(style)
    if change < limits.flicker or (moves and math.isnan(change)):
        text = (
            f"gives nearly the same picture for every frame: it changes {0 if math.isnan(change) else change:.2f} "
            f"times as much from frame to frame as the source, at least {limits.flicker:g} times is needed. Train it "
            "further, or look at it with `staticdropout styles sheet`."
        )
        yield Fault(style.name, "flicker", text)
    elif varies and math.isnan(r):
        text = (
            "gives the same picture whatever the clip, as far as single frames tell: nothing that varies over those "
            "of the source varies over its. Look at it with `staticdropout styles sheet`."
        )
        yield Fault(style.name, "correlation", text)
    if style.hellinger < limits.hellinger:
        text = (
            f"changes too little colour: its histogram is {style.hellinger:.2f} from the source's, at least "
            f"{limits.hellinger:g} is needed. Take a style that repaints, not one that filters or sharpens."
        )
        yield Fault(style.name, "hellinger", text)
    if style.flow_ratio > limits.flow_ratio:
        text = (
            f"damages motion: flow in it is off by {style.flow_error:.2f} px, {style.flow_ratio:.1f} times as much as "
            f"in the source, at most {limits.flow_ratio:g} times is fit. Textures that stand still while the scene "
            "moves do that, and filters that adapt to each frame."
        )
        yield Fault(style.name, "flow_ratio", text)
    if style.still_flicker > limits.still_flicker:
        text = (
            f"flickers: the share of its change that needs no motion is {style.still_flicker:.1f} times that of the "
            f"source, at most {limits.still_flicker:g} times is fit. Remove what it draws anew for every frame, smooth "
            "its input over time, or have it ignore small differences."
        )
        yield Fault(style.name, "still_flicker", text)
    if r > limits.correlation:
        text = (
            f"keeps what single frames tell: r = {r:.2f} with the source, at most {limits.correlation:g} is fit. A "
            "turn of hue alone is no style; change tones, polarity and texture."
        )
        yield Fault(style.name, "correlation", text)


def pair_correlations(styles: Sequence[StyleMeasures]) -> dict[tuple[str, str], float]:
    """Correlation of each pair of styles, each pair once, those that are known.

    Example:
        >>> measures = (0.9, 0.2, 1.0, 1.0, 1.0, 90)
        >>> pair_correlations([StyleMeasures("a", *measures, {"b": 0.3}), StyleMeasures("b", *measures, {"a": 0.3})])
        {('a', 'b'): 0.3}
    """
    return {
        (one.name, other.name): one.correlations[other.name]
        for position, one in enumerate(styles)
        for other in styles[position + 1 :]
        if not math.isnan(one.correlations.get(other.name, math.nan))
    }
