# SPDX-License-Identifier: Apache-2.0
"""Styles: they change how a clip looks and leave how it moves.

The four default styles need no weights and no download: ``paint``, ``chalk``, ``neon`` and ``relief``. They differ in
kind (smoothing and recolouring, edges, steps of luminance, slopes), because variants of one kind change a network's
static units only a little.

Two things to know before reading results made with them. Object contours survive every style, and contours are
information of a single frame: what a dynamic pair shares therefore includes shape, not motion alone. That holds for
the few-shot style networks of the paper too. And results with built-in styles are not comparable number for number
with those of the paper, which used painted styles: report the name and hash of the ``StyleSet`` with every result.
"""

from __future__ import annotations

from .base import FrameStyle, Style
from .chalk import Chalk
from .check import check_style
from .neon import Neon
from .network_style import NetworkStyle, weights_digest
from .paint import Paint
from .registry import get_style, list_styles, read_styles_with, register_style, unregister_style
from .relief import Relief
from .style_set import StyleSet

__all__ = (
    "Chalk",
    "FrameStyle",
    "Neon",
    "NetworkStyle",
    "Paint",
    "Relief",
    "Style",
    "StyleSet",
    "check_style",
    "get_style",
    "list_styles",
    "read_styles_with",
    "register_style",
    "unregister_style",
    "weights_digest",
)
