# SPDX-License-Identifier: Apache-2.0
"""A fixed choice of styles with a hash that reports can carry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, overload

from torch import Tensor

from ...errors import BatchError
from .base import FrameStyle, Style
from .network_style import NetworkStyle
from .registry import get_style

__all__ = ("DEFAULT_STYLES", "StyleSet", "style_set_hash")

DEFAULT_STYLES: tuple[str, ...] = ("paint", "chalk", "neon", "relief")


class StyleSet(Sequence[Style]):
    """Styles in a fixed order, with a seed and a content hash.

    Two measurements of static and dynamic bias can be compared only where they used the same styles. The hash is made
    of the styles' names, parameters and versions, in order, and of the seed; it does not depend on the set's name,
    the machine or the run.

    Args:
        styles: names of registered styles, files of style networks, or style objects; or some of each.
        seed: the variant of the styles; see the styles.
        name: what reports call the set; the default joins the names of the styles.

    Raises:
        UnknownNameError: no style has the name, and there is no such file.
        TypeError: an entry is neither a name nor a style.
        ValueError: there are no styles, or two are the same, or the parameters of one are not plain values.

    Example:
        >>> styles = StyleSet(["paint", "neon"])
        >>> styles.name, styles.names, len(styles.hash)
        ('paint+neon', ('paint', 'neon'), 12)
        >>> styles.hash == StyleSet(["paint", "neon"], name="mine").hash != StyleSet(["paint", "neon"], seed=1).hash
        True
    """

    def __init__(
        self,
        # Both classes are Styles; they are named because config parsers cannot match a class to a protocol.
        styles: Sequence[str | FrameStyle | NetworkStyle | Style] = DEFAULT_STYLES,
        seed: int = 0,
        name: str | None = None,
    ) -> None:
        if isinstance(styles, str):
            raise TypeError(f"Expected a list of styles, found the string {styles!r}. Write [{styles!r}].")
        if not styles:
            raise ValueError("A style set needs at least one style; found none.")
        self._styles = tuple(get_style(style) if isinstance(style, str) else style for style in styles)
        for style in self._styles:
            if isinstance(style, type) or not isinstance(style, Style):
                raise TypeError(
                    f"Expected names of styles or style objects, found {style!r}. A style is a callable "
                    "style(clip, *, seed) with the attributes `name` and `temporal`."
                )
        self.seed = seed
        contents = [_content(style) for style in self._styles]
        texts = [_text(*content) for content in contents]
        self.hash = style_set_hash(contents, seed)
        for position, text in enumerate(texts):
            if text in texts[:position]:
                raise ValueError(
                    f"The style {self._styles[position].name!r} is in the set twice. Give each style once."
                )
        default = self.names == DEFAULT_STYLES and all(isinstance(style, str) for style in styles) and seed == 0
        self.name = name or ("default" if default else "+".join(self.names))

    @classmethod
    def of(cls, styles: StyleSet | Sequence[str | Style]) -> StyleSet:
        """Return ``styles`` if it is a set already, else the set of them."""
        return styles if isinstance(styles, StyleSet) else cls(styles)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the styles, in order."""
        return tuple(style.name for style in self._styles)

    def render(self, index: int, clip: Tensor) -> Tensor:
        """Return the clips (B, 3, T, H, W) in the style at ``index``, with the seed of the set.

        Raises:
            BatchError: a style returned something of another shape.
        """
        styled = self._styles[index](clip, seed=self.seed)
        if styled.shape != clip.shape:
            raise BatchError(
                f"The style {self.names[index]!r} returned shape {tuple(styled.shape)} for clips of "
                f"{tuple(clip.shape)}. A style must keep the shape (B, 3, T, H, W)."
            )
        return styled

    def __len__(self) -> int:
        return len(self._styles)

    @overload
    def __getitem__(self, index: int) -> Style: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Style, ...]: ...

    def __getitem__(self, index: int | slice) -> Style | tuple[Style, ...]:
        return self._styles[index]

    def __iter__(self) -> Iterator[Style]:
        return iter(self._styles)

    def __repr__(self) -> str:
        return f"StyleSet({list(self.names)}, seed={self.seed}, name={self.name!r}, hash={self.hash!r})"


def style_set_hash(styles: Sequence[tuple[str, Any, Any]], seed: int = 0) -> str:
    """Return the hash of a set of styles that are only known by what is written down of them.

    Args:
        styles: name, version and parameters of each, in order.
        seed: the variant of the styles.

    Raises:
        ValueError: the parameters of one are not plain values.

    Example:
        >>> paint, neon = StyleSet(["paint", "neon"])
        >>> written = [(style.name, style.version, style.parameters) for style in (paint, neon)]
        >>> style_set_hash(written) == StyleSet(["paint", "neon"]).hash
        True
    """
    texts = ", ".join(_text(*style) for style in styles)
    return hashlib.sha256(f"[{texts}], seed {seed}".encode()).hexdigest()[:12]


def _text(name: str, version: Any, parameters: Any) -> str:
    try:
        return json.dumps([name, version, parameters], sort_keys=True)
    except TypeError as error:
        raise ValueError(
            f"The parameters of the style {name!r} cannot be hashed: {error}. Use numbers, strings, lists and dicts."
        ) from error


def _content(style: Style) -> tuple[str, Any, Any]:
    """Return what a style is known by: name, version and parameters."""
    parameters = getattr(style, "parameters", {})
    # nn.Module has a method `parameters`: weights do not enter the hash, so a network should carry a version instead.
    return style.name, getattr(style, "version", None), {} if callable(parameters) else parameters
