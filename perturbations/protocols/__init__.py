# SPDX-License-Identifier: Apache-2.0
"""Which pairs the paper's released code measures on: what it draws, without any file."""

from __future__ import annotations

from .action import ACTION_ODDITIES, ActionPair, ActionProtocol, Pathway, ProtocolVideo
from .common import DYNAMIC, STATIC
from .davis import DAVIS_ODDITIES, DavisPair, DavisProtocol, SharedBoundsJitter

__all__ = (
    "ACTION_ODDITIES",
    "DAVIS_ODDITIES",
    "DYNAMIC",
    "STATIC",
    "ActionPair",
    "ActionProtocol",
    "DavisPair",
    "DavisProtocol",
    "Pathway",
    "ProtocolVideo",
    "SharedBoundsJitter",
)
