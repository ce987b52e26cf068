# SPDX-License-Identifier: Apache-2.0
"""Random draws that depend on a seed and a key alone, so that a clip gets the same ones at every measurement."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..errors import BatchError

__all__ = ("KeyedDraws", "key_names")


class KeyedDraws:
    """A stream of random numbers for one key.

    Only raw 64-bit words are taken from NumPy, because their stream is guaranteed to stay; its ``permutation`` and
    ``integers`` may change between releases, and with them everything that is drawn.

    Args:
        seed: start of all draws, not negative.
        key: what the draws are for.
        stream: tells several streams of one key apart; not negative.

    Example:
        >>> KeyedDraws(0, "a").below(100) == KeyedDraws(0, "a").below(100)
        True
        >>> sorted(KeyedDraws(1, "b").permutation(3)), 2 <= KeyedDraws(1, "b").uniform(2, 3) < 3
        ([0, 1, 2], True)
    """

    def __init__(self, seed: int, key: str, stream: int = 0) -> None:
        words = [seed, zlib.crc32(key.encode()), *([stream] if stream else [])]
        self._bits = np.random.PCG64(np.random.SeedSequence(words))

    def below(self, bound: int) -> int:
        """Draw an integer from 0 to ``bound - 1``."""
        return int(self._bits.random_raw()) % bound  # the bias of the remainder is below 1e-17

    def uniform(self, low: float, high: float) -> float:
        """Draw a number between ``low`` and ``high``."""
        return low + (high - low) * (int(self._bits.random_raw()) >> 11) * 2.0**-53

    def permutation(self, length: int) -> list[int]:
        """Draw an order of at least two things, uniformly from all but the identity."""
        identity = list(range(length))
        order = identity
        while order == identity:
            order = self._order(length)
        return order

    def _order(self, length: int) -> list[int]:
        order = list(range(length))
        for last in range(length - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order


def key_names(keys: Sequence[int | str] | Tensor | None, batch: int) -> list[str]:
    """Return the names of the clips of a batch: numbers and their texts are the same keys.

    Args:
        keys: a name or number for each clip; None for the positions 0 … ``batch - 1``.
        batch: number of clips.

    Raises:
        BatchError: there is not one key for each clip.

    Example:
        >>> key_names(None, 2), key_names([7, "b"], 2)
        (['0', '1'], ['7', 'b'])
    """
    if keys is None:
        return [str(position) for position in range(batch)]
    values = keys.tolist() if isinstance(keys, Tensor) else list(keys)
    if isinstance(keys, str) or len(values) != batch:
        raise BatchError(
            f"Expected one key for each of the {batch} clips, found {keys!r}. Pass a list of ids or positions."
        )
    return [str(value.item() if isinstance(value, (Tensor, np.generic)) else value) for value in values]
