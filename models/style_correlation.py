# SPDX-License-Identifier: Apache-2.0
"""How much of what a network tells of a still survives a change of style.

A clip whose frames are all the same still has no dynamics, so whatever of a network's answers to it is alike in two
styles is static. Over many stills that is the correlation of each unit between its answers to the one style and to the
other: the dynamic pair of Kowal et al. (Sec. 3.1, Eq. 2) with nothing dynamic in it. Near 0, two styles leave nothing
static in common; near 1, they are no two styles for this network, and its dynamic scores would count statics.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import torch
from torch import Tensor, nn

from ..errors import BatchError
from ..metrics.correlation import correlation, empty_moments, merge_moments, pair_moments
from ..metrics.style_quality import mean_of_defined
from .features import capture
from .layer_names import last_linear

__all__ = ("StyleCorrelation", "still_features")


@torch.no_grad()
def still_features(model: nn.Module, stills: Tensor, num_frames: int, layer: str | None = None) -> Tensor:
    """What a layer says of stills, each shown as a clip of one frame repeated.

    Args:
        model: a network for clips ``(B, 3, T, H, W)``; its mode (training or evaluation) is left as it is.
        stills: ``(B, 3, H, W)``, normalised as the network takes them, on its device.
        num_frames: frames of the clips.
        layer: name or pattern of a layer, see :mod:`staticdropout.models.layer_names`; several that match are put side
            by side. None: what the last ``nn.Linear``, the classifier, sees.

    Returns:
        ``(B, C)``: a value a unit, averaged over space and time.

    Raises:
        LayerNotFoundError: no layer matches, or there is no ``nn.Linear``.
        LayerNotCalledError: the layer took no part.
        BatchError: the layer gives other than a row a clip.

    Example:
        >>> net = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, 2))
        >>> still_features(net, torch.ones(4, 3, 8, 8), num_frames=2).tolist()[0]
        [1.0, 1.0, 1.0]
    """
    pattern = f"{last_linear(model)}[input]" if layer is None else layer
    clips = stills.unsqueeze(2).expand(-1, -1, num_frames, -1, -1).contiguous()
    with capture(model, pattern, batch_size=len(stills)) as run:
        features = torch.cat([part.float() for part in run(model, clips).values()], dim=1)
    if len(features) != len(stills):
        raise BatchError(
            f"The layer {pattern!r} gave {len(features)} rows for {len(stills)} clips. Choose a layer that gives one "
            "a clip."
        )
    return features


class StyleCorrelation:
    """Correlation of every unit between any two styles of the same stills, over as many stills as one likes.

    Args:
        names: of the styles, each once.

    Example:
        >>> over = StyleCorrelation(["plain", "negative"])
        >>> x = torch.rand(8, 5)
        >>> over.update({"plain": x, "negative": -x})
        >>> {pair: round(r, 3) for pair, r in over.compute().items()}
        {('plain', 'negative'): -1.0}
    """

    def __init__(self, names: tuple[str, ...] | list[str]) -> None:
        self.pairs = tuple(combinations(names, 2))
        self._moments: Tensor | None = None  # (pairs, 6, C)

    def update(self, features: Mapping[str, Tensor]) -> None:
        """Add stills.

        Args:
            features: for each style ``(N, C)``, the same stills in the same order.

        Raises:
            KeyError: a style is missing.
            ValueError: the shapes differ.
        """
        on_host = {name: value.detach().cpu() for name, value in features.items()}  # MPS has no float64
        new = torch.stack([pair_moments(on_host[a], on_host[b])[0] for a, b in self.pairs])
        old = empty_moments(len(self.pairs), new.shape[-1]) if self._moments is None else self._moments
        self._moments = merge_moments(torch.stack([old, new]))

    def compute(self) -> dict[tuple[str, str], float]:
        """Mean correlation of each pair of styles, over the units that vary in both; NaN where none does."""
        if self._moments is None:
            return dict.fromkeys(self.pairs, float("nan"))
        return {pair: mean_of_defined(moments) for pair, moments in zip(self.pairs, self._moments, strict=True)}

    @property
    def units(self) -> int:
        """How many units there are."""
        return 0 if self._moments is None else self._moments.shape[-1]

    @property
    def silent_units(self) -> int:
        """How many units do not vary in some style, and are left out of the means of its pairs."""
        return 0 if self._moments is None else int(correlation(self._moments).undefined.any(0).sum())
