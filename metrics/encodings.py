# SPDX-License-Identifier: Apache-2.0
"""What each unit of a layer encodes: Eq. 3 of Kowal et al."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ("ENCODINGS", "encode_units", "unit_percentages")

ENCODINGS = ("dynamic", "static", "joint", "residual")


def encode_units(scores: Tensor, threshold: float = 0.5) -> Tensor:
    """What each unit encodes (Eq. 3): the index of its encoding in ``ENCODINGS``.

    Every unit gets exactly one encoding. Eq. 3 is strict on both sides and leaves a score *equal* to λ without a
    class; here such a score counts as not above λ, so that the four classes always add up to N.

    Args:
        scores: ``(..., 2, C)`` static and dynamic scores.
        threshold: λ.

    Returns:
        ``(..., C)`` int64: 0 dynamic, 1 static, 2 joint, 3 residual.

    Example:
        >>> scores = torch.tensor([[0.1, 0.9, 0.9, 0.1, 0.5], [0.9, 0.1, 0.9, 0.1, 0.9]])
        >>> [ENCODINGS[i] for i in encode_units(scores)]
        ['dynamic', 'static', 'joint', 'residual', 'dynamic']
    """
    static, dynamic = (scores > threshold).unbind(-2)
    return torch.where(static, torch.where(dynamic, 2, 1), torch.where(dynamic, 0, 3))


def unit_percentages(encoding: Tensor) -> Tensor:
    """Units by encoding in percent.

    Args:
        encoding: ``(..., C)`` indices into ``ENCODINGS``.

    Returns:
        ``(..., 4)`` float64; sums to 100.

    Example:
        >>> unit_percentages(torch.tensor([0, 1, 1, 3])).tolist()
        [25.0, 50.0, 0.0, 25.0]
    """
    counts = torch.stack([(encoding == index).sum(-1) for index in range(len(ENCODINGS))], dim=-1)
    return 100 * counts.to(torch.float64) / encoding.shape[-1]
