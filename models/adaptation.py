# SPDX-License-Identifier: Apache-2.0
"""What a model does to weights that are its own but for their size or form."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

__all__ = ("Adaptable", "Adaptation")


def _nothing() -> None:
    """Undo nothing."""


class Adaptation(NamedTuple):
    """Weights that were fitted to a model.

    Attributes:
        weights: the weights in our names, fitted.
        notes: what was done, a sentence each, for the report of loading.
        undo: gives the model the form back that it had before.
    """

    weights: dict[str, Tensor]
    notes: tuple[str, ...] = ()
    undo: Callable[[], None] = _nothing


@runtime_checkable
class Adaptable(Protocol):
    """A model that can fit weights to itself, as the official loaders do.

    Example:
        >>> from staticdropout.models.registry import create_model
        >>> isinstance(create_model("x3d_xs", num_classes=4), Adaptable)
        True
    """

    def adapt_to(self, weights: dict[str, Tensor], layout: str = "") -> Adaptation:
        """Return weights that are given in our names, fitted to the model; the model may change its form for them.

        Args:
            weights: in our names.
            layout: the naming that they came in.
        """
        ...
