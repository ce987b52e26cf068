# SPDX-License-Identifier: Apache-2.0
"""Styles as they are named on a command line."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError
from ..perturbations.styles.style_set import DEFAULT_STYLES

__all__ = ("split_styles",)


def split_styles(styles: str | Sequence[str] | None) -> list[str]:
    """Names of styles and files of styles, from a list, or from one string with commas.

    Args:
        styles: ``["paint", "my.ckpt"]``, ``"paint,my.ckpt"`` or ``["paint,my.ckpt"]``; None: the default set.

    Raises:
        OptionError: there is none.

    Example:
        >>> split_styles("paint, my.ckpt"), split_styles(["chalk", "neon"])
        (['paint', 'my.ckpt'], ['chalk', 'neon'])
        >>> split_styles(None)
        ['paint', 'chalk', 'neon', 'relief']
    """
    if styles is None:
        return list(DEFAULT_STYLES)
    texts = [styles] if isinstance(styles, str) else styles
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    if not names:
        raise OptionError(
            f"styles={styles!r} names no style. Give names or files with commas between them, as paint,chalk."
        )
    return names
