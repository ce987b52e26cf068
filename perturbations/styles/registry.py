# SPDX-License-Identifier: Apache-2.0
"""Styles by name, and by file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...errors import OptionError, UnknownNameError
from .base import Style

__all__ = ("get_style", "list_styles", "read_styles_with", "register_style", "unregister_style")

_FACTORIES: dict[str, Callable[..., Style]] = {}
_READERS: list[Callable[..., Style]] = []  # none or one
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


def read_styles_with(reader: Callable[..., Style]) -> None:
    """Say how a file becomes a style; ``staticdropout.models.stylization`` does when it is imported.

    Args:
        reader: called with the path of a file that exists and the arguments of :func:`get_style`.
    """
    _READERS[:] = [reader]


def get_style(name: str, /, **parameters: Any) -> Style:
    """Return a new style of the given name, or the one in a file.

    Args:
        name: one of ``list_styles()``; or the path of a file, with its ending, that holds a few-shot style network.
        **parameters: arguments of the style; the defaults are what was tested.

    Raises:
        UnknownNameError: there is no style of that name, and no such file.
        CheckpointError: the file cannot be read, or holds something else.
        OptionError: it is a file, and what reads such files has not been imported.

    Example:
        >>> get_style("neon", sharpness=8.0).name
        'neon'
    """
    if name in _FACTORIES:
        return _FACTORIES[name](**parameters)
    path = Path(name).expanduser()
    if not path.suffix:
        raise UnknownNameError("style", name, list_styles())
    if not path.is_file():
        raise UnknownNameError("style or file", name, list_styles())
    if not _READERS:
        raise OptionError(
            f"{name!r} is a file, and files are read by networks: `import staticdropout.models` before you use it."
        )
    return _READERS[0](path, **parameters)


def list_styles() -> list[str]:
    """Return the names of all known styles, the built-in ones and those registered since, in alphabetical order.

    Example:
        >>> list_styles()[:2]
        ['chalk', 'neon']
    """
    return sorted(_FACTORIES)
