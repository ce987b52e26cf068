# SPDX-License-Identifier: Apache-2.0
"""Styles by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ...errors import UnknownNameError
from .base import Style

__all__ = ("get_style", "list_styles", "register_style", "unregister_style")

_FACTORIES: dict[str, Callable[..., Style]] = {}
_Factory = TypeVar("_Factory", bound=Callable[..., Style])


def register_style(name: str) -> Callable[[_Factory], _Factory]:
    """Make a style known by name, so that configs and the command line can ask for it.

    Args:
        name: the name; it must not be taken.

    Returns:
        A decorator for a class of styles, or for any function that returns a style.

    Raises:
        ValueError: another style has the name already.

    Example:
        >>> @register_style("negative-of-the-docs")
        ... class Negative:
        ...     name, temporal = "negative-of-the-docs", False
        ...     def __call__(self, clip, *, seed=0):
        ...         return 1 - clip
        >>> get_style("negative-of-the-docs").temporal
        False
        >>> unregister_style("negative-of-the-docs")
    """

    def register(factory: _Factory) -> _Factory:
        if name in _FACTORIES:
            raise ValueError(f"There is a style called {name!r} already. Choose another name.")
        _FACTORIES[name] = factory
        return factory

    return register


def unregister_style(name: str) -> None:
    """Forget a style, if there is one of that name."""
    _FACTORIES.pop(name, None)


def get_style(name: str, **parameters: Any) -> Style:
    """Return a new style of the given name.

    Args:
        name: one of ``list_styles()``.
        **parameters: arguments of the style; the defaults are what was tested.

    Raises:
        UnknownNameError: there is no style of that name.

    Example:
        >>> get_style("neon", sharpness=8.0).name
        'neon'
    """
    if name not in _FACTORIES:
        raise UnknownNameError("style", name, list_styles())
    return _FACTORIES[name](**parameters)


def list_styles() -> list[str]:
    """Return the names of all known styles, the built-in ones and those registered since, in alphabetical order.

    Example:
        >>> list_styles()[:2]
        ['chalk', 'neon']
    """
    return sorted(_FACTORIES)
