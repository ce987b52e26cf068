# SPDX-License-Identifier: Apache-2.0
"""What makes two inputs share only statics or only dynamics: frame shuffling, styles, and the triplets made of them."""

from __future__ import annotations

from .sheet import contact_sheet, save_sheet
from .shuffling import draw_permutations, shuffle_frames, shuffled_by_key
from .styles import Style, StyleSet, get_style, list_styles, register_style
from .triplets import Triplet, TripletFunction, VideoTriplets

__all__ = (
    "Style",
    "StyleSet",
    "Triplet",
    "TripletFunction",
    "VideoTriplets",
    "contact_sheet",
    "draw_permutations",
    "get_style",
    "list_styles",
    "register_style",
    "save_sheet",
    "shuffle_frames",
    "shuffled_by_key",
)
