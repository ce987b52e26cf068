# SPDX-License-Identifier: Apache-2.0
"""What the protocols share: factors, draws of styles and orders, and the check of what is switched on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from ...errors import OptionError, UnknownNameError
from ..keyed_draws import KeyedDraws

__all__ = ("DYNAMIC", "STATIC", "any_order", "check_counts", "check_oddities", "check_seeds", "two_styles")

STATIC, DYNAMIC = 0, 1
"""What the two sides of a pair share, as an index into ``("static", "dynamic")``."""


def any_order(draws: KeyedDraws, length: int) -> list[int]:
    """Draw an order uniformly from all, the identity included, as ``torch.randperm`` does.

    Example:
        >>> any_order(KeyedDraws(0, "a"), 1), sorted(any_order(KeyedDraws(0, "a"), 3))
        ([0], [0, 1, 2])
    """
    identity = draws.below(math.factorial(length)) == 0
    return list(range(length)) if identity else draws.permutation(length)


def two_styles(draws: KeyedDraws, num_styles: int, same: bool) -> tuple[int, int]:
    """Draw one style uniformly, and for the other side the same one, or another one uniformly.

    Example:
        >>> first, second = two_styles(KeyedDraws(0, "a"), 4, same=False)
        >>> first != second
        True
    """
    first = draws.below(num_styles)
    other = (first + 1 + draws.below(num_styles - 1)) % num_styles
    return first, first if same else other


def check_counts(least: int = 1, **counts: int) -> None:
    """Refuse numbers below ``least``.

    Raises:
        OptionError: one of them is.
    """
    for name, count in counts.items():
        if count < least:
            raise OptionError(f"{name} must be at least {least}; got {count!r}.")


def check_seeds(seeds: Sequence[int]) -> tuple[int, ...]:
    """Return the seeds.

    Raises:
        OptionError: there is none, one is negative, or one is there twice.
    """
    found = tuple(seeds)
    if not found or min(found) < 0 or len(set(found)) < len(found):
        raise OptionError(f"seeds must be different whole numbers, none negative, at least one; got {list(found)}.")
    return found


def check_oddities(given: Iterable[str], known: Mapping[str, str]) -> tuple[str, ...]:
    """Return the oddities that are on, each once and in alphabetical order.

    Raises:
        UnknownNameError: there is none of this name.

    Example:
        >>> check_oddities(["b", "a", "b"], {"a": "", "b": ""})
        ('a', 'b')
    """
    names = sorted(set([given] if isinstance(given, str) else given))
    for name in names:
        if name not in known:
            raise UnknownNameError("oddity of the protocol", name, known)
    return tuple(names)
